"""What holds for every request and every answer, before and after whatever the routes do.

1. A request whose target or head is larger than any of ours is refused, and one that says its length in two ways:
   the proxy in front may have believed the other one (request smuggling, RFC 9112 section 6.1).
2. So many requests at once, for each address and in all: behind a proxy the connections do not show whose they are.
3. Every answer tells browsers to take it for what it says it is, to run nothing in it, and to show it in no frame; and
   everybody to keep nothing of it, unless the route says otherwise. Nothing allows pages of other sites to read it.
"""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wainwright_controller.api.context import Context
from wainwright_controller.api.problems import HTTP_CODES, problem, tell
from wainwright_controller.crowd import key_of
from wainwright_controller.turnstile import TooManyAtOnce

TARGET_MAX = 16 * 1024  # bytes of path and query: a filter of the longest kind, most of its characters escaped
FIELDS_MAX = 100  # lines of a head, as in Apache's LimitRequestFields; browsers send some 20
FIELDS_MAX_BYTES = 16 * 1024  # of them together: h11's own default for a head
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class Envelope:
    """An application around that of a controller."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._requests = context.crowd.requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        sealed = _Seal(scope, receive, send)
        if (refusal := _refusal(scope)) is not None:
            await refusal(scope, receive, sealed)
            return
        key = key_of(scope["client"][0]) if scope.get("client") else None
        try:
            with self._requests.pass_through(key):
                await self._app(scope, receive, sealed)
        except TooManyAtOnce as error:  # ours: those of the routes are told within the application
            await tell(error)(scope, receive, sealed)


class _Seal:
    """The way of an answer out of here."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope, self._receive, self._send = scope, receive, send
        self._is_replaced = False

    async def __call__(self, message: Message) -> None:
        if self._is_replaced:
            return
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            if _is_frameworks(message["status"], headers):
                text = "The body is larger than what this request may have."
                await _told(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text)(self._scope, self._receive, self)
                self._is_replaced = True
                return
            for name, value in HEADERS.items():
                headers.setdefault(name, value)
        await self._send(message)


def _is_frameworks(status: int, headers: MutableHeaders) -> bool:
    """Say whether an answer is the one that Starlette gives to a body that is too large: it is no problem of ours."""
    return status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE and headers.get("content-type", "").startswith("text/plain")


def _refusal(scope: Scope) -> Response | None:
    """Return the answer to a request that no route should see, or None."""
    if scope["http_version"] not in {"1.0", "1.1"}:
        return _told(HTTPStatus.BAD_REQUEST, "This server speaks HTTP/1.1.")
    fields: list[tuple[bytes, bytes]] = scope["headers"]
    if len(scope["raw_path"]) + len(scope["query_string"]) > TARGET_MAX:
        text = f"The address of the request is longer than {TARGET_MAX} bytes."
        return _told(HTTPStatus.REQUEST_URI_TOO_LONG, text)
    if len(fields) > FIELDS_MAX or sum(len(name) + len(value) for name, value in fields) > FIELDS_MAX_BYTES:
        text = f"The request has more than {FIELDS_MAX} header fields, or more than {FIELDS_MAX_BYTES} bytes of them."
        return _told(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, text)
    names = {name for name, _ in fields}
    if {b"content-length", b"transfer-encoding"} <= names:
        text = "The request says in two ways how long it is: give Content-Length or Transfer-Encoding."
        return _told(HTTPStatus.BAD_REQUEST, text)
    return None


def _told(status: HTTPStatus, text: str) -> Response:
    """Return the problem; what follows on the connection may be anything, so it is closed."""
    return problem(status, HTTP_CODES[status], text, {"Connection": "close"})
