"""A certificate authority of a test's own: it also issues what a real one never would, for attackers.

Its folder has the names of a controller's `pki` folder: ca.pem, crl.pem, and NAME.pem with NAME.key for what it issued.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import paho.mqtt.client as paho
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
LOOPBACK = ("127.0.0.1", "localhost")


@dataclass(frozen=True)
class Credentials:
    """What a client proves by who it is; `ca` is whom it believes about the broker."""

    ca: Path
    certificate: Path | None = None
    key: Path | None = None

    def show(self, client: paho.Client) -> None:
        """Have a client show the certificate, if there is one."""
        certificate, key = (None if file is None else str(file) for file in (self.certificate, self.key))
        client.tls_set(str(self.ca), certificate, key)

    @property
    def loaded(self) -> x509.Certificate:
        """The certificate."""
        assert self.certificate is not None
        return x509.load_pem_x509_certificate(self.certificate.read_bytes())


class Authority:
    """A root, and an issuing authority below it whose certificates are in use."""

    def __init__(self, folder: Path, name: str = "Test") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._revoked: list[int] = []
        self._root_key, self._key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        self._root_name, self._name = _named(f"{name} root"), _named(f"{name} devices")
        until = datetime.now(UTC) + 10 * DAY
        root = self._sign(self._root_name, self._root_key, self._root_name, self._root_key, until, is_ca=True)
        issuing = self._sign(self._name, self._key, self._root_name, self._root_key, until, is_ca=True)
        self.file = folder / "ca.pem"
        self.file.write_bytes(_pem(issuing) + _pem(root))
        self.list_revoked()

    @classmethod
    def with_keys_of(cls, pki: Path, folder: Path) -> Self:
        """Return one that signs with the key of a controller's own authority, behind its back."""
        made = cls(folder)
        key = load_pem_private_key((pki / "issuing.key").read_bytes(), None)
        assert isinstance(key, ec.EllipticCurvePrivateKey)
        made._key = key
        made._name = x509.load_pem_x509_certificate((pki / "issuing.pem").read_bytes()).subject
        made.file = pki / "ca.pem"
        return made

    def issue(
        self,
        name: str,
        *,
        valid_for: timedelta = DAY,
        is_server: bool = False,
        hosts: Sequence[str] = LOOPBACK,
        file_name: str = "",
        also_named: str = "",
        serial: int = 0,
    ) -> Credentials:
        """Issue a certificate that began a day ago, and ends `valid_for` from now; a server's is for `hosts`.

        Without a `serial` it has a number of its own.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        until = datetime.now(UTC) + valid_for
        names = hosts if is_server else ()
        made = self._sign(_named(name, also_named), key, self._name, self._key, until, hosts=names, serial=serial)
        certificate = self.folder / f"{file_name or name}.pem"
        certificate.write_bytes(_pem(made))
        certificate.with_suffix(".key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        return Credentials(self.file, certificate, certificate.with_suffix(".key"))

    def revoke(self, *credentials: Credentials) -> None:
        """Enter certificates into the list; the broker must be told to read it."""
        self._revoked += [one.loaded.serial_number for one in credentials]
        self.list_revoked()

    def list_revoked(self, valid_for: timedelta = DAY) -> None:
        """Write crl.pem: the list of the issuing authority, and that of the root, which is empty."""
        now = datetime.now(UTC)
        lists = b""
        for name, key, serials in ((self._name, self._key, self._revoked), (self._root_name, self._root_key, [])):
            builder = x509.CertificateRevocationListBuilder(
                issuer_name=name, last_update=now - DAY, next_update=now + valid_for
            )
            for serial in serials:
                entry = x509.RevokedCertificateBuilder(serial_number=serial, revocation_date=now)
                builder = builder.add_revoked_certificate(entry.build())
            lists += builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
        (self.folder / "crl.pem").write_bytes(lists)

    @staticmethod
    def _sign(
        name: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        issuer: x509.Name,
        issuer_key: ec.EllipticCurvePrivateKey,
        until: datetime,
        *,
        is_ca: bool = False,
        hosts: Sequence[str] = (),
        serial: int = 0,
    ) -> x509.Certificate:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(serial or x509.random_serial_number())
            .not_valid_before(datetime.now(UTC) - 2 * DAY)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        )
        if not is_ca:
            purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
            builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(host) for host in hosts]), critical=False
            )
        return builder.sign(issuer_key, hashes.SHA256())


def _host(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        return x509.DNSName(host)


def _named(*names: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name) for name in names if name])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
