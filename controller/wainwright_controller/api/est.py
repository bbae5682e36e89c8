"""/.well-known/est: where devices enrol, by EST (RFC 7030, with the base64 of RFC 8951).

    GET  cacerts          the root and the issuing authorities
    POST simpleenroll     a first certificate; the key in the request is what the device is known by
    POST simplereenroll   the next one, for who shows the present one in TLS

Bodies are PKCS #10 and PKCS #7 in base64. 202 with Retry-After: somebody has to decide, ask again then. A token is the
password of HTTP Basic authentication, by any user name. A page in somebody's browser is no device, and is refused: it
would reach controllers that its author cannot.
"""

from __future__ import annotations

import base64
import binascii
import time
from collections.abc import Callable
from typing import TypeVar

from cryptography import x509
from fastapi import Request, Response
from starlette.concurrency import run_in_threadpool

from wainwright_common.errors import WainwrightError
from wainwright_controller.api import routing
from wainwright_controller.api.access import check_origin
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.problems import code_of
from wainwright_controller.desk import BadEnrolmentToken, Desk, EnrolmentRefused, Waiting
from wainwright_controller.https import PEER
from wainwright_controller.operations import NotFound
from wainwright_controller.pki.csr import CSR_MAX, Csr, read
from wainwright_controller.pki.pkcs7 import certs_only
from wainwright_controller.records import Certificate

PREFIX = "/.well-known/est"
CERTIFICATES = "application/pkcs7-mime"
CSR = "application/pkcs10"
Proof = TypeVar("Proof")

router = routing.open_router("devices' enrolment", PREFIX)

_BODY = {"requestBody": {"required": True, "content": {CSR: {"schema": {"type": "string", "format": "base64"}}}}}
_GIVEN = {"description": "Certificates alone: PKCS #7 in base64", "content": {CERTIFICATES: {}}}
_WAIT = {"description": "Somebody has to decide: ask again after so many seconds as Retry-After says", "content": {}}


@router.get("/cacerts", response_class=Response, responses={200: _GIVEN})
def cacerts(context: InContext) -> Response:
    """Give the authority's certificates: the root, which signs itself, and the issuing ones."""
    authority = _desk(context).keeper.authority()
    chain = [authority.root, *(issuer.certificate for issuer in authority.issuers)]
    return Response(certs_only(chain), media_type=CERTIFICATES)


@router.post(
    "/simpleenroll",
    response_class=Response,
    responses={200: _GIVEN, 202: _WAIT},
    openapi_extra=_BODY,
    max_body_size=CSR_MAX,
)
async def simpleenroll(request: Request, context: InContext) -> Response:
    """Ask for a certificate, with nothing but a key, or with a token; 202 while somebody has to decide."""
    return await _decide(request, context, _secret_of, Desk.enrol)


@router.post(
    "/simplereenroll",
    response_class=Response,
    responses={200: _GIVEN, 202: _WAIT},
    openapi_extra=_BODY,
    max_body_size=CSR_MAX,
)
async def simplereenroll(request: Request, context: InContext) -> Response:
    """Ask for the next certificate, with the present one as the client's in TLS; the name must be the same."""
    return await _decide(request, context, _shown_in, Desk.renew)


async def _decide(
    request: Request,
    context: Context,
    proof_of: Callable[[Request], Proof],
    decide: Callable[[Desk, Csr, str, Proof], Certificate | Waiting],
) -> Response:
    """Answer what the desk decides about a request, by what it brings beside the key; a refusal leaves a trace."""
    check_origin(request, context)
    desk, body, address = _desk(context), await request.body(), _address(request)

    def decided() -> Certificate | Waiting:
        device_id = ""
        try:
            proof, csr = proof_of(request), read(body)
            device_id = csr.device_id
            return decide(desk, csr, address, proof)
        except WainwrightError as error:
            context.enrolments_refused.note(code_of(error), address, device_id, str(error), time.monotonic())
            raise

    return _answer(await run_in_threadpool(decided))


def _desk(context: Context) -> Desk:
    if context.desk is None:
        raise NotFound("This controller gives no certificates: an administrator may set enrolment.enabled = true.")
    return context.desk


def _answer(given: Certificate | Waiting) -> Response:
    if isinstance(given, Waiting):
        text = "Somebody has to accept this device. Ask again later.\n"
        return Response(text, 202, {"Retry-After": str(given.seconds)}, "text/plain; charset=utf-8")
    made = x509.load_pem_x509_certificate(given.pem.encode())
    return Response(certs_only([made]), media_type=f"{CERTIFICATES}; smime-type=certs-only")


def _shown_in(request: Request) -> x509.Certificate:
    """Return the certificate that a client has shown in TLS; raises EnrolmentRefused without one."""
    shown: bytes | None = getattr(request.state, PEER, None)
    if shown is None:
        raise EnrolmentRefused(
            "certificate-needed",
            "Show the present certificate in TLS (curl --cert --key), or enrol again with the same key: simpleenroll.",
        )
    return x509.load_der_x509_certificate(shown)


def _secret_of(request: Request) -> str:
    """Return the password of a request's Basic authentication, "" if it has none; raises BadEnrolmentToken."""
    header = request.headers.get("authorization", "")
    scheme, _, given = header.strip().partition(" ")
    if not header:
        return ""
    try:
        _, colon, password = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        colon, password = "", ""
    if scheme.lower() != "basic" or not colon or not password:
        raise BadEnrolmentToken("An enrolment token is given by HTTP Basic authentication, as the password.")
    return password


def _address(request: Request) -> str:
    return request.client.host if request.client else ""
