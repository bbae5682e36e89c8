"""Keys from PEM files.

A file of public keys may have several, one after another: a device that lists one such file trusts all of them, and to
change its keys is to replace that one file. A file of certificates stands for the key of its first one only, because
the others in it are authorities, which sign no artifacts.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wainwright_common.artifact.signing import SigningKey, VerifyKey
from wainwright_common.errors import WainwrightError

if TYPE_CHECKING:
    from wainwright_common.artifact.signing import PrivateKey, PublicKey

RSA_BITS_MIN: Final = 2048  # NIST SP 800-131A: shorter keys may no longer make signatures
FILE_MAX: Final = 64 * 1024  # bytes; a PEM key is below 4 KiB, a certificate rarely above
_BLOCK: Final = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


class KeyFileError(WainwrightError):
    """A key file cannot be used: missing, not PEM, encrypted, or of a kind that signs no artifacts."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(f"Key file {path}: {text}")
        self.path = path


def load_verify_keys(paths: Sequence[Path | str]) -> list[VerifyKey]:
    """Load the public keys of PEM files, which may also be certificates or private keys. Raises KeyFileError.

    A key is called by the name of its file; where a file has several, by that and its place in it, as `fleet.pem#2`.
    """
    return [key for path in paths for key in _load_verify_keys(Path(path))]


def _load_verify_keys(path: Path) -> list[VerifyKey]:
    pem = _read_pem(path)
    if b"PRIVATE KEY-----" in pem:
        return [load_signing_key(path).verify_key()]
    blocks = list(_BLOCK.finditer(pem))
    if not blocks:
        raise _not_public(path)
    if blocks[0][1] == b"CERTIFICATE":
        blocks = blocks[:1]
    keys = []
    for number, block in enumerate(blocks, start=1):
        key = _public_key(block[0], path, is_certificate=block[1] == b"CERTIFICATE")
        label = path.name if len(blocks) == 1 else f"{path.name}#{number}"
        keys.append(VerifyKey(label, _algorithm(key, path), key))
    return keys


def _public_key(pem: bytes, path: Path, *, is_certificate: bool) -> PublicKey:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    try:
        key = (
            x509.load_pem_x509_certificate(pem).public_key()
            if is_certificate
            else serialization.load_pem_public_key(pem)
        )
    except (ValueError, UnsupportedAlgorithm) as error:
        raise _not_public(path) from error
    return key  # type: ignore[return-value]  # _algorithm refuses the other kinds


def _not_public(path: Path) -> KeyFileError:
    return KeyFileError(path, "this is not a public key. Give PEM, as `openssl pkey -pubout` writes it.")


def load_signing_key(path: Path | str) -> SigningKey:
    """Load a private key from a PEM file (PKCS#1, SEC1 or PKCS#8, not encrypted). Raises KeyFileError."""
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    path = Path(path)
    pem = _read_pem(path)
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise KeyFileError(
            path, "the key is encrypted. Decrypt it first (openssl pkey -in FILE -out PLAIN)."
        ) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(path, "this is not a private key. Give PEM, as `openssl genpkey` writes it.") from error
    return SigningKey(path.name, _algorithm(key, path), key)  # type: ignore[arg-type]  # _algorithm refuses the other kinds


def _read_pem(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            pem = file.read(FILE_MAX + 1)
    except OSError as error:
        raise KeyFileError(path, f"cannot be read: {error.strerror}.") from error
    if len(pem) > FILE_MAX:
        raise KeyFileError(path, f"it has more than {FILE_MAX} bytes. Leave out what are no keys.")
    return pem


def _algorithm(key: PublicKey | PrivateKey | object, path: Path) -> str:
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    if isinstance(key, rsa.RSAPublicKey | rsa.RSAPrivateKey):
        if key.key_size < RSA_BITS_MIN:
            raise KeyFileError(path, f"an RSA key of {key.key_size} bits is too short. Use {RSA_BITS_MIN} or more.")
        return "RSA"
    if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return "ECDSA-P256"
    if isinstance(key, ed25519.Ed25519PublicKey | ed25519.Ed25519PrivateKey):
        return "Ed25519"
    raise KeyFileError(path, "keys of this kind sign no artifacts. Use RSA, ECDSA on P-256, or Ed25519.")
