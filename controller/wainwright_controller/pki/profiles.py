"""What the certificates look like: names, purposes, lifetimes. Pure: keys and the time are arguments.

All keys that are made here are EC P-256: every TLS library has it, and a signature takes a device microseconds.
A certificate is valid from BACKDATED before it was signed, for machines whose clocks differ a little, and never longer
than the one that signs it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TypeAlias

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID as Purpose
from cryptography.x509.oid import NameOID

from wainwright_controller.pki.folder import PkiError

Key: TypeAlias = ec.EllipticCurvePrivateKey

CONTROLLER = "wainwright-controller"
"""The common name of the controller's own certificate; of several controllers, the others add `-` and a word."""

BACKDATED = timedelta(hours=1)
ROOT_LIFETIME = timedelta(days=20 * 365)  # devices are built to last; replacing a root means touching each
ISSUING_LIFETIME = timedelta(days=5 * 365)  # rotated long before, and nobody notices
COMMON_NAME_MAX = 64  # X.520, ub-common-name: a device with a longer id cannot have a certificate


def new_key() -> Key:
    """Return a new private key."""
    return ec.generate_private_key(ec.SECP256R1())


def is_reserved(device_id: str) -> bool:
    """Say whether a name is a controller's, which no device may have: the broker knows clients by it."""
    return device_id.lower() == CONTROLLER or device_id.lower().startswith(f"{CONTROLLER}-")


def key_digest(key: CertificatePublicKeyTypes) -> str:
    """Return a key's fingerprint: SHA-256 over its SubjectPublicKeyInfo, as hexadecimal digits."""
    digest = hashes.Hash(hashes.SHA256())
    digest.update(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    return digest.finalize().hex()


def fingerprint(certificate: x509.Certificate) -> str:
    """Return a certificate's SHA-256, as hexadecimal digits."""
    return certificate.fingerprint(hashes.SHA256()).hex()


def root(key: Key, name: str, now: datetime) -> x509.Certificate:
    """Return a root that signs itself."""
    subject = _named(f"{name} root {_short(key)}")
    builder = _builder(subject, subject, key.public_key(), now - BACKDATED, now + ROOT_LIFETIME)
    return _authority(builder, key, path_length=1).sign(key, hashes.SHA256())


def issuing(
    request_key: CertificatePublicKeyTypes, name: str, signer: x509.Certificate, key: Key, now: datetime
) -> x509.Certificate:
    """Return an issuing authority below the root `signer`, whose key is `key`."""
    subject = _named(f"{name} issuing {key_digest(request_key)[:8]}")
    builder = _builder(subject, signer.subject, request_key, now - BACKDATED, lasting(signer, now, ISSUING_LIFETIME))
    return _authority(builder, key, path_length=0).sign(key, hashes.SHA256())


def client(
    public_key: CertificatePublicKeyTypes,
    name: str,
    signer: x509.Certificate,
    key: Key,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    """Return the certificate of a device, or of a controller: its name is its common name, and it is a client only."""
    builder = _builder(_named(name), signer.subject, public_key, now - BACKDATED, lasting(signer, now, lifetime))
    return _leaf(builder, key, Purpose.CLIENT_AUTH).sign(key, hashes.SHA256())


def server(
    public_key: CertificatePublicKeyTypes,
    names: Sequence[str],
    signer: x509.Certificate,
    key: Key,
    now: datetime,
    lifetime: timedelta,
) -> x509.Certificate:
    """Return the certificate of a server that is reached by `names`: host names and addresses. Raises PkiError."""
    subject = _named(names[0][:COMMON_NAME_MAX])
    builder = _builder(subject, signer.subject, public_key, now - BACKDATED, lasting(signer, now, lifetime))
    builder = builder.add_extension(x509.SubjectAlternativeName([_host(name) for name in names]), critical=False)
    return _leaf(builder, key, Purpose.SERVER_AUTH).sign(key, hashes.SHA256())


def common_name(certificate: x509.Certificate) -> str:
    """Return whose certificate it is; "" if it does not say that once."""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def lasting(signer: x509.Certificate, now: datetime, lifetime: timedelta) -> datetime:
    """Return when what is signed now ends; raises PkiError when who signs has ended."""
    ends = signer.not_valid_after_utc
    if now >= ends:
        raise PkiError(
            f"{signer.subject.rfc4514_string()} ended at {ends:%Y-%m-%d %H:%M} UTC, and signs nothing more: set the"
            " clock if that is wrong, else see docs/enrolment.md, Rotating the issuing authority."
        )
    return min(now + lifetime, ends)


def _builder(
    subject: x509.Name, issuer: x509.Name, public_key: CertificatePublicKeyTypes, begins: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(x509.random_serial_number())  # 159 random bits: nobody can foresee what is signed
        .not_valid_before(_seconds(begins))
        .not_valid_after(_seconds(ends))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public_key), critical=False)
    )


def _authority(builder: x509.CertificateBuilder, signer: Key, path_length: int) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=True, path_length=path_length), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def _leaf(builder: x509.CertificateBuilder, signer: Key, purpose: x509.ObjectIdentifier) -> x509.CertificateBuilder:
    return (
        builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _short(key: Key) -> str:
    return key_digest(key.public_key())[:8]


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        pass
    try:
        return x509.DNSName(name)
    except ValueError as error:
        raise PkiError(f"{name!r} is neither a host name nor an address: write names in ASCII (IDNA).") from error


def _seconds(moment: datetime) -> datetime:
    """Return a time as certificates have it: in whole seconds."""
    return moment.astimezone(UTC).replace(microsecond=0)
