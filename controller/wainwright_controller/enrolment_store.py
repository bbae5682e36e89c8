"""Keys, certificates and tokens of enrolment in the store, as the records that rules and operations work on."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from cryptography import x509
from sqlalchemy import Connection, and_, delete, func, insert, or_, select, update

from wainwright_controller.pki.authority import ID_LENGTH, pem
from wainwright_controller.pki.profiles import common_name, key_digest
from wainwright_controller.records import Certificate, CertificateKind, DeviceKey, DeviceState, EnrolmentToken, KeyState
from wainwright_controller.rows import (
    CERTIFICATE,
    DEVICE,
    ENROLMENT_TOKEN,
    KEY,
    MEMBER,
    PART,
    TAG,
    from_row,
    in_chunks,
    to_row,
)

SERIAL_DIGITS = 40  # hexadecimal: RFC 5280 section 4.1.2.2, at most 20 octets
KEPT_S = 30 * 86_400.0  # a certificate's row, after it has expired: for whoever asks what happened
LISTED_S = 30 * 86_400.0  # a revoked certificate, after it has expired: clocks differ, and a broker's may be behind
PENDING_KEPT_S = 7 * 86_400.0  # a key that nobody decided about, after it asked last; it may ask again


# ---- keys -----------------------------------------------------------------------------------------------------


def load_keys(connection: Connection, device_ids: Collection[str]) -> dict[str, list[DeviceKey]]:
    """Return the keys of devices, by device, oldest first; none has an empty list."""
    found: dict[str, list[DeviceKey]] = {i: [] for i in device_ids}
    for chunk in in_chunks(sorted(found)):
        query = select(KEY).where(KEY.c.device_id.in_(chunk)).order_by(KEY.c.asked_at, KEY.c.digest)
        for row in connection.execute(query).mappings():
            found[row["device_id"]].append(from_row(DeviceKey, row))
    return found


def put_key(connection: Connection, key: DeviceKey) -> None:
    """Store a key, new or changed. The one that it takes the place of must have been put before it."""
    row = to_row(key)
    same = and_(KEY.c.device_id == key.device_id, KEY.c.digest == key.digest)
    if connection.execute(update(KEY).where(same).values(row)).rowcount == 0:
        connection.execute(insert(KEY), row)


def owner_of(connection: Connection, digest: str, other_than: str) -> str | None:
    """Return which other device a key is accepted for."""
    query = select(KEY.c.device_id).where(
        KEY.c.digest == digest, KEY.c.state == KeyState.ACCEPTED, KEY.c.device_id != other_than
    )
    owner: str | None = connection.execute(query).scalar()
    return owner


def count_pending(connection: Connection) -> int:
    """Return how many keys wait for somebody to decide."""
    query = select(func.count()).select_from(KEY).where(KEY.c.state == KeyState.PENDING)
    return int(connection.execute(query).scalar_one())


# ---- tokens ---------------------------------------------------------------------------------------------------


def load_token(connection: Connection, token_id: str) -> EnrolmentToken | None:
    """Return a token of enrolment."""
    row = connection.execute(select(ENROLMENT_TOKEN).where(ENROLMENT_TOKEN.c.id == token_id)).mappings().first()
    return from_row(EnrolmentToken, row) if row is not None else None


def use_token(connection: Connection, token_id: str) -> None:
    """Count one use of a token; whether there was one left is decided under the write lock, before."""
    used = ENROLMENT_TOKEN.c.used + 1
    connection.execute(update(ENROLMENT_TOKEN).where(ENROLMENT_TOKEN.c.id == token_id).values(used=used))


# ---- certificates ---------------------------------------------------------------------------------------------


def serial_of(number: int) -> str:
    """Return a certificate's number as it is stored and shown."""
    return f"{number:0{SERIAL_DIGITS}x}"


def serial_in(text: str) -> str:
    """Return a number that a person gives, as it is stored: OpenSSL shows it with colons, or without leading zeros."""
    return text.replace(":", "").lower().lstrip("0").zfill(SERIAL_DIGITS)


def record_of(made: x509.Certificate, kind: CertificateKind, issuer: str, now: float, actor: str) -> Certificate:
    """Return the record of a certificate that was made just now."""
    return Certificate(
        serial=serial_of(made.serial_number),
        kind=kind,
        name=common_name(made),
        key_digest=key_digest(made.public_key()),
        issuer=issuer[:ID_LENGTH],
        begins_at=made.not_valid_before_utc.timestamp(),
        ends_at=made.not_valid_after_utc.timestamp(),
        issued_at=now,
        issued_by=actor,
        pem=pem(made).decode(),
    )


def add_certificate(connection: Connection, certificate: Certificate) -> None:
    """Store a certificate, if it is not yet: a controller may have found it in its file before who made it says so."""
    if load_certificate(connection, certificate.serial) is None:
        connection.execute(insert(CERTIFICATE), to_row(certificate))


def load_certificate(connection: Connection, serial: str) -> Certificate | None:
    """Return a certificate by its number."""
    row = connection.execute(select(CERTIFICATE).where(CERTIFICATE.c.serial == serial)).mappings().first()
    return from_row(Certificate, row) if row is not None else None


def is_of(record: Certificate, shown: x509.Certificate) -> bool:
    """Say whether a certificate is the very one that was recorded: who has stolen an issuing key chooses the number."""
    return record.pem == pem(shown).decode()


def recent_certificate(
    connection: Connection, name: str, key: str, issuer: str, *, now: float, share: float
) -> Certificate | None:
    """Return a device's newest certificate for a key that holds now, if no more than a share of its life is over.

    Its own life: another may be set since. One that was issued by a clock that was ahead does not hold yet.
    """
    life = CERTIFICATE.c.ends_at - CERTIFICATE.c.issued_at
    query = (
        select(CERTIFICATE)
        .where(
            CERTIFICATE.c.name == name,
            CERTIFICATE.c.kind == CertificateKind.DEVICE,
            CERTIFICATE.c.key_digest == key,
            CERTIFICATE.c.issuer == issuer,
            CERTIFICATE.c.begins_at <= now,
            CERTIFICATE.c.issued_at + life * share > now,
            CERTIFICATE.c.revoked_at.is_(None),
        )
        .order_by(CERTIFICATE.c.issued_at.desc())
        .limit(1)
    )
    row = connection.execute(query).mappings().first()
    return from_row(Certificate, row) if row is not None else None


def revoke_certificates(connection: Connection, now: float, reason: str, **of: Any) -> list[str]:  # noqa: ANN401  columns and their values
    """Take back the certificates whose columns have these values, and that were not yet; returns their numbers.

    Also those that seem to have expired: if the clock is ahead now, they are good again when it has been set.
    """
    good = [CERTIFICATE.c.revoked_at.is_(None)]
    good += [CERTIFICATE.c[name] == value for name, value in of.items()]
    serials = list(connection.execute(select(CERTIFICATE.c.serial).where(*good)).scalars())
    for chunk in in_chunks(serials):
        taken_back = {"revoked_at": now, "reason": reason}
        connection.execute(update(CERTIFICATE).where(CERTIFICATE.c.serial.in_(chunk)).values(taken_back))
    return serials


def load_revoked(connection: Connection, now: float) -> list[Certificate]:
    """Return the certificates that were taken back and did not expire longer than LISTED_S ago."""
    query = select(CERTIFICATE).where(CERTIFICATE.c.revoked_at.is_not(None), CERTIFICATE.c.ends_at > now - LISTED_S)
    rows = connection.execute(query.order_by(CERTIFICATE.c.serial)).mappings()
    return [from_row(Certificate, row) for row in rows]


def stamp_of_revoked(connection: Connection, now: float) -> tuple[object, ...]:
    """Return what changes whenever `load_revoked` would return others; it costs a hundredth of that."""
    query = select(func.count(), func.max(CERTIFICATE.c.revoked_at), func.count(CERTIFICATE.c.session_ended_at))
    listed = CERTIFICATE.c.revoked_at.is_not(None), CERTIFICATE.c.ends_at > now - LISTED_S
    return tuple(connection.execute(query.where(*listed)).one())


def count_unfinished(connection: Connection, now: float) -> int:
    """Return how many certificates were taken back whose sessions are not known to have ended."""
    query = select(func.count()).where(
        CERTIFICATE.c.revoked_at.is_not(None), CERTIFICATE.c.ends_at > now, CERTIFICATE.c.session_ended_at.is_(None)
    )
    return int(connection.execute(query).scalar_one())


def heard_after_their_end(connection: Connection, now: float, grace_s: float) -> list[str]:
    """Return devices without a valid certificate that were heard, longer than `grace_s` after their sessions ended."""
    good = CERTIFICATE.alias()
    has_another = select(good.c.serial).where(
        good.c.name == CERTIFICATE.c.name, good.c.revoked_at.is_(None), good.c.ends_at > now
    )
    query = (
        select(DEVICE.c.id)
        .distinct()
        .join(CERTIFICATE, CERTIFICATE.c.name == DEVICE.c.id)
        .where(
            CERTIFICATE.c.revoked_at.is_not(None),
            CERTIFICATE.c.ends_at > now,
            DEVICE.c.last_seen_at > CERTIFICATE.c.session_ended_at + grace_s,
            ~has_another.exists(),
        )
        .order_by(DEVICE.c.id)
    )
    return list(connection.execute(query).scalars())


def note_session_ended(connection: Connection, serials: Collection[str], now: float) -> None:
    """Remember that nobody is connected any more with certificates that were taken back."""
    for chunk in in_chunks(sorted(serials)):
        connection.execute(update(CERTIFICATE).where(CERTIFICATE.c.serial.in_(chunk)).values(session_ended_at=now))


def forget_old(connection: Connection, now: float, issuers: Collection[str]) -> None:
    """Remove certificates that expired long ago, keys that waited and do not ask any more, and what is left of those.

    That is the name of a device that never was heard, and of which nobody has said anything: strangers choose such.

    A clock may be ahead, and who has lost a certificate's number cannot take it back. So one that was revoked is kept
    as long as `issuers` has who signed it, and of each name the one that lasts longest.
    """
    later = CERTIFICATE.alias()
    has_later = select(later.c.serial).where(
        later.c.name == CERTIFICATE.c.name, later.c.kind == CERTIFICATE.c.kind, later.c.ends_at > CERTIFICATE.c.ends_at
    )
    is_over = and_(CERTIFICATE.c.revoked_at.is_(None), has_later.exists())
    old = CERTIFICATE.c.ends_at < now - KEPT_S
    connection.execute(delete(CERTIFICATE).where(old, or_(is_over, CERTIFICATE.c.issuer.not_in(issuers))))
    gone = and_(KEY.c.state == KeyState.PENDING, KEY.c.last_asked_at < now - PENDING_KEPT_S)
    connection.execute(delete(KEY).where(gone))
    never_heard = [DEVICE.c.state == DeviceState.PENDING, DEVICE.c.agent_version == "", DEVICE.c.device_type == ""]
    unsaid = [~select(of.c.device_id).where(of.c.device_id == DEVICE.c.id).exists() for of in (KEY, TAG, MEMBER, PART)]
    connection.execute(delete(DEVICE).where(DEVICE.c.created_at < now - PENDING_KEPT_S, *never_heard, *unsaid))
