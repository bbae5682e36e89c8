"""Signatures of manifests: RSA PKCS#1 v1.5, ECDSA P-256 and Ed25519.

The first two are made and checked as the Mender tools do; Ed25519 is an addition that those tools refuse.

`cryptography` is imported when a key is loaded, never before: a device that verifies nothing does not pay for it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

from wainwright_common.artifact.rules import Rule, refusal
from wainwright_common.errors import WainwrightError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
    PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

RSA_BITS_MIN: Final = 2048  # NIST SP 800-131A: shorter keys may no longer make signatures
_P256_COORDINATE: Final = 32  # bytes of r and of s
_P256_RAW: Final = 2 * _P256_COORDINATE
# DER of two integers: at least 2 + 2 * (2 + 1) bytes, at most 2 + 2 * (2 + 33). HSMs give this form (PKCS#11 signers).
_P256_DER: Final = range(8, 73)
_ED25519: Final = 64
_KEY_FILE_MAX: Final = 64 * 1024  # bytes; a PEM key is below 4 KiB, a certificate rarely above


class KeyFileError(WainwrightError):
    """A key file cannot be used: missing, not PEM, encrypted, or of a kind that signs no artifacts."""

    def __init__(self, path: Path, text: str) -> None:
        super().__init__(f"Key file {path}: {text}")
        self.path = path


@dataclass(frozen=True, slots=True)
class VerifyKey:
    """A public key and how it is called in messages (the name of its file)."""

    label: str
    algorithm: str
    """RSA, ECDSA-P256 or Ed25519."""
    _key: PublicKey = field(repr=False)

    def fits(self, signature: bytes) -> bool:
        """Tell whether a signature of this length can be this key's at all."""
        if self.algorithm == "RSA":
            return len(signature) == (self._key.key_size + 7) // 8  # type: ignore[union-attr]  # an RSA key has it
        if self.algorithm == "Ed25519":
            return len(signature) == _ED25519
        return len(signature) == _P256_RAW or _is_p256_der(signature)

    def verifies(self, manifest: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is this key's over `manifest`."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        for candidate in self._forms(signature):
            try:
                if isinstance(self._key, rsa.RSAPublicKey):
                    self._key.verify(candidate, manifest, *_rsa_scheme())
                elif isinstance(self._key, ec.EllipticCurvePublicKey):
                    self._key.verify(candidate, manifest, _ecdsa_scheme())
                else:
                    self._key.verify(candidate, manifest)
            except InvalidSignature:
                continue
            return True
        return False

    def _forms(self, signature: bytes) -> list[bytes]:
        """Return the signature in the forms that the library takes; 64 bytes of ECDSA may be r and s, or by chance
        DER.
        """
        if self.algorithm != "ECDSA-P256":
            return [signature] if self.fits(signature) else []
        forms = [_der_from_raw(signature)] if len(signature) == _P256_RAW else []
        return [*forms, signature] if _is_p256_der(signature) else forms


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and how it is called in messages."""

    label: str
    algorithm: str
    _key: PrivateKey = field(repr=False)

    def sign(self, manifest: bytes) -> bytes:
        """Return the content of manifest.sig for `manifest`."""
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        if isinstance(self._key, rsa.RSAPrivateKey):
            signature = self._key.sign(manifest, *_rsa_scheme())
        elif isinstance(self._key, ec.EllipticCurvePrivateKey):
            signature = _raw_from_der(self._key.sign(manifest, _ecdsa_scheme()))
        else:
            signature = self._key.sign(manifest)
        return base64.b64encode(signature)

    def verify_key(self) -> VerifyKey:
        """Return the public half."""
        return VerifyKey(self.label, self.algorithm, self._key.public_key())


def verify(manifest: bytes, encoded: bytes, keys: Sequence[VerifyKey]) -> str:
    """Return the label of the first of `keys` that verifies `encoded`, the content of manifest.sig.

    Raises ArtifactError: signature-encoding, signature-length, signature-mismatch.
    """
    try:
        # Go ignores line ends in base64, so signers that append one exist.
        signature = base64.b64decode(encoded.strip(b"\r\n"), validate=True)
    except binascii.Error as error:
        raise refusal(Rule.SIGNATURE_ENCODING, f"manifest.sig is not base64: {error}.") from error
    if not signature:
        raise refusal(Rule.SIGNATURE_ENCODING, "manifest.sig is empty.")
    fitting = [key for key in keys if key.fits(signature)]
    names = ", ".join(f"{key.label} ({key.algorithm})" for key in keys)
    if not fitting:
        raise refusal(
            Rule.SIGNATURE_LENGTH, f"manifest.sig has {len(signature)} bytes, which no trusted key makes: {names}."
        )
    for key in fitting:
        if key.verifies(manifest, signature):
            return key.label
    raise refusal(Rule.SIGNATURE_MISMATCH, f"No trusted key verifies the signature; tried {names}.")


def load_verify_keys(paths: Sequence[Path | str]) -> list[VerifyKey]:
    """Load public keys from PEM files, which may also be certificates or private keys. Raises KeyFileError."""
    return [_load_verify_key(Path(path)) for path in paths]


def _load_verify_key(path: Path) -> VerifyKey:
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization

    pem = _read_pem(path)
    if b"PRIVATE KEY-----" in pem:
        return load_signing_key(path).verify_key()
    try:
        is_certificate = b"-----BEGIN CERTIFICATE-----" in pem
        key: object = (
            x509.load_pem_x509_certificate(pem).public_key()
            if is_certificate
            else serialization.load_pem_public_key(pem)
        )
    except (ValueError, UnsupportedAlgorithm) as error:
        raise KeyFileError(path, "this is not a public key. Give PEM, as `openssl pkey -pubout` writes it.") from error
    return VerifyKey(path.name, _algorithm(key, path), key)  # type: ignore[arg-type]  # _algorithm refuses the other kinds


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
            return file.read(_KEY_FILE_MAX)
    except OSError as error:
        raise KeyFileError(path, f"cannot be read: {error.strerror}.") from error


def _algorithm(key: object, path: Path) -> str:
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


def _rsa_scheme() -> tuple[padding.PKCS1v15, hashes.SHA256]:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import padding

    return padding.PKCS1v15(), hashes.SHA256()


def _ecdsa_scheme() -> ec.ECDSA:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec

    return ec.ECDSA(hashes.SHA256())


def _der_from_raw(raw: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    return encode_dss_signature(int.from_bytes(raw[:_P256_COORDINATE]), int.from_bytes(raw[_P256_COORDINATE:]))


def _raw_from_der(der: bytes) -> bytes:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(der)
    return r.to_bytes(_P256_COORDINATE) + s.to_bytes(_P256_COORDINATE)


def _is_p256_der(signature: bytes) -> bool:
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if len(signature) not in _P256_DER:
        return False
    try:
        decode_dss_signature(signature)
    except ValueError:
        return False
    return True
