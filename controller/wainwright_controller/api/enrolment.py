"""/api/v1/enrolment, /api/v1/certificates, and the keys of devices: who may have a certificate, and who had one."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Query
from sqlalchemy import Connection, RowMapping, select, tuple_

from wainwright_controller.api import routing
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import InContext
from wainwright_controller.api.models import (
    CertificateOut,
    Changed,
    EnrolmentTokenIn,
    EnrolmentTokenMade,
    EnrolmentTokenOut,
    KeyIn,
    KeyOut,
    Page,
    RevokeCertificateIn,
    Revoked,
    RevokeIn,
    known_moment,
    moment,
)
from wainwright_controller.api.paging import LIMIT, Cursor, Limit, cut, key_of
from wainwright_controller.records import Certificate, CertificateKind, DeviceKey, KeyState
from wainwright_controller.rows import CERTIFICATE, ENROLMENT_TOKEN, KEY, from_row

keys = routing.router("enrolment", "/enrolment/keys")
tokens = routing.router("enrolment", "/enrolment/tokens")
devices = routing.router("enrolment", "/devices")
certificates = routing.router("enrolment", "/certificates")


@keys.get("")
def list_keys(
    context: InContext,
    state: Annotated[list[KeyState] | None, Query(description="Repeatable.")] = None,
    device: str | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Page[KeyOut]:
    """List the keys of devices by device; `state=pending` are those that wait for somebody to decide."""
    key = (KEY.c.device_id, KEY.c.digest)
    query = select(KEY).order_by(*key).limit(limit + 1)
    if state:
        query = query.where(KEY.c.state.in_(state))
    if device is not None:
        query = query.where(KEY.c.device_id == device)
    if cursor is not None:
        query = query.where(tuple_(*key) > key_of(cursor, tuple[str, str]))
    with context.store.read() as connection:
        rows, following = cut(
            connection.execute(query).mappings().all(), limit, lambda row: (row["device_id"], row["digest"])
        )
    return Page(items=[key_out(from_row(DeviceKey, row)) for row in rows], next=following)


@devices.post("/{device_id}/accept-key")
def accept_key(device_id: str, body: KeyIn, context: InContext, actor: InActor) -> KeyOut:
    """Give a device's name to one of the keys that ask for it; the key that had it, and its certificates, are revoked.

    409 which-key: the beginning fits several keys, or none. 409 key-in-use: it is another device's.
    """
    return key_out(context.operations.accept_key(device_id, body.key, actor.name))


@devices.post("/{device_id}/revoke")
def revoke_device(device_id: str, body: RevokeIn, context: InContext, actor: InActor) -> Revoked:
    """Revoke the keys and certificates of a device, or those of one key; it is disconnected.

    A new key of it waits for a person, whatever token it brings.
    """
    return Revoked(serials=context.operations.revoke_device(device_id, actor.name, body.key, body.reason))


@certificates.get("")
def list_certificates(
    context: InContext,
    name: str | None = None,
    kind: CertificateKind | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Page[CertificateOut]:
    """List certificates, newest first; `name` gives those of one device, server or controller."""
    with context.store.read() as connection:
        return certificates_listed(connection, name, kind, limit, cursor)


def certificates_listed(
    connection: Connection, name: str | None, kind: CertificateKind | None, limit: int, cursor: str | None
) -> Page[CertificateOut]:
    """Return a piece of the list of certificates."""
    key = (CERTIFICATE.c.issued_at, CERTIFICATE.c.serial)
    query = select(CERTIFICATE).order_by(*(column.desc() for column in key)).limit(limit + 1)
    if name is not None:
        query = query.where(CERTIFICATE.c.name == name)
    if kind is not None:
        query = query.where(CERTIFICATE.c.kind == kind)
    if cursor is not None:
        at, serial = key_of(cursor, tuple[str, str])
        query = query.where(tuple_(*key) < (float.fromhex(at), serial))
    rows, following = cut(
        connection.execute(query).mappings().all(), limit, lambda row: (row["issued_at"].hex(), row["serial"])
    )
    return Page(items=[certificate_out(from_row(Certificate, row)) for row in rows], next=following)


@certificates.post("/{serial}/revoke")
def revoke_certificate(serial: str, body: RevokeCertificateIn, context: InContext, actor: InActor) -> Changed:
    """Revoke one certificate; who is connected with it is disconnected.

    A server's goes on being believed by devices until it ends: they read no revocation list.
    """
    return Changed(changed=[context.operations.revoke_certificate(serial, body.reason, actor.name)])


@tokens.get("")
def list_enrolment_tokens(context: InContext, limit: Limit = LIMIT, cursor: Cursor = None) -> Page[EnrolmentTokenOut]:
    """List tokens of enrolment by id, the used and revoked ones too; never their secrets, which are not kept."""
    query = select(ENROLMENT_TOKEN).order_by(ENROLMENT_TOKEN.c.id).limit(limit + 1)
    if cursor is not None:
        query = query.where(ENROLMENT_TOKEN.c.id > key_of(cursor, tuple[str])[0])
    with context.store.read() as connection:
        rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: (row["id"],))
    return Page(items=[_token_out(row) for row in rows], next=following)


@tokens.post("", status_code=HTTPStatus.CREATED)
def create_enrolment_token(body: EnrolmentTokenIn, context: InContext, actor: InActor) -> EnrolmentTokenMade:
    """Make a token by which devices are accepted. `token` is its text, told this once."""
    made = context.operations.create_enrolment_token(
        actor.name,
        expires_at=body.expires_at.timestamp(),
        budget=body.budget,
        device_id=body.device,
        note=body.note,
    )
    with context.store.read() as connection:
        row = connection.execute(select(ENROLMENT_TOKEN).where(ENROLMENT_TOKEN.c.id == made.id)).mappings().one()
    return EnrolmentTokenMade(**_token_out(row).model_dump(), token=made.text)


@tokens.post("/{token_id}/revoke", status_code=HTTPStatus.NO_CONTENT)
def revoke_enrolment_token(token_id: str, context: InContext, actor: InActor) -> None:
    """End a token of enrolment; devices that were accepted by it stay."""
    context.operations.revoke_enrolment_token(token_id, actor.name)


def key_out(key: DeviceKey) -> KeyOut:
    """Return a key as the API gives it."""
    return KeyOut(
        device=key.device_id,
        digest=key.digest,
        state=key.state,
        asked_at=moment(key.asked_at),
        last_asked_at=moment(key.last_asked_at),
        address=key.address or None,
        decided_at=moment(key.decided_at),
        decided_by=key.decided_by or None,
    )


def certificate_out(one: Certificate) -> CertificateOut:
    """Return a certificate as the API gives it."""
    return CertificateOut(
        serial=one.serial,
        kind=one.kind,
        name=one.name,
        key=one.key_digest,
        issuer=one.issuer,
        begins_at=known_moment(one.begins_at),
        ends_at=known_moment(one.ends_at),
        issued_at=known_moment(one.issued_at),
        issued_by=one.issued_by,
        revoked_at=moment(one.revoked_at),
        reason=one.reason or None,
        session_ended_at=moment(one.session_ended_at),
        pem=one.pem,
    )


def _token_out(row: RowMapping) -> EnrolmentTokenOut:
    return EnrolmentTokenOut(
        id=row["id"],
        budget=row["budget"],
        used=row["used"],
        expires_at=known_moment(row["expires_at"]),
        device=row["device_id"],
        note=row["note"] or None,
        created_at=known_moment(row["created_at"]),
        created_by=row["created_by"],
        revoked_at=moment(row["revoked_at"]),
    )
