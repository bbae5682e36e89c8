"""Signing requests of strangers: what is taken, and what is refused with which code."""

from __future__ import annotations

import base64
import subprocess
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.support.openssl import openssl
from wainwright_controller.pki import csr as csr_module
from wainwright_controller.pki.csr import BadCsr, read
from wainwright_controller.pki.profiles import key_digest

P256 = ec.generate_private_key(ec.SECP256R1())


def request(
    name: str | list[str] = "press-07", key: object = P256, algorithm: object = None, *extensions: object
) -> x509.CertificateSigningRequest:
    names = [name] if isinstance(name, str) else name
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, one, _validate=False) for one in names]
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name(attributes))
    for extension in extensions:
        builder = builder.add_extension(extension, critical=True)  # type: ignore[arg-type]  # one of x509's
    default = None if isinstance(key, ed25519.Ed25519PrivateKey | ed448.Ed448PrivateKey) else hashes.SHA256()
    return builder.sign(key, algorithm or default)  # type: ignore[arg-type]  # a key and an algorithm of cryptography's


def body(csr: x509.CertificateSigningRequest) -> bytes:
    return base64.b64encode(csr.public_bytes(Encoding.DER))


def refused(content: bytes) -> str:
    with pytest.raises(BadCsr) as caught:
        read(content)
    return caught.value.code


@pytest.mark.parametrize(
    "key",
    [
        P256,
        ec.generate_private_key(ec.SECP384R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
    ],
    ids=["P-256", "P-384", "Ed25519", "RSA-2048"],
)
def test_the_usual_keys_are_taken(key: object) -> None:
    csr = request("Press_07.a:b@c-d", key)

    taken = read(body(csr))

    assert taken.device_id == "Press_07.a:b@c-d"
    assert taken.digest == key_digest(csr.public_key())


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP521R1()),
        ec.generate_private_key(ec.SECP256K1()),
        rsa.generate_private_key(65537, 1024),  # noqa: S505  this is what is refused
        rsa.generate_private_key(65537, 4104),
        dsa.generate_private_key(1024),  # noqa: S505  as above
        ed448.Ed448PrivateKey.generate(),
    ],
    ids=["P-521", "secp256k1", "RSA-1024", "RSA-4104", "DSA", "Ed448"],
)
def test_other_keys_are_refused(key: object) -> None:
    assert refused(body(request(key=key))) == "csr-key"


def test_what_openssl_makes_is_taken_in_base64_and_as_pem(tmp_path: Path) -> None:
    key = tmp_path / "device.key"
    openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", key)
    pem = openssl("req", "-new", "-key", key, "-subj", "/CN=press-07").encode()
    der = subprocess.run(
        ["openssl", "req", "-new", "-key", key, "-subj", "/CN=press-07", "-outform", "DER"],
        capture_output=True,
        check=True,
    ).stdout
    lines = subprocess.run(["openssl", "base64"], input=der, capture_output=True, check=True).stdout

    assert {read(form).device_id for form in (pem, lines, base64.b64encode(der))} == {"press-07"}
    assert len({read(form).digest for form in (pem, lines)}) == 1


@pytest.mark.filterwarnings("ignore:Attribute's length")
@pytest.mark.parametrize(
    "name",
    [
        "",
        "a b",
        "a/b",
        "press+",
        "#",
        "press\0-07",
        "presse-ü",
        "x" * 65,
        "wainwright-controller",
        "Wainwright-Controller",
        "wainwright-controller-2",
        [],
        ["press-07", "press-08"],
    ],
)
def test_a_name_that_no_device_may_have_is_refused(name: str | list[str]) -> None:
    if name == "":  # cryptography makes none without a sign
        name = [" "]
    assert refused(body(request(name))) == "csr-name"


def test_a_signature_of_another_key_or_over_another_name_is_refused() -> None:
    other = request("press-07", ec.generate_private_key(ec.SECP256R1()))
    mine = request("press-07")
    theirs = request("press-08")
    for forged in (
        mine.public_bytes(Encoding.DER).replace(_point(mine), _point(other)),  # their key, my signature
        mine.public_bytes(Encoding.DER).replace(b"press-07", b"press-08"),  # their name, my signature
        theirs.public_bytes(Encoding.DER)[:-3] + b"\1\2\3",  # a signature that was bent
    ):
        assert refused(base64.b64encode(forged)) == "csr-signature"


def test_a_signature_over_a_broken_digest_is_refused(tmp_path: Path) -> None:
    key = tmp_path / "rsa.key"
    openssl("genrsa", "-out", key, "2048")
    made = openssl("req", "-new", "-sha1", "-key", key, "-subj", "/CN=press-07").encode()
    assert refused(made) == "csr-signature"


def _point(csr: x509.CertificateSigningRequest) -> bytes:
    key = csr.public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    numbers = key.public_numbers()
    return numbers.x.to_bytes(32) + numbers.y.to_bytes(32)


def test_what_else_a_request_asks_for_does_not_count() -> None:
    wants = x509.BasicConstraints(ca=True, path_length=None)
    assert read(body(request("press-07", P256, None, wants))).device_id == "press-07"


@pytest.mark.parametrize(
    "content",
    [b"", b"no base64!", b"AAAA", base64.b64encode(b"no DER"), b"-----BEGIN CERTIFICATE REQUEST-----", b"\xff" * 100],
)
def test_what_is_no_request_is_refused(content: bytes) -> None:
    assert refused(content) == "csr-unreadable"


_GOOD = request().public_bytes(Encoding.DER)


@settings(max_examples=2000, deadline=None)
@given(st.integers(0, len(_GOOD) - 1), st.integers(0, 255), st.integers(0, 40))
@example(0, 0x30, 0)
def test_a_damaged_request_is_refused_or_says_the_same(at: int, value: int, cut: int) -> None:
    """Whatever a bit does, it never becomes another device's request, or an error that is not ours."""
    damaged = _GOOD[:at] + bytes([value]) + _GOOD[at + 1 : len(_GOOD) - cut]
    try:
        taken = read(base64.b64encode(damaged))
    except BadCsr:
        return
    assert (taken.device_id, taken.digest) == ("press-07", key_digest(P256.public_key()))


def test_the_bound_of_a_request_leaves_room_for_the_largest_key() -> None:
    largest = request("x" * 64, rsa.generate_private_key(65537, 4096))
    assert len(body(largest)) * 2 < csr_module.CSR_MAX
