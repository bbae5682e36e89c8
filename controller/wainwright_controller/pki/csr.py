"""Certificate signing requests (PKCS #10), as strangers send them: read, checked, and taken at their word for little.

Of a request only two things count: its public key, whose owner has signed it, and the device id in its common name.
What else it asks for (other parts of a name, extensions, to be an authority) is not looked at: what a device's
certificate looks like is decided in profiles.py.
"""

from __future__ import annotations

import base64
import binascii
from typing import NamedTuple

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes
from cryptography.x509.oid import NameOID

from wainwright_common.errors import BadTopic, WainwrightError
from wainwright_common.topics import check_device_id
from wainwright_controller.pki.profiles import COMMON_NAME_MAX, is_reserved, key_digest

CSR_MAX = 16 * 1024  # bytes: one with an RSA key of 4,096 bits has under 2 KiB
_CURVES = ("secp256r1", "secp384r1")
_RSA_BITS = (2048, 4096)  # fewer are guessed one day, more only keep the controller busy
_WEAK = frozenset({"md5", "sha1"})


class BadCsr(WainwrightError):  # noqa: N818  the name is the sentence: "refused: bad CSR"
    """A request cannot be used; `code` is csr-unreadable, csr-signature, csr-key or csr-name."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Csr(NamedTuple):
    """What counts of a request."""

    device_id: str
    key: CertificatePublicKeyTypes
    digest: str


def read(body: bytes) -> Csr:
    """Return what counts of a request in base64 (RFC 8951) or PEM; raises BadCsr.

    1. It can be decoded.
    2. Its key is EC P-256 or P-384, Ed25519, or RSA of 2,048 to 4,096 bits.
    3. Whoever sent it has the private key: the signature is right, and of a digest that is not broken.
    4. It has one common name, which is a device id of at most 64 characters, and no controller's name.
    """
    csr = _decoded(body)
    try:
        key = csr.public_key()
    except (UnsupportedAlgorithm, ValueError) as error:
        raise BadCsr("csr-key", f"The request's key cannot be used: {error}. Use EC P-256.") from error
    usable = _checked(key)
    _check_signature(csr)
    return Csr(_device_id(csr), usable, key_digest(usable))


def _decoded(body: bytes) -> x509.CertificateSigningRequest:
    lines = [line.strip() for line in body.splitlines()]
    text = b"".join(line for line in lines if not line.startswith(b"-----"))
    try:
        return x509.load_der_x509_csr(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError, x509.InvalidVersion) as error:
        raise BadCsr(
            "csr-unreadable", "This is no PKCS #10 request in base64: send `openssl req -new … -outform DER | base64`."
        ) from error


def _checked(key: object) -> CertificatePublicKeyTypes:
    match key:
        case ec.EllipticCurvePublicKey() if key.curve.name in _CURVES:
            return key
        case ed25519.Ed25519PublicKey():
            return key
        case rsa.RSAPublicKey() if _RSA_BITS[0] <= key.key_size <= _RSA_BITS[1]:
            return key
    raise BadCsr("csr-key", f"The request's key is {_kind(key)}: use EC P-256, Ed25519, or RSA of 2,048 to 4,096 bits.")


def _kind(key: object) -> str:
    match key:
        case ec.EllipticCurvePublicKey():
            return f"EC {key.curve.name}"
        case rsa.RSAPublicKey():
            return f"RSA of {key.key_size} bits"
    return "of another kind"


def _check_signature(csr: x509.CertificateSigningRequest) -> None:
    try:
        algorithm = csr.signature_hash_algorithm
        is_right = csr.is_signature_valid
    except (UnsupportedAlgorithm, ValueError, TypeError) as error:
        raise BadCsr("csr-signature", f"The request's signature cannot be checked: {error}.") from error
    if algorithm is not None and algorithm.name in _WEAK:
        raise BadCsr("csr-signature", f"The request is signed over {algorithm.name}, which is broken: use SHA-256.")
    if not is_right:
        raise BadCsr("csr-signature", "The request was not signed by the key in it: sign it with the private key.")


def _device_id(csr: x509.CertificateSigningRequest) -> str:
    try:
        names = csr.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    except ValueError as error:
        raise BadCsr("csr-name", f"The request's subject cannot be read: {error}.") from error
    if len(names) != 1:
        raise BadCsr("csr-name", f"The request has {len(names)} common names: one is needed, the device id.")
    try:
        name = check_device_id(str(names[0].value))
    except BadTopic as error:
        raise BadCsr("csr-name", f"The request's common name is none for a device: {error}") from error
    if len(name) > COMMON_NAME_MAX:
        raise BadCsr("csr-name", f"The common name has {len(name)} characters; certificates have {COMMON_NAME_MAX}.")
    if is_reserved(name):
        raise BadCsr("csr-name", f"{name} is a controller's name: no device may have it.")
    return name
