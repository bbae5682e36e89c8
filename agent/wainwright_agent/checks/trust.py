"""What the device proves itself with, and what it believes: its certificate, and the keys of releases.

`cryptography` is imported here when a check runs, never by an agent that is idle.
"""

from __future__ import annotations

import stat
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from wainwright_agent.checks.finding import Finding
from wainwright_agent.config import Config
from wainwright_agent.credentials import Credentials, Record

if TYPE_CHECKING:
    from cryptography import x509

RENEW = "Renew it, then: wain check-in"
ENROL = "Try it: wain enrol"
NEW_KEY = "wain enrol --new-key; somebody has to accept the new key."
LOST_KEYS = frozenset({"key-revoked", "key-replaced", "key-in-use", "key-unknown"})
"""Refusals after which this key will get no certificate any more."""


class _Wrong(Exception):  # noqa: N818  a finding on its way
    """What is wrong, and the remedy."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(text)
        self.finding = Finding("certificate", text, remedy)


def check_certificate(config: Config, now: datetime | None = None) -> Finding:
    """Find a certificate that is not valid now, or does not fit its key, or a key that others can read."""
    broker = config.broker
    if not broker.endpoint.tls:
        return Finding("certificate", "none needed: the broker is reached without encryption")
    now = now or datetime.now(UTC)
    enrols = bool(config.enrolment.url)
    record = Credentials(config.data_dir).record() if enrols else Record()
    try:
        if enrols:
            _check_enrolled(config, record)
        if broker.ca:
            for authority in _certificates(broker.ca):
                _check_dates(broker.ca, authority, now, "Get the authority's new certificate.")
        if not broker.certificate or not broker.key:
            return Finding("certificate", "none configured: the broker has to know the device by its password")
        certificate = _certificates(broker.certificate)[0]
        _check_key(broker.certificate, certificate, broker.key)
        _check_dates(broker.certificate, certificate, now, ENROL if enrols else RENEW)
        _check_renewal(record, now)
    except _Wrong as wrong:
        return wrong.finding
    days = (certificate.not_valid_after_utc - now).days
    names = f" for {certificate.subject.rfc4514_string()}" if certificate.subject.rdns else ""
    text = f"valid{names} until {certificate.not_valid_after_utc:%Y-%m-%d} ({days} days)"
    renewal = f", renewed from {record.holding.renew_at:%Y-%m-%d} on" if record.holding is not None else ""
    return Finding("certificate", text + renewal)


def _check_enrolled(config: Config, record: Record) -> None:
    """Find out why a device that is to get its certificate has none."""
    if Credentials(config.data_dir).device.exists():
        return
    trouble = record.trouble
    if trouble is None:
        raise _Wrong(f"none yet; {config.enrolment.url} was not asked", ENROL)
    if trouble.code == "waiting":
        text = f"none yet: the device waits to be accepted, with the key {trouble.key}"
        raise _Wrong(text, "On the controller: wainwright enrolment list, then device accept, if it is this key.")
    remedy = NEW_KEY if trouble.reason in LOST_KEYS else ENROL
    raise _Wrong(f"none: {trouble.text.rstrip('.')}, at {trouble.at:%Y-%m-%d %H:%M} UTC", remedy)


def _check_renewal(record: Record, now: datetime) -> None:
    """Find a certificate that holds, but should have been renewed by now, and was not."""
    if record.holding is None or record.trouble is None or now < record.holding.renew_at:
        return
    trouble, ends = record.trouble, record.holding.ends_at
    text = f"valid until {ends:%Y-%m-%d}, and not renewed: {trouble.text.rstrip('.')}"
    raise _Wrong(text, NEW_KEY if trouble.reason in LOST_KEYS else ENROL)


def _certificates(file: Path) -> list[x509.Certificate]:
    from cryptography import x509

    try:
        return x509.load_pem_x509_certificates(file.read_bytes())
    except OSError as error:
        raise _Wrong(f"{file} cannot be read: {error.strerror}", "Run this as root; check the path.") from error
    except ValueError as error:
        raise _Wrong(f"{file} holds no certificate in PEM form", "Put the certificate there again.") from error


def _check_dates(file: Path, certificate: x509.Certificate, now: datetime, remedy: str) -> None:
    if now > certificate.not_valid_after_utc:
        raise _Wrong(f"{file} expired on {certificate.not_valid_after_utc:%Y-%m-%d}", remedy)
    if now < certificate.not_valid_before_utc:
        since = f"{certificate.not_valid_before_utc:%Y-%m-%d %H:%M} UTC"
        raise _Wrong(f"{file} is valid only from {since} on", "Set the device's clock.")


def _check_key(file: Path, certificate: x509.Certificate, key_file: Path) -> None:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    try:
        mode = key_file.stat().st_mode
        key = load_pem_private_key(key_file.read_bytes(), None)
    except OSError as error:
        raise _Wrong(f"{key_file} cannot be read: {error.strerror}", "Run this as root; check the path.") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        text = f"{key_file} holds no key in PEM form that works without a password"
        raise _Wrong(text, "Put the key there again.") from error
    form = Encoding.DER, PublicFormat.SubjectPublicKeyInfo
    if key.public_key().public_bytes(*form) != certificate.public_key().public_bytes(*form):
        raise _Wrong(f"{key_file} is not the key of {file}", "Put the two that belong together there.")
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise _Wrong(f"{key_file} can be read by others than its owner", f"chmod 600 {key_file}")


def check_keys(config: Config) -> Finding:
    """Find keys of releases that cannot be used; without any, say that unsigned artifacts are taken."""
    from wainwright_common.artifact.key_files import KeyFileError, load_verify_keys

    files = config.update.verify_keys
    if not files:
        return Finding("keys", "none configured: unsigned artifacts are taken")
    try:
        keys = load_verify_keys(files)
    except KeyFileError as error:
        return Finding("keys", str(error).rstrip("."), "Put a public key there, or take it out of update.verify_keys.")
    return Finding("keys", ", ".join(f"{key.label} ({key.algorithm})" for key in keys))
