"""Every key form is loaded, every signature form verified, and what is not a signature by a trusted key is refused."""

from __future__ import annotations

import base64
import datetime as dt
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.x509.oid import NameOID

from tests.common.artifact.build import public_pem_of, sign_der, sign_raw, verify_keys
from tests.common.artifact.conftest import KeyFiles
from wainwright_common.artifact import ArtifactError, KeyFileError, load_signing_key, load_verify_keys
from wainwright_common.artifact.signing import verify

MANIFEST = b"0" * 64 + b"  version\n"


@pytest.mark.parametrize("name", ["rsa", "ec", "ed25519", "rsa-pkcs8", "ec-pkcs8"])
def test_what_a_private_key_signs_its_public_key_verifies(keys: KeyFiles, name: str) -> None:
    encoded = load_signing_key(keys.private(name)).sign(MANIFEST)
    public = keys.public(name.removesuffix("-pkcs8"))
    assert verify(MANIFEST, encoded, load_verify_keys([public])) == public.name
    with pytest.raises(ArtifactError) as caught:
        verify(MANIFEST + b" ", encoded, load_verify_keys([public]))
    assert caught.value.rule == "signature-mismatch"


def test_every_key_is_tried_until_one_verifies(keys: KeyFiles) -> None:
    trusted = load_verify_keys([keys.public(name) for name in ("other", "rsa", "ed25519", "ec")])
    for name in ("rsa", "ec", "ed25519"):
        assert verify(MANIFEST, load_signing_key(keys.private(name)).sign(MANIFEST), trusted) == f"{name}.pub"


def test_a_private_key_file_may_stand_for_its_public_key(keys: KeyFiles) -> None:
    encoded = load_signing_key(keys.private("ec")).sign(MANIFEST)
    assert verify(MANIFEST, encoded, load_verify_keys([keys.private("ec")])) == "ec.pem"


def certificate_of(key: ec.EllipticCurvePrivateKey, issuer: ec.EllipticCurvePrivateKey) -> bytes:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "release signing")])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))
        .sign(issuer, hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
    )


def test_a_certificate_may_stand_for_its_public_key(tmp_path: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "cert.pem").write_bytes(certificate_of(key, key))
    der = key.sign(MANIFEST, ec.ECDSA(hashes.SHA256()))
    assert verify(MANIFEST, base64.b64encode(der), load_verify_keys([tmp_path / "cert.pem"])) == "cert.pem"


def test_a_file_may_have_several_public_keys_and_all_of_them_are_trusted(tmp_path: Path, keys: KeyFiles) -> None:
    bundle = tmp_path / "fleet.pem"
    bundle.write_bytes(
        b"the old one\n" + b"\n".join(keys.public(name).read_bytes() for name in ("rsa", "ec", "ed25519"))
    )
    trusted = load_verify_keys([bundle, keys.public("other")])
    assert [key.label for key in trusted] == ["fleet.pem#1", "fleet.pem#2", "fleet.pem#3", "other.pub"]
    for number, name in enumerate(("rsa", "ec", "ed25519"), start=1):
        encoded = load_signing_key(keys.private(name)).sign(MANIFEST)
        assert verify(MANIFEST, encoded, trusted) == f"fleet.pem#{number}"


def test_of_a_chain_of_certificates_only_the_first_is_trusted(tmp_path: Path) -> None:
    leaf, authority = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    chain = tmp_path / "chain.pem"
    chain.write_bytes(certificate_of(leaf, authority) + certificate_of(authority, authority))
    trusted = load_verify_keys([chain])
    assert [key.label for key in trusted] == ["chain.pem"]
    assert trusted[0].verifies(MANIFEST, leaf.sign(MANIFEST, ec.ECDSA(hashes.SHA256())))
    assert not trusted[0].verifies(MANIFEST, authority.sign(MANIFEST, ec.ECDSA(hashes.SHA256())))


def test_a_file_with_one_bad_key_among_good_ones_and_one_that_is_too_long_are_refused(
    tmp_path: Path, keys: KeyFiles
) -> None:
    good = keys.public("ec").read_bytes()
    for content, complaint in (
        (good + b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a public key"),
        (good * 400, "has more than 65536 bytes"),
    ):
        (tmp_path / "fleet.pem").write_bytes(content)
        with pytest.raises(KeyFileError, match=complaint):
            load_verify_keys([tmp_path / "fleet.pem"])


def test_ecdsa_is_verified_raw_and_as_der_and_with_a_newline() -> None:
    for signature in (sign_raw(MANIFEST), sign_der(MANIFEST)):
        for end in (b"", b"\n", b"\r\n"):
            assert verify(MANIFEST, base64.b64encode(signature) + end, verify_keys()) == "test.pem"


def test_a_signature_without_padding_or_with_spaces_is_not_base64() -> None:
    encoded = base64.b64encode(sign_raw(MANIFEST))
    for broken in (
        encoded.rstrip(b"="),
        b" " + encoded,
        encoded[:40] + b"\n" + encoded[40:],
        encoded.replace(b"A", b"_", 1) + b"_",
    ):
        with pytest.raises(ArtifactError) as caught:
            verify(MANIFEST, broken, verify_keys())
        assert caught.value.rule == "signature-encoding"


def test_the_refusal_names_the_keys_that_were_tried(keys: KeyFiles) -> None:
    trusted = load_verify_keys([keys.public("rsa"), keys.public("other")])
    with pytest.raises(ArtifactError, match=r"tried rsa.pub \(RSA\), other.pub \(ECDSA-P256\)"):
        verify(MANIFEST, load_signing_key(keys.private("ec")).sign(MANIFEST), trusted)
    with pytest.raises(ArtifactError, match="has 64 bytes, which no trusted key makes") as caught:
        verify(MANIFEST, load_signing_key(keys.private("ec")).sign(MANIFEST), trusted[:1])
    assert caught.value.rule == "signature-length"


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot be read: No such file"),
        (b"", "not a p"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "not a private key"),
        (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "not a p"),
        (b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "not a p"),
    ],
)
def test_a_file_that_is_no_key_is_refused_by_name(tmp_path: Path, content: bytes | None, complaint: str) -> None:
    path = tmp_path / "fleet.pem"
    if content is not None:
        path.write_bytes(content)
    for load in (lambda: load_verify_keys([path]), lambda: load_signing_key(path)):
        with pytest.raises(KeyFileError, match=rf"fleet\.pem: .*{complaint}"):
            load()


def test_keys_that_are_too_weak_or_of_another_curve_are_refused(tmp_path: Path) -> None:
    weak = tmp_path / "weak.pem"
    weak.write_bytes(public_pem_of(rsa.generate_private_key(public_exponent=65537, key_size=1024)))  # noqa: S505  refused
    other = tmp_path / "other.pem"
    other.write_bytes(public_pem_of(ec.generate_private_key(ec.SECP384R1())))
    with pytest.raises(KeyFileError, match="1024 bits is too short"):
        load_verify_keys([weak])
    with pytest.raises(KeyFileError, match="sign no artifacts"):
        load_verify_keys([other])


def test_an_encrypted_private_key_is_refused_with_the_way_out(tmp_path: Path) -> None:
    path = tmp_path / "secret.pem"
    path.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"word"),
        )
    )
    with pytest.raises(KeyFileError, match=r"encrypted\. Decrypt it first"):
        load_signing_key(path)
