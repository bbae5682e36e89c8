"""/api/v1/ca: the controller's authority, and its rotation."""

from __future__ import annotations

from typing import Any

from cryptography import x509
from fastapi import Response
from sqlalchemy import func, select

from wainwright_controller.api import routing
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.models import AuthorityOut, IssuerOut, RequestOut, RetireIn, RotateIn
from wainwright_controller.operations import NotFound
from wainwright_controller.pki import Authority, PkiError, rotation
from wainwright_controller.pki.authority import Issuer, pem
from wainwright_controller.pki.keeper import Keeper, utc
from wainwright_controller.pki.profiles import fingerprint
from wainwright_controller.rows import CERTIFICATE
from wainwright_controller.rules.actions import Refused

router = routing.router("authority", "/ca")
machines = routing.open_router("authority")

_CRL: dict[int | str, dict[str, Any]] = {
    200: {"description": "Revocation lists in PEM", "content": {"application/x-pem-file": {}}}
}


@router.get("")
def show_authority(context: InContext) -> AuthorityOut:
    """Show the root, the issuing authorities and how old the revocation list is."""
    return _shown(context, _keeper(context).authority())


@router.post("/request")
def request_issuer(context: InContext, actor: InActor) -> RequestOut:
    """Make a request for the next issuing authority, to be signed where the root's key is kept."""
    made = rotation.request(_keeper(context).folder).decode()
    context.operations.rotated({}, {"requested": "the next issuing authority"}, actor.name)
    return RequestOut(request=made)


@router.post("/rotate")
def rotate_issuer(body: RotateIn, context: InContext, actor: InActor) -> AuthorityOut:
    """Have another issuing authority sign from now on; devices notice nothing.

    409 root-elsewhere: the root's key is not here, so send the certificate that answers a request. 409 not-possible: it
    is not one of this root, or of another request.
    """
    keeper = _keeper(context)
    before, now = keeper.authority(), utc(context.clock())
    if body.certificate is None and not before.has_root_key:
        raise Refused(
            "root-elsewhere",
            "The root's key is not here: `wainwright ca rotate --request` makes a request to be signed where it is.",
        )
    try:
        if body.certificate is None:
            before.rotate(keeper.name, now)
        else:
            rotation.install(keeper.folder, body.certificate.encode(), now)
    except PkiError as error:
        raise Refused("not-possible", str(error)) from error
    return _changed(context, keeper, before, actor.name)


@router.post("/retire")
def retire_issuer(body: RetireIn, context: InContext, actor: InActor) -> AuthorityOut:
    """Trust a former issuing authority no more: the broker refuses all certificates that it signed.

    404 not-found: there is none of that id. 409 not-possible: it signs now.
    """
    keeper = _keeper(context)
    before = keeper.authority()
    if all(issuer.id != body.issuer for issuer in before.issuers):
        raise NotFound(f"No such issuing authority: {body.issuer}. `wainwright ca show` has all.")
    try:
        before.retire(body.issuer, utc(context.clock()))
    except PkiError as error:
        raise Refused("not-possible", str(error)) from error
    return _changed(context, keeper, before, actor.name)


@machines.get("/crl.pem", response_class=Response, responses=_CRL)
def give_crl(context: InContext) -> Response:
    """Give the revocation lists of all issuing authorities, for brokers on other machines; they are no secret."""
    folder = _keeper(context).folder
    return Response(folder.read(folder.crl), media_type="application/x-pem-file")


def _keeper(context: Context) -> Keeper:
    if context.keeper is None:
        raise NotFound("This controller has no authority: an administrator may set enrolment.enabled = true.")
    return context.keeper


def _changed(context: Context, keeper: Keeper, before: Authority, actor: str) -> AuthorityOut:
    after = keeper.authority()
    context.operations.rotated(_told(before), _told(after), actor)
    if context.warden is not None:  # the broker refuses what a new one signs until it has its list
        context.warden.hurry()
    return _shown(context, after)


def _told(authority: Authority) -> dict[str, Any]:
    return {"signs": authority.issuer.id, "issuers": [issuer.id for issuer in authority.issuers]}


def _shown(context: Context, authority: Authority) -> AuthorityOut:
    now = context.clock()
    with context.store.read() as connection:
        valid = [CERTIFICATE.c.ends_at > now]
        per_issuer = select(CERTIFICATE.c.issuer, func.count()).where(*valid, CERTIFICATE.c.revoked_at.is_(None))
        counts = {row[0]: int(row[1]) for row in connection.execute(per_issuer.group_by(CERTIFICATE.c.issuer))}
        taken_back = select(func.count()).select_from(CERTIFICATE).where(*valid, CERTIFICATE.c.revoked_at.is_not(None))
        revoked = int(connection.execute(taken_back).scalar_one())
    folder = authority.folder
    crl = x509.load_pem_x509_crl(folder.read(folder.crl)) if folder.crl.exists() else None
    return AuthorityOut(
        subject=authority.root.subject.rfc4514_string(),
        fingerprint=fingerprint(authority.root),
        begins_at=authority.root.not_valid_before_utc,
        ends_at=authority.root.not_valid_after_utc,
        has_root_key=authority.has_root_key,
        issuers=[_issuer_out(one, authority, counts.get(one.id, 0)) for one in authority.issuers],
        crl_written_at=utc(folder.crl.stat().st_mtime) if crl is not None else None,
        crl_ends_at=crl.next_update_utc if crl is not None else None,
        revoked=revoked,
        pem=pem(authority.root).decode(),
    )


def _issuer_out(issuer: Issuer, authority: Authority, certificates: int) -> IssuerOut:
    return IssuerOut(
        id=issuer.id,
        subject=issuer.certificate.subject.rfc4514_string(),
        fingerprint=fingerprint(issuer.certificate),
        begins_at=issuer.certificate.not_valid_before_utc,
        ends_at=issuer.certificate.not_valid_after_utc,
        signs_now=issuer.id == authority.issuer.id,
        certificates=certificates,
        pem=pem(issuer.certificate).decode(),
    )
