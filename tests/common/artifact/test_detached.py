"""A signature made elsewhere is taken in every form, checked, and put where an old one was; nothing else changes."""

from __future__ import annotations

import base64
import io
from dataclasses import replace

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from tests.common.artifact.build import Recipe, sign_der, sign_raw, tar, verify_keys
from tests.common.artifact.conftest import KeyFiles
from wainwright_common.artifact import (
    ArtifactError,
    ArtifactReader,
    VerifyKey,
    find_manifest,
    load_signing_key,
    load_verify_keys,
    signature_of,
    write_signed,
)

GOOD = Recipe()
MANIFEST = GOOD.manifest()


def attached(blob: bytes, signature: bytes) -> bytes:
    out = io.BytesIO()
    file = io.BytesIO(blob)
    write_signed(file, out, find_manifest(file), signature)
    return out.getvalue()


def verified_by(blob: bytes, *keys: VerifyKey) -> str | None:
    reader = ArtifactReader(io.BytesIO(blob), verify_keys=keys)
    for _ in reader.files():
        pass
    return reader.header.verified_by


@pytest.mark.parametrize("compression", ["none", "gzip", "lzma", "zstd"])
@pytest.mark.parametrize("signed", [False, True])
def test_the_bytes_to_sign_are_the_manifest_and_all_but_the_signature_stays(compression: str, *, signed: bool) -> None:
    recipe = replace(GOOD, compression=compression, signed=signed)
    blob = recipe.blob()
    place = find_manifest(io.BytesIO(blob))
    assert (place.manifest, place.is_signed) == (recipe.manifest(), signed)
    signature = base64.b64encode(sign_raw(place.manifest))
    result = attached(blob, signature)
    assert verified_by(result, *verify_keys()) == "test.pem"
    again = find_manifest(io.BytesIO(result))
    assert result[: again.begins] + result[again.ends :] == blob[: place.begins] + blob[place.ends :]
    assert attached(result, signature) == result


def test_every_form_of_a_signature_is_stored_in_the_one_of_the_format(keys: KeyFiles) -> None:
    (key,) = verify_keys()
    for given in (sign_raw(MANIFEST), sign_der(MANIFEST)):
        for form in (
            given,
            base64.b64encode(given),
            base64.encodebytes(given),
            b" " + base64.b64encode(given) + b"\r\n",
        ):
            for known in (key, None):
                stored = signature_of(form, MANIFEST, known)
                assert len(base64.b64decode(stored, validate=True)) == 64
                assert verified_by(attached(GOOD.blob(), stored), key) == "test.pem"
    for name in ("rsa", "ed25519"):
        (public,) = load_verify_keys([keys.public(name)])
        raw = base64.b64decode(load_signing_key(keys.private(name)).sign(MANIFEST))
        for known in (public, None):
            assert signature_of(raw, MANIFEST, known) == base64.b64encode(raw)


def test_many_signatures_as_der_are_told_from_others_by_their_shape() -> None:
    """DER of P-256 has 68 to 72 bytes nearly always; a coordinate that begins with zeros makes it shorter."""
    (key,) = verify_keys()
    for _ in range(200):
        der = sign_der(MANIFEST)
        assert key.verifies(MANIFEST, base64.b64decode(signature_of(der, MANIFEST, None)))


def test_what_is_not_by_the_key_over_this_manifest_is_refused(keys: KeyFiles) -> None:
    (key,) = verify_keys()
    rsa_key = load_pem_private_key(keys.private("rsa").read_bytes(), None)
    (rsa_public,) = load_verify_keys([keys.public("rsa")])
    salted = padding.PSS(padding.MGF1(hashes.SHA256()), 32)
    pss = rsa_key.sign(MANIFEST, salted, hashes.SHA256())  # type: ignore[union-attr, call-arg, arg-type]  # an RSA key
    for given, known in (
        (sign_raw(MANIFEST + b" "), key),
        (base64.b64decode(load_signing_key(keys.private("other")).sign(MANIFEST)), key),
        (base64.b64decode(load_signing_key(keys.private("ed25519")).sign(MANIFEST)), key),
        (pss, rsa_public),
        (b"", key),
    ):
        with pytest.raises(ArtifactError) as caught:
            signature_of(given, MANIFEST, known)
        assert caught.value.rule == "signature-mismatch"


@pytest.mark.parametrize(
    ("given", "rule"),
    [
        (b"\x00" * 63, "signature-length"),
        (b"\x00" * 71, "signature-length"),
        (b"\x00" * 255, "signature-length"),
        (b"\x00" * 4097, "signature-length"),
        (b"", "signature-length"),
        (b"AAAA", "signature-length"),
        (b"AAA", "signature-encoding"),
        (b"A=AA", "signature-encoding"),
        (b"\x30\x46\x02\x22" + b"\x7f" * 34 + b"\x02\x20" + b"\x7f" * 32, "signature-length"),  # r has 34 bytes
    ],
)
def test_without_a_key_what_has_the_shape_of_no_signature_is_refused(given: bytes, rule: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        signature_of(given, MANIFEST, None)
    assert caught.value.rule == rule


@pytest.mark.parametrize(
    ("blob", "rule"),
    [
        (b"", "truncated"),
        (b"text\n" * 200, "not-an-artifact"),
        (bytes(2048), "member-order"),
        (tar(GOOD.members()[1:]), "member-order"),
        (tar([GOOD.members()[0], ("manifest", bytes(2 << 20))]), "too-large"),
        (tar([*GOOD.members()[:2], ("manifest.sig", bytes(10_000))]), "too-large"),
    ],
)
def test_what_is_no_artifact_has_nothing_to_be_signed(blob: bytes, rule: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        find_manifest(io.BytesIO(blob))
    assert caught.value.rule == rule
