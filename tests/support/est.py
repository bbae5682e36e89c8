"""A device that enrols by EST with nothing of ours: requests, and keys and requests of the library cryptography."""

from __future__ import annotations

import base64
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from tests.support.wait import PATIENCE_S


def digest_of(key: ec.EllipticCurvePrivateKey) -> str:
    """Return the SHA-256 of a key's SubjectPublicKeyInfo."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    hasher = hashes.Hash(hashes.SHA256())
    hasher.update(der)
    return hasher.finalize().hex()


def new_key() -> ec.EllipticCurvePrivateKey:
    """Return a new key."""
    return ec.generate_private_key(ec.SECP256R1())


def csr_of(name: str, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Return a signing request in base64."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return base64.b64encode(made.public_bytes(Encoding.DER))


def certificates_in(body: bytes) -> list[x509.Certificate]:
    """Return the certificates of a PKCS #7 message in base64, as openssl reads it."""
    der = base64.b64decode(body)
    ran = subprocess.run(
        ["openssl", "pkcs7", "-inform", "DER", "-print_certs"],
        input=der,
        capture_output=True,
        check=True,
        timeout=PATIENCE_S,
    )
    return x509.load_pem_x509_certificates(ran.stdout)


@dataclass
class EstDevice:
    """One device: its key is made here, its files are in `folder`."""

    url: str
    ca: Path
    folder: Path
    name: str
    key: ec.EllipticCurvePrivateKey = field(default_factory=new_key)

    @property
    def certificate_file(self) -> Path:
        """Where the certificate is."""
        return self.folder / f"{self.name}.pem"

    @property
    def key_file(self) -> Path:
        """Where the key is."""
        return self.folder / f"{self.name}.key"

    @property
    def digest(self) -> str:
        """The key's digest."""
        return digest_of(self.key)

    def enrol(self, token: str = "", name: str | None = None, **options: Any) -> requests.Response:  # noqa: ANN401  as requests takes them
        """Ask for a certificate, and keep what is given."""
        auth = ("any user", token) if token else None
        return self._ask("simpleenroll", name or self.name, auth=auth, **options)

    def renew(
        self, name: str | None = None, shown: EstDevice | None = None, key: ec.EllipticCurvePrivateKey | None = None
    ) -> requests.Response:
        """Ask for the next certificate with that of `shown`, which is this device unless an attacker is playing."""
        shown = shown or self
        cert = (str(shown.certificate_file), str(shown.key_file))
        if key is not None:
            self.key = key
        return self._ask("simplereenroll", name or self.name, cert=cert)

    def _ask(self, operation: str, name: str, **options: Any) -> requests.Response:  # noqa: ANN401  as requests takes them
        body = options.pop("body", None) or csr_of(name, self.key)
        answer = requests.post(
            f"{self.url}/.well-known/est/{operation}",
            data=body,
            headers={"Content-Type": "application/pkcs10"},
            verify=str(self.ca),
            timeout=PATIENCE_S,
            **options,
        )
        if answer.status_code == 200:
            self.keep(certificates_in(answer.content)[0])
        return answer

    def keep(self, certificate: x509.Certificate) -> None:
        """Store a certificate, with the chain that the server gives, and the key."""
        given = requests.get(f"{self.url}/.well-known/est/cacerts", verify=str(self.ca), timeout=PATIENCE_S)
        chain = [one for one in certificates_in(given.content) if one.subject == certificate.issuer]
        pem = b"".join(one.public_bytes(Encoding.PEM) for one in (certificate, *chain))
        self.certificate_file.write_bytes(pem)
        key = self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        self.key_file.write_bytes(key)

    @property
    def certificate(self) -> x509.Certificate:
        """The certificate that the device has."""
        return x509.load_pem_x509_certificate(self.certificate_file.read_bytes())
