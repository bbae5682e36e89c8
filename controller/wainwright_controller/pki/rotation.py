"""A new issuing authority where the root's key is elsewhere: a request goes there, and a certificate comes back."""

from __future__ import annotations

from datetime import datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from wainwright_controller.pki import profiles
from wainwright_controller.pki.authority import (
    Authority,
    install_issuer,
    key_pem,
    read_certificate,
    read_key,
)
from wainwright_controller.pki.folder import SECRET_MODE, Folder, PkiError
from wainwright_controller.pki.profiles import key_digest

NEXT_KEY = "next.key"  # in the folder of the authority, until its certificate has come


def request(folder: Folder) -> bytes:
    """Return a request for the next issuing authority, as PEM; its key is made the first time, and kept."""
    with folder.locked():
        path = folder.path / NEXT_KEY
        if not path.exists():
            folder.write(path, key_pem(profiles.new_key()), SECRET_MODE)
        key = read_key(folder, path)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "the next issuing authority")])
    csr = x509.CertificateSigningRequestBuilder().subject_name(subject).sign(key, hashes.SHA256())
    return csr.public_bytes(Encoding.PEM)


def sign(folder: Folder, csr: bytes, name: str, now: datetime) -> bytes:
    """Return the certificate for a request, as PEM, signed by the root of a folder that may have nothing else."""
    try:
        wanted = x509.load_pem_x509_csr(csr)
    except ValueError as error:
        raise PkiError("This is no request: `wainwright ca rotate --request` makes one.") from error
    if not wanted.is_signature_valid:
        raise PkiError("This request was not signed by the key in it: make another.")
    root, key = read_certificate(folder, folder.root), read_key(folder, folder.root_key)
    made = profiles.issuing(wanted.public_key(), name, root, key, now)
    return made.public_bytes(Encoding.PEM)


def install(folder: Folder, certificate: bytes, now: datetime) -> Authority:
    """Have the next issuing authority sign from now on, with the certificate that its request was answered with."""
    try:
        made = x509.load_pem_x509_certificate(certificate)
    except ValueError as error:
        raise PkiError("This is no certificate (PEM): `wainwright ca sign` prints one.") from error
    path = folder.path / NEXT_KEY
    with folder.locked():
        key = read_key(folder, path)
        _check(made, read_certificate(folder, folder.root), key_digest(key.public_key()), now)
        install_issuer(folder, made, key, now)
        path.unlink()
    return Authority.load(folder)


def _check(made: x509.Certificate, root: x509.Certificate, expected: str, now: datetime) -> None:
    if key_digest(made.public_key()) != expected:
        raise PkiError("This certificate is for another request: sign the last one that was made.")
    try:
        made.verify_directly_issued_by(root)
    except (InvalidSignature, ValueError, TypeError) as error:
        raise PkiError("This certificate was signed by another root: devices would not know it.") from error
    try:
        is_authority = made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_authority = False
    if not is_authority or not made.not_valid_before_utc <= now < made.not_valid_after_utc:
        raise PkiError("This certificate is not one of an authority, or not valid now: sign with `wainwright ca sign`.")
