"""Keys and certificates, for programs that may load the library `cryptography`: the child that enrols, and checks."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from wainwright_agent.credentials import Credentials, CredentialsError
from wainwright_agent.est import EstFailed, EstRefused

COMMON_NAME_MAX = 64  # X.520, ub-common-name
PATH_MAX = 4  # authorities between a certificate and its root


@dataclass(frozen=True)
class KeyPair:
    """The device's key, EC P-256."""

    key: ec.EllipticCurvePrivateKey

    @classmethod
    def make(cls, credentials: Credentials, file: Path) -> KeyPair:
        """Make a key, which is on the medium when this returns; raises CredentialsError."""
        made = cls(ec.generate_private_key(ec.SECP256R1()))
        credentials.write(file, made.pem)
        return made

    @classmethod
    def read(cls, file: Path) -> KeyPair:
        """Read a key; raises CredentialsError. A damaged one is not made anew: a new key asks a person again."""
        try:
            key = load_pem_private_key(file.read_bytes(), None)
        except OSError as error:
            raise CredentialsError(f"Cannot read {file}: {error.strerror}.") from error
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise CredentialsError(
                f"{file} holds no key. Restore it, or remove it: `wain enrol` makes another."
            ) from error
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise CredentialsError(
                f"{file} holds a key of another kind than EC. Remove it: `wain enrol` makes another."
            )
        return cls(key)

    @property
    def pem(self) -> bytes:
        """The private key."""
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def digest(self) -> str:
        """SHA-256 of the public key."""
        return self.digest_of(self.key.public_key())

    @staticmethod
    def digest_of(key: CertificatePublicKeyTypes) -> str:
        """Return a public key's SHA-256, over its SubjectPublicKeyInfo."""
        return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()

    def request(self, device_id: str) -> bytes:
        """Return a signing request in base64; raises EstRefused for an id that no certificate can have."""
        if len(device_id) > COMMON_NAME_MAX:
            raise EstRefused(
                "csr-name",
                f"The device id has {len(device_id)} characters, and a certificate takes {COMMON_NAME_MAX}:"
                " set a shorter device_id.",
            )
        subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, device_id)])
        csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(self.key, hashes.SHA256())
        return base64.encodebytes(csr.public_bytes(Encoding.DER))


class Bundle(NamedTuple):
    """What device.pem has."""

    pair: KeyPair
    certificate: x509.Certificate

    @property
    def name(self) -> str:
        """Whose certificate it is."""
        names = self.certificate.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
        return str(names[0].value) if names else ""


def read_bundle(credentials: Credentials) -> Bundle | None:
    """Return the device's key and certificate; None if there is none, or not both of one."""
    try:
        content = credentials.device.read_bytes()
        certificate = x509.load_pem_x509_certificate(content)
        pair = KeyPair.read(credentials.device)
    except (OSError, ValueError, CredentialsError):
        return None
    return Bundle(pair, certificate) if pair.digest == KeyPair.digest_of(certificate.public_key()) else None


def issued_by(
    certificate: x509.Certificate, authorities: Sequence[x509.Certificate]
) -> tuple[x509.Certificate, list[x509.Certificate]]:
    """Return the root that a certificate leads to, and what is between the two; raises EstFailed without one."""
    chain: list[x509.Certificate] = []
    given = [one for one in authorities if _is_authority(one)]
    present = certificate
    for _ in range(PATH_MAX + 1):
        above = next((one for one in given if one != present and _signs(one, present)), None)
        if above is None:
            break
        if _signs(above, above):
            return above, chain
        chain.append(above)
        present = above
    raise EstFailed("The controller gave a certificate that its own authority did not sign: not kept.")


def _is_authority(certificate: x509.Certificate) -> bool:
    """Say whether this may sign others, which a server's or a device's own certificate may not."""
    try:
        return certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        return False


def _signs(authority: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except (InvalidSignature, ValueError, TypeError):
        return False
    return True
