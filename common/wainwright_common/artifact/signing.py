"""Signatures of manifests: RSA PKCS#1 v1.5, ECDSA P-256 and Ed25519.

The first two are made and checked as the Mender tools do; Ed25519 is an addition that those tools refuse.

`cryptography` is imported when a key is loaded, never before: a device that verifies nothing does not pay for it.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from wainwright_common.artifact.rules import Rule, refusal

if TYPE_CHECKING:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa

    PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey
    PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

SIGNATURE: Final = "manifest.sig"
_P256_COORDINATE: Final = 32  # bytes of r and of s
_P256_RAW: Final = 2 * _P256_COORDINATE
# DER of two integers: at least 2 + 2 * (2 + 1) bytes, at most 2 + 2 * (2 + 33). HSMs give this form (PKCS#11 signers).
_P256_DER: Final = range(8, 73)
_ED25519: Final = 64
_RSA: Final = range(256, 4097)  # 2048 to 32,768 bits: what the reader's limit has room for


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
        return self.stored_form(manifest, signature) is not None

    def stored_form(self, manifest: bytes, signature: bytes) -> bytes | None:
        """Return `signature`, in whatever form, as manifest.sig has it; None if it is not this key's."""
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric import ec, rsa

        for candidate in self._forms(signature):
            try:
                if isinstance(self._key, rsa.RSAPublicKey):
                    self._key.verify(candidate, manifest, *_rsa_scheme())
                elif isinstance(self._key, ec.EllipticCurvePublicKey):
                    self._key.verify(candidate, manifest, _ecdsa_scheme())
                    return _raw_from_der(candidate)
                else:
                    self._key.verify(candidate, manifest)
            except InvalidSignature:
                continue
            return candidate
        return None

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


def form_by_shape(signature: bytes) -> bytes | None:
    """Return `signature` as manifest.sig has it, told by its length and form alone; None when it can be nobody's."""
    if _is_p256_der(signature) and len(signature) != _P256_RAW:
        return _raw_from_der(signature)
    return signature if len(signature) in {_P256_RAW, _ED25519} or len(signature) in _RSA else None


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
    """Return r and s; raises ValueError when it is not DER, OverflowError when they are not P-256's."""
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    r, s = decode_dss_signature(der)
    return r.to_bytes(_P256_COORDINATE) + s.to_bytes(_P256_COORDINATE)


def _is_p256_der(signature: bytes) -> bool:
    if len(signature) not in _P256_DER:
        return False
    try:
        _raw_from_der(signature)
    except (ValueError, OverflowError):
        return False
    return True
