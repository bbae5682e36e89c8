"""How errors are told: application/problem+json (RFC 9457) with a stable `code`, and a sentence as `detail`."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.routing import iter_route_contexts
from sqlalchemy.exc import InterfaceError, InternalError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from wainwright_common.errors import ArtifactError, BadTopic, WainwrightError
from wainwright_controller.api.models import Problem
from wainwright_controller.artifact_store import ArtifactTooLarge, StorageFull
from wainwright_controller.desk import BadEnrolmentToken, EnrolmentRefused
from wainwright_controller.links import BadLink
from wainwright_controller.operations import NotFound
from wainwright_controller.people import NotAllowed, NotAuthenticated, TooManyFailures
from wainwright_controller.pki import PkiError
from wainwright_controller.pki.csr import BadCsr
from wainwright_controller.rules.actions import Refused
from wainwright_controller.rules.filters import BadFilter
from wainwright_controller.rules.gates import BadLimit
from wainwright_controller.rules.phases import BadPlan
from wainwright_controller.rules.tags import BadTag
from wainwright_controller.turnstile import RETRY_AFTER_S, TooManyAtOnce

LOG = logging.getLogger(__name__)
MEDIA_TYPE = "application/problem+json"


class Forbidden(WainwrightError):  # noqa: N818  the name is the sentence: "refused: forbidden"
    """The request may not be made from where it comes from."""


class Ambiguous(WainwrightError):  # noqa: N818  as above
    """A name or a short id means several things."""


class BadRequest(WainwrightError):  # noqa: N818  as above
    """A parameter cannot be used."""


class UploadStalled(WainwrightError):  # noqa: N818  as above
    """The sender of an upload has gone quiet."""


# fmt: off
STATUSES: Mapping[type[WainwrightError], tuple[HTTPStatus, str]] = {
    # The code of an error that has one of its own (Refused, BadLink, BadCsr, …) takes the place of this one.
    NotFound:         (HTTPStatus.NOT_FOUND, "not-found"),
    Refused:          (HTTPStatus.CONFLICT, "refused"),
    Ambiguous:        (HTTPStatus.CONFLICT, "ambiguous"),
    BadPlan:          (HTTPStatus.UNPROCESSABLE_ENTITY, "bad-plan"),
    BadLimit:         (HTTPStatus.UNPROCESSABLE_ENTITY, "bad-limit"),
    BadFilter:        (HTTPStatus.UNPROCESSABLE_ENTITY, "bad-filter"),
    BadTag:           (HTTPStatus.UNPROCESSABLE_ENTITY, "bad-tag"),
    BadTopic:         (HTTPStatus.UNPROCESSABLE_ENTITY, "bad-id"),
    BadRequest:       (HTTPStatus.UNPROCESSABLE_ENTITY, "invalid"),
    ArtifactError:    (HTTPStatus.UNPROCESSABLE_ENTITY, "artifact"),
    ArtifactTooLarge: (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "upload-too-large"),
    StorageFull:      (HTTPStatus.INSUFFICIENT_STORAGE, "storage-full"),
    UploadStalled:    (HTTPStatus.REQUEST_TIMEOUT, "upload-stalled"),
    BadLink:          (HTTPStatus.FORBIDDEN, "link-invalid"),
    NotAuthenticated: (HTTPStatus.UNAUTHORIZED, "not-authenticated"),
    NotAllowed:       (HTTPStatus.FORBIDDEN, "not-allowed"),
    TooManyFailures:  (HTTPStatus.TOO_MANY_REQUESTS, "too-many-failures"),
    TooManyAtOnce:    (HTTPStatus.TOO_MANY_REQUESTS, "too-many-at-once"),
    Forbidden:        (HTTPStatus.FORBIDDEN, "forbidden"),
    PkiError:         (HTTPStatus.SERVICE_UNAVAILABLE, "authority-unavailable"),
    BadCsr:           (HTTPStatus.BAD_REQUEST, "csr-unreadable"),
    BadEnrolmentToken: (HTTPStatus.UNAUTHORIZED, "token-invalid"),
    EnrolmentRefused: (HTTPStatus.FORBIDDEN, "enrolment-refused"),
}

# What is refused before a route sees it. Python's phrases are no codes: they are not the same in every version.
HTTP_CODES: Mapping[HTTPStatus, str] = {
    HTTPStatus.BAD_REQUEST:                     "bad-request",
    HTTPStatus.NOT_FOUND:                       "not-found",
    HTTPStatus.METHOD_NOT_ALLOWED:              "method-not-allowed",
    HTTPStatus.REQUEST_TIMEOUT:                 "request-timeout",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE:        "body-too-large",
    HTTPStatus.REQUEST_URI_TOO_LONG:            "target-too-long",
    HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE: "head-too-large",
    HTTPStatus.SERVICE_UNAVAILABLE:             "too-many-at-once",
}
# fmt: on

RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "What went wrong",
        "model": Problem,
        "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}


def problem(
    status: HTTPStatus,
    code: str,
    detail: str,
    headers: Mapping[str, str] | None = None,
    column: int | None = None,
) -> JSONResponse:
    """Return the response that tells a problem; `column` is where a filter is wrong."""
    body = Problem(
        type=f"urn:wainwright:problem:{code}",
        title=status.phrase,
        status=status,
        detail=detail,
        code=code,
        column=column,
    )
    return JSONResponse(body.model_dump(exclude_none=True), status, dict(headers or {}), MEDIA_TYPE)


def code_of(error: WainwrightError) -> str:
    """Return the stable word for one of our errors."""
    return _standing(error)[1]


def tell(error: WainwrightError) -> JSONResponse:
    """Return the response that tells one of our errors."""
    status, code = _standing(error)
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        LOG.error("an error without a status of its own", exc_info=error)
    headers: dict[str, str] = {}
    if status is HTTPStatus.UNAUTHORIZED:
        is_device = isinstance(error, BadEnrolmentToken)
        headers["WWW-Authenticate"] = 'Basic realm="enrolment"' if is_device else "Bearer"
    if isinstance(error, TooManyFailures):
        headers["Retry-After"] = str(math.ceil(error.wait_s))
    if isinstance(error, TooManyAtOnce):
        headers["Retry-After"] = str(RETRY_AFTER_S)
    column = error.column if isinstance(error, BadFilter) else None
    return problem(status, code, str(error), headers, column)


def _standing(error: WainwrightError) -> tuple[HTTPStatus, str]:
    status, code = HTTPStatus.INTERNAL_SERVER_ERROR, "internal"
    for kind in type(error).__mro__:
        if kind in STATUSES:
            status, code = STATUSES[kind]
            break
    if isinstance(error, ArtifactError):
        code = f"artifact-{error.rule}"
    elif isinstance(error, Refused | BadLink | BadCsr | EnrolmentRefused):
        code = error.code
    return status, code


def install(app: FastAPI) -> None:
    """Make an application tell all errors this way."""
    app.add_exception_handler(WainwrightError, _ours)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(HTTPException, _http)
    for away in (OperationalError, InterfaceError, InternalError, PoolTimeout):  # as store.is_refusal has them
        app.add_exception_handler(away, _store_away)
    app.add_exception_handler(Exception, _unforeseen)


async def _ours(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, WainwrightError):
        raise TypeError from error
    return tell(error)


def response_of(error: WainwrightError | RequestValidationError | HTTPException) -> JSONResponse:
    """Return the response that tells one of our errors, one of a request that cannot be used, or one of a status."""
    if isinstance(error, WainwrightError):
        return tell(error)
    if isinstance(error, RequestValidationError):
        return _unusable(error)
    status = HTTPStatus(error.status_code)
    return problem(status, HTTP_CODES.get(status, "refused"), f"{error.detail}.", error.headers)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RequestValidationError):
        raise TypeError from error
    return _unusable(error)


def _unusable(error: RequestValidationError) -> JSONResponse:
    said = "; ".join(f"{_place(e['loc'])}: {e['msg']}" for e in error.errors()[:5])
    return problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", f"The request cannot be used: {said}.")


def _place(location: tuple[str | int, ...]) -> str:
    return ".".join(str(step) for step in location[1:]) or str(location[0])


async def _http(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise TypeError from error
    told = response_of(error)
    if told.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        told.headers["Allow"] = _methods(request)
    return told


def _methods(request: Request) -> str:
    """Return all methods of a path: FastAPI has a route for each, and asks the first one only.

    Of paths that fit, the one with the fewest parameters is meant: `/devices/accept` is no device.
    """
    routes = [route for route in iter_route_contexts(request.app.routes) if route.path_regex.match(request.url.path)]
    meant = min((str(route.path_format) for route in routes), key=lambda path: path.count("{"), default="")
    return ", ".join(sorted({one for route in routes if route.path_format == meant for one in route.methods or ()}))


async def _store_away(_request: Request, error: Exception) -> JSONResponse:
    LOG.error("the store refuses to work", exc_info=error)
    return problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "store-unavailable",
        "The controller's database does not answer: try again, and look into the controller's log.",
    )


async def _unforeseen(_request: Request, _error: Exception) -> JSONResponse:
    # The server logs the traceback: this handler only chooses the words.
    return problem(
        HTTPStatus.INTERNAL_SERVER_ERROR, "internal", "The controller made a mistake: its log says which one."
    )
