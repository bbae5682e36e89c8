"""Revocation lists: which certificates of an issuing authority are not valid any more, though they have not expired."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from wainwright_controller.pki.profiles import BACKDATED, Key

REASONS = {
    # What is written in a list, by what a person says.
    "unspecified": x509.ReasonFlags.unspecified,
    "key-compromise": x509.ReasonFlags.key_compromise,
    "superseded": x509.ReasonFlags.superseded,
    "decommissioned": x509.ReasonFlags.cessation_of_operation,
}


class Revoked(NamedTuple):
    """A certificate that is not valid any more: its number, when that was decided, and one of REASONS."""

    serial: int
    at: datetime
    reason: str


def crl(
    signer: x509.Certificate, key: Key, revoked: Iterable[Revoked], number: int, now: datetime, lifetime: timedelta
) -> x509.CertificateRevocationList:
    """Return the list of one issuing authority. `number` grows with every list; after `lifetime` nobody takes it."""
    moment = now.astimezone(UTC).replace(microsecond=0)
    # All at once: added one by one, each would be a copy of those before it, which takes a minute for 100,000.
    builder = (
        x509.CertificateRevocationListBuilder(revoked_certificates=[_entry(one) for one in sorted(revoked)])
        .issuer_name(signer.subject)
        .last_update(moment - BACKDATED)
        .next_update(moment + lifetime)
        .add_extension(x509.CRLNumber(number), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key()), critical=False)
    )
    return builder.sign(key, hashes.SHA256())


def _entry(one: Revoked) -> x509.RevokedCertificate:
    builder = (
        x509.RevokedCertificateBuilder()
        .serial_number(one.serial)
        .revocation_date(one.at.astimezone(UTC).replace(microsecond=0))
    )
    reason = REASONS[one.reason]
    if reason is not x509.ReasonFlags.unspecified:  # RFC 5280, 5.3.1: left out rather than said
        builder = builder.add_extension(x509.CRLReason(reason), critical=False)
    return builder.build()
