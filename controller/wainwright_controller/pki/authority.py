"""The authority that works on a folder: made, loaded, rotated, and asked for certificates and revocation lists.

1. The root signs issuing authorities and nothing else; without its key everything but `rotate` works.
2. Which issuing authority signs is what `issuing.pem` points to: changing that link is the whole of a rotation. All
   clients trust the root, so they take the next one's certificates without having heard of it.
3. A former issuing authority keeps its key until the last certificate that it signed has expired: nobody else can
   sign its revocation list, and a broker refuses certificates whose issuer has none.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from wainwright_controller.pki import profiles, revocation
from wainwright_controller.pki.folder import GROUP_MODE, PUBLIC_MODE, SECRET_MODE, Folder, PkiError
from wainwright_controller.pki.profiles import Key, key_digest
from wainwright_controller.pki.revocation import Revoked

SERVER_LIFETIME = timedelta(days=397)  # what browsers take at most is 398 days
EARLIEST = datetime(2026, 1, 1, tzinfo=UTC)  # no copy of this program is older: a clock that is has lost the time
ID_LENGTH = 16  # hexadecimal digits of a key's digest that name an issuing authority's files


class Issuer:
    """An issuing authority: its certificate and its key."""

    def __init__(self, certificate: x509.Certificate, key: Key) -> None:
        self.certificate = certificate
        self.key = key
        self.id = key_digest(certificate.public_key())[:ID_LENGTH]


class Authority:
    """The authority of one folder; make one with `create` or `load`. Safe to share between threads once it is made."""

    def __init__(self, folder: Folder, root: x509.Certificate, issuer: Issuer, issuers: Sequence[Issuer]) -> None:
        self.folder = folder
        self.root = root
        self.issuer = issuer
        self.issuers = issuers
        """All of them, the present one too; by id."""

    @classmethod
    def create(cls, folder: Folder, name: str, now: datetime, crl_lifetime: timedelta) -> Authority:
        """Return the authority of a folder, which is made if there is none: root, issuing authority, an empty list."""
        with folder.locked():
            if not folder.issuing.exists():
                if not folder.root.exists():
                    _check_clock(now)
                    _make_root(folder, name, now)
                _make_issuer(folder, name, now)
        authority = cls.load(folder)
        if not folder.crl.exists():
            authority.write_crl({}, 1, now, crl_lifetime)
        return authority

    @classmethod
    def load(cls, folder: Folder) -> Authority:
        """Return the authority of a folder; raises PkiError when a file is missing, or does not fit the others."""
        root = read_certificate(folder, folder.root)
        issuer = _load_issuer(folder, folder.issuing.resolve())
        issuers = [_load_issuer(folder, path) for path in sorted(folder.issuers.glob("*.pem"))]
        for one in issuers:
            try:
                one.certificate.verify_directly_issued_by(root)
            except (InvalidSignature, ValueError, TypeError) as error:
                raise PkiError(
                    f"{folder.issuers}/{one.id}.pem was not signed by {folder.root}: restore both."
                ) from error
        return cls(folder, root, issuer, issuers)

    @property
    def has_root_key(self) -> bool:
        """Whether the root's key is here, or kept elsewhere."""
        return self.folder.root_key.exists()

    def rotate(self, name: str, now: datetime) -> Authority:
        """Return the authority with a new issuing authority, which signs from now on; raises PkiError without root."""
        with self.folder.locked():
            _make_issuer(self.folder, name, now)
        return Authority.load(self.folder)

    def retire(self, issuer_id: str, now: datetime) -> Authority:
        """Return the authority without a former issuing authority: what it signed is refused from now on."""
        if issuer_id == self.issuer.id:
            raise PkiError(f"{issuer_id} signs now: rotate first.")
        with self.folder.locked():
            for end in ("pem", "key"):
                (self.folder.issuers / f"{issuer_id}.{end}").unlink(missing_ok=True)
            _write_trust(self.folder, now)
        return Authority.load(self.folder)

    # ---- what it signs ----------------------------------------------------------------------------------------

    def issue_client(
        self, key: CertificatePublicKeyTypes, name: str, now: datetime, lifetime: timedelta
    ) -> x509.Certificate:
        """Return a client's certificate; `name` is a device id, or a controller's name."""
        return profiles.client(key, name, self.issuer.certificate, self.issuer.key, now, lifetime)

    def issue_server(
        self,
        names: Sequence[str],
        certificate: Path,
        key_file: Path,
        now: datetime,
        lifetime: timedelta = SERVER_LIFETIME,
    ) -> x509.Certificate:
        """Make a server's key and certificate, and write both; the certificate's file has its chain."""
        key = profiles.new_key()
        made = profiles.server(key.public_key(), names, self.issuer.certificate, self.issuer.key, now, lifetime)
        self._write_pair(certificate, key_file, made, key, GROUP_MODE)
        return made

    def issue_controller(
        self, name: str, certificate: Path, key_file: Path, now: datetime, lifetime: timedelta = SERVER_LIFETIME
    ) -> x509.Certificate:
        """Make a controller's key and certificate, and write both; raises PkiError for a name of a device."""
        if not profiles.is_reserved(name):
            raise PkiError(
                f"{name!r} may be a device's name: a controller's is {profiles.CONTROLLER},"
                f" or {profiles.CONTROLLER}-WORD."
            )
        key = profiles.new_key()
        made = self.issue_client(key.public_key(), name, now, lifetime)
        self._write_pair(certificate, key_file, made, key, SECRET_MODE)
        return made

    def chain(self, certificate: x509.Certificate) -> bytes:
        """Return a certificate with the issuing authority that signed it, as PEM: what a client or server shows."""
        issuer = next((one for one in self.issuers if one.certificate.subject == certificate.issuer), self.issuer)
        return pem(certificate) + pem(issuer.certificate)

    def _write_pair(self, certificate: Path, key_file: Path, made: x509.Certificate, key: Key, key_mode: int) -> None:
        with self.folder.locked():
            self.folder.write(key_file, key_pem(key), key_mode)
            self.folder.write(certificate, self.chain(made), PUBLIC_MODE)

    # ---- what it takes back -----------------------------------------------------------------------------------

    def write_crl(
        self, revoked: Mapping[str, Iterable[Revoked]], number: int, now: datetime, lifetime: timedelta
    ) -> None:
        """Write the lists of all issuing authorities, `revoked` by issuer id, into the one file that a broker reads."""
        lists = [
            revocation.crl(one.certificate, one.key, revoked.get(one.id, ()), number, now, lifetime)
            for one in self.issuers
        ]
        with self.folder.locked():
            content = b"".join(one.public_bytes(Encoding.PEM) for one in lists)
            self.folder.write(self.folder.crl, content, PUBLIC_MODE)


def pem(certificate: x509.Certificate) -> bytes:
    """Return a certificate as PEM."""
    return certificate.public_bytes(Encoding.PEM)


def key_pem(key: Key) -> bytes:
    """Return a private key as PEM, not encrypted: the file's mode protects it."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def read_certificate(folder: Folder, path: Path) -> x509.Certificate:
    """Return the first certificate of a file; raises PkiError."""
    try:
        return x509.load_pem_x509_certificate(folder.read(path))
    except ValueError as error:
        raise PkiError(f"{path} has no certificate (PEM): restore it from a backup.") from error


def read_key(folder: Folder, path: Path) -> Key:
    """Return the private key of a file; raises PkiError."""
    try:
        key = load_pem_private_key(folder.read(path), None)
    except (ValueError, TypeError) as error:
        raise PkiError(f"{path} has no private key (PEM, without a password): restore it from a backup.") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise PkiError(f"{path} is not an EC key, as this authority's are.")
    return key


def _load_issuer(folder: Folder, path: Path) -> Issuer:
    certificate = read_certificate(folder, path)
    issuer = Issuer(certificate, read_key(folder, path.with_suffix(".key")))
    if key_digest(issuer.key.public_key()) != key_digest(certificate.public_key()):
        raise PkiError(f"{path} and {path.with_suffix('.key')} do not belong together: restore both from a backup.")
    return issuer


def _check_clock(now: datetime) -> None:
    if now < EARLIEST:
        raise PkiError(
            f"This machine's clock says {now:%Y-%m-%d}, and an authority that is made now would have ended when it is"
            " set: set it first."
        )


def _make_root(folder: Folder, name: str, now: datetime) -> None:
    key = profiles.new_key()
    folder.write(folder.root_key, key_pem(key), SECRET_MODE)
    folder.write(folder.root, pem(profiles.root(key, name, now)), PUBLIC_MODE)


def _make_issuer(folder: Folder, name: str, now: datetime) -> None:
    root = read_certificate(folder, folder.root)
    if not folder.root_key.exists():
        raise PkiError(
            f"{folder.root_key} is not here: bring it back for the moment, or sign a request where it is kept"
            " (docs/enrolment.md)."
        )
    key = profiles.new_key()
    made = profiles.issuing(key.public_key(), name, root, read_key(folder, folder.root_key), now)
    install_issuer(folder, made, key, now)


def install_issuer(folder: Folder, certificate: x509.Certificate, key: Key, now: datetime) -> None:
    """Have an issuing authority sign from now on; the folder must be locked."""
    path = folder.issuers / f"{key_digest(certificate.public_key())[:ID_LENGTH]}.pem"
    folder.write(path.with_suffix(".key"), key_pem(key), SECRET_MODE)
    folder.write(path, pem(certificate), PUBLIC_MODE)
    _write_trust(folder, now)
    folder.point(folder.issuing, path)
    folder.point(folder.issuing_key, path.with_suffix(".key"))


def _write_trust(folder: Folder, now: datetime) -> None:
    issuers = [read_certificate(folder, path) for path in sorted(folder.issuers.glob("*.pem"))]
    valid = [one for one in issuers if one.not_valid_after_utc > now]
    content = b"".join(pem(one) for one in (read_certificate(folder, folder.root), *valid))
    folder.write(folder.ca, content, PUBLIC_MODE)
