"""The reader refuses every damaged artifact by the right rule, and gives away nothing that is not verified."""

from __future__ import annotations

import hashlib
import io
import json
import re
import subprocess
import sys
import tarfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.common.artifact.build import Recipe, header_info, tar, type_info, verify_keys
from tests.common.artifact.damage import GOOD, TWO_FILES, Row, damaged
from wainwright_common.artifact import MEANINGS, ArtifactError, ArtifactReader, Header, Limits, Rule, describe

DAMAGED = list(damaged())
MIB = 1 << 20


def read(blob: bytes, *, keys: bool = False, limits: Limits | None = None) -> tuple[Header, dict[str, bytes]]:
    reader = ArtifactReader(io.BytesIO(blob), verify_keys=verify_keys() if keys else (), limits=limits or Limits())
    files: dict[str, bytes] = {}
    for file in reader.files():
        chunks = []
        while chunk := file.read(10_007):
            chunks.append(chunk)
        files[file.name] = b"".join(chunks)
        assert len(files[file.name]) == file.size
    assert reader.consumed == len(blob)
    return reader.header, files


def refused(blob: bytes, *, keys: bool = False, limits: Limits | None = None) -> str:
    with pytest.raises(ArtifactError) as caught:
        read(blob, keys=keys, limits=limits)
    return caught.value.rule


@pytest.mark.parametrize("row", DAMAGED, ids=lambda row: row[0].replace(" ", "-"))
def test_a_damaged_artifact_is_refused_by_its_rule(row: Row) -> None:
    _, blob, rule, keys_needed = row
    assert refused(blob, keys=keys_needed) == rule


def test_every_rule_refuses_some_damaged_artifact_and_has_a_meaning() -> None:
    assert {rule for _, _, rule, _ in DAMAGED} == set(Rule) == set(MEANINGS)


def test_a_refusal_says_what_was_found_and_what_to_do() -> None:
    with pytest.raises(
        ArtifactError, match=r"The payload has extra, which the manifest does not list\. Build the artifact"
    ):
        read(replace(GOOD, promised=(), files=(("extra", b""),)).blob())


def test_a_refusal_repeats_little_of_an_artifact_and_no_control_characters() -> None:
    for key in ("\x1b[2J\x1b[31m", "two\nlines", "k" * 4000):
        version = json.dumps({"format": "mender", "version": 3, key: 1}).encode()
        with pytest.raises(ArtifactError) as caught:
            read(replace(GOOD, version=version).blob())
        assert caught.value.rule == "version-syntax"
        assert str(caught.value).isprintable()
        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("compression", ["none", "gzip", "lzma", "zstd"])
@pytest.mark.parametrize("data_compression", ["none", "gzip", "lzma", "zstd"])
def test_header_and_data_may_be_compressed_each_in_its_own_way(compression: str, data_compression: str) -> None:
    recipe = replace(TWO_FILES, compression=compression, data_compression=data_compression)
    header, files = read(recipe.blob())
    assert files == dict(TWO_FILES.files)
    assert header.compression == compression


def test_the_header_tells_all_that_is_in_the_artifact() -> None:
    recipe = replace(
        GOOD,
        signed=True,
        header_info=header_info(
            artifact_provides={"artifact_name": "release-2", "artifact_group": "blue"},
            artifact_depends={
                "device_type": ["press", "mill"],
                "artifact_name": ["release-1"],
                "artifact_group": ["blue"],
            },
            added_later={"unknown": True},
        ),
        type_info=type_info(
            artifact_depends={"boot.version": "1", "region": ["eu", "us"]}, clears_artifact_provides=["rootfs-image.*"]
        ),
    )
    header, _ = read(recipe.blob(), keys=True)
    described = describe(header)
    assert json.loads(json.dumps(described)) == described
    assert described == {
        "name": "release-2",
        "group": "blue",
        "device_types": ["press", "mill"],
        "payload_type": "single-file",
        "compression": "gzip",
        "signed": True,
        "verified_by": "test.pem",
        "depends": {
            "device_type": ["press", "mill"],
            "artifact_name": ["release-1"],
            "artifact_group": ["blue"],
            "boot.version": ["1"],
            "region": ["eu", "us"],
        },
        "provides": {"rootfs-image.single-file.version": "2"},
        "clears": ["rootfs-image.*"],
        "scripts": ["ArtifactInstall_Enter_00_stop"],
        "files": [{"name": "app.bin", "sha256": header.files[0].sha256}],
        "meta_data": {"mode": "0644"},
    }
    assert header.scripts["ArtifactInstall_Enter_00_stop"] == GOOD.scripts[0][1]
    assert (header.header_info, header.type_info, header.meta_data) == (
        recipe.header_info,
        recipe.type_info,
        recipe.meta_data,
    )


@pytest.mark.parametrize(
    "recipe",
    [
        replace(GOOD, files=()),
        replace(GOOD, files=(("empty", b""),)),
        replace(GOOD, files=(("f", b"one"), ("f.gz", b"two"))),
        replace(GOOD, files=(("a" * 200, b"a name that needs a pax header"),)),
        replace(GOOD, meta_data=None),
        replace(GOOD, meta_data=b""),
        replace(GOOD, meta_data=b'{"n":9007199254740993,"list":[{"a":1}]}'),
        replace(GOOD, scripts=()),
        replace(GOOD, scripts=tuple((f"scripts/Artifact{s}_Error_99", b"") for s in ("Install", "RollbackReboot"))),
        replace(GOOD, header_info=header_info(payloads=[{"type": "rootfs-image"}]), type_info=type_info(type="")),
        replace(GOOD, header_info=header_info(payloads=[{"type": "rootfs-image"}]), type_info=b"{}"),
    ],
    ids=lambda recipe: f"{len(recipe.files)}-{recipe.meta_data}",
)
def test_what_is_unusual_but_legal_is_read(recipe: Recipe) -> None:
    header, files = read(recipe.blob())
    assert files == dict(recipe.files)
    assert header.meta_data == (recipe.meta_data or b"")
    assert header.scripts == {name.removeprefix("scripts/"): content for name, content in recipe.scripts}


@pytest.mark.parametrize("with_data", [True, False])
def test_a_bootstrap_artifact_is_read_with_and_without_a_data_member(with_data: bool) -> None:  # noqa: FBT001  a parameter
    recipe = replace(
        GOOD,
        header_info=header_info(payloads=[{"type": None}]),
        type_info=b'{"type":null,"artifact_provides":{"rootfs-image.version":"1"}}',
        meta_data=None,
        files=(),
    )
    members = recipe.members()
    header, files = read(tar(members if with_data else members[:-1]))
    assert (header.payload_type, header.provides, files) == (None, {"rootfs-image.version": "1"}, {})


def test_zeros_after_the_end_of_the_archive_are_read_up_to_a_megabyte() -> None:
    for zeros in (512, 10_240, MIB):
        read(GOOD.blob() + bytes(zeros))


def test_an_artifact_cut_at_any_block_is_refused() -> None:
    blob = TWO_FILES.blob()
    for end in range(0, len(blob), 512):
        assert refused(blob[:end]) in {"truncated", "undelivered"}, end


@pytest.mark.parametrize("compression", ["none", "gzip", "lzma", "zstd"])
def test_an_artifact_cut_at_any_byte_of_its_payload_is_refused(compression: str) -> None:
    blob = replace(TWO_FILES, compression=compression).blob()
    for end in range(len(blob) - 1600, len(blob)):
        assert refused(blob[:end]) == "truncated", end


def test_an_unsigned_artifact_is_read_when_no_keys_are_given_and_refused_otherwise() -> None:
    assert not read(GOOD.blob())[0].signed
    assert refused(GOOD.blob(), keys=True) == "unsigned"


def test_without_keys_a_signature_is_ignored_however_wrong() -> None:
    header, _ = read(replace(GOOD, signature=b"not even base64!").blob())
    assert header.signed
    assert header.verified_by is None


def test_the_header_is_not_expanded_before_its_digest_is_verified() -> None:
    assert refused(replace(GOOD, header_bytes=b"no gzip at all").blob()) == "header-digest"


def test_the_last_bytes_of_a_wrong_file_are_never_given_away() -> None:
    blob = replace(GOOD, promised=(("app.bin", b"x"),), compression="none").blob()
    file = next(ArtifactReader(io.BytesIO(blob)).files())
    assert len(file.read(file.size - 1)) == file.size - 1
    with pytest.raises(ArtifactError, match="digest"):
        file.read(1)


def test_a_wrong_empty_file_is_refused_before_it_is_given() -> None:
    blob = replace(GOOD, promised=(("app.bin", b"x"),), files=(("app.bin", b""),)).blob()
    with pytest.raises(ArtifactError, match="digest"):
        next(ArtifactReader(io.BytesIO(blob)).files())


def test_a_file_that_the_consumer_skips_is_verified_all_the_same() -> None:
    blob = replace(TWO_FILES, promised=(("one", b"other"), TWO_FILES.files[1])).blob()
    with pytest.raises(ArtifactError, match="one has the digest"):
        list(ArtifactReader(io.BytesIO(blob)).files())


def test_a_file_gives_nothing_once_the_next_one_is_there() -> None:
    first, second = (files := ArtifactReader(io.BytesIO(TWO_FILES.blob())).files(), next(files), next(files))[1:]
    assert first.read() == b""
    assert second.read() == b"second"


def test_the_payload_can_be_read_once_only() -> None:
    reader = ArtifactReader(io.BytesIO(GOOD.blob()))
    list(reader.files())
    with pytest.raises(RuntimeError):
        reader.files()


def test_a_piece_of_no_bytes_cannot_be_asked_for() -> None:
    file = next(ArtifactReader(io.BytesIO(GOOD.blob())).files())
    with pytest.raises(ValueError, match="piece by piece"):
        file.read(-1)


class Dribble(io.RawIOBase):
    """A stream that gives a few bytes at a time, as a slow link does, and cannot seek."""

    def __init__(self, blob: bytes) -> None:
        self._rest = blob

    def read(self, n: int = -1) -> bytes:
        piece, self._rest = self._rest[: min(n, 7)], self._rest[min(n, 7) :]
        return piece


@pytest.mark.parametrize("compression", ["none", "gzip", "lzma", "zstd"])
def test_a_stream_that_gives_a_few_bytes_at_a_time_is_read_alike(compression: str) -> None:
    recipe = replace(TWO_FILES, compression=compression)
    reader = ArtifactReader(Dribble(recipe.blob()))
    assert {file.name: b"".join(iter(file.read, b"")) for file in reader.files()} == dict(recipe.files)


def test_an_error_of_the_stream_passes_through() -> None:
    class Broken:
        def read(self, _n: int, /) -> bytes:
            raise ConnectionResetError("link lost")

    with pytest.raises(ConnectionResetError):
        ArtifactReader(Broken())


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (Limits(version=30), "too-large"),
        (Limits(manifest=100), "too-large"),
        (Limits(header=100), "too-large"),
        (Limits(payload=1599), "too-large"),
        (Limits(expansion_allowance=1000, expansion=1), "expansion"),
    ],
)
def test_limits_are_held(limits: Limits, rule: str) -> None:
    assert refused(GOOD.blob(), limits=limits) == rule


@pytest.mark.parametrize("compression", ["lzma", "zstd"])
def test_a_decoder_that_would_need_too_much_memory_is_refused(compression: str) -> None:
    recipe = replace(GOOD, compression=compression, files=(("big", bytes(3 * MIB)),))
    read(recipe.blob())
    assert refused(recipe.blob(), limits=Limits(decoder_memory=1 * MIB, zstd_window_log=10)) == "compression"


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data(), compression=st.sampled_from(["none", "gzip", "lzma", "zstd"]))
def test_changed_bytes_are_refused_or_make_no_difference(data: st.DataObject, compression: str) -> None:
    recipe = replace(TWO_FILES, compression=compression)
    blob = bytearray(recipe.blob())
    for at in data.draw(st.lists(st.integers(0, len(blob) - 1), min_size=1, max_size=4)):
        blob[at] = data.draw(st.integers(0, 255))
    try:
        header, files = read(bytes(blob))
    except ArtifactError:
        return
    assert (header, files) == read(recipe.blob())


@settings(max_examples=200, deadline=None)
@given(at=st.integers(0, 6000), cut=st.integers(0, 1200), insert=st.binary(max_size=1200))
def test_cut_and_inserted_bytes_are_refused_or_make_no_difference(at: int, cut: int, insert: bytes) -> None:
    blob = TWO_FILES.blob()
    try:
        header, files = read(blob[:at] + insert + blob[at + cut :])
    except ArtifactError:
        return
    assert (header, files) == read(blob)


class Zeros:
    """An uncompressed artifact whose payload is zeros, made while it is read."""

    def __init__(self, size: int) -> None:
        content_digest = _digest_of_zeros(size)
        recipe = replace(GOOD, compression="none", files=(("zeros", b""),))
        manifest = re.sub(rb"[0-9a-f]{64}(?=  data)", content_digest.encode(), recipe.manifest())
        inner, outer = tarfile.TarInfo("zeros"), tarfile.TarInfo("data/0000.tar")
        inner.size, outer.size = size, size + 512 + 1024
        front = tar(replace(recipe, manifest_bytes=manifest).members()[:-1])[:-1024]
        self._front = io.BytesIO(front + outer.tobuf() + inner.tobuf())
        self._zeros = size + 1024 + 1024

    def read(self, n: int, /) -> bytes:
        piece = self._front.read(n)
        if not piece:
            piece = bytes(min(n, self._zeros))
            self._zeros -= len(piece)
        return piece


def _digest_of_zeros(size: int) -> str:
    digest = hashlib.sha256()
    for _ in range(size // MIB):
        digest.update(bytes(MIB))
    return digest.hexdigest()


def test_memory_does_not_grow_with_the_payload() -> None:
    source = Zeros(256 * MIB)
    tracemalloc.start()
    try:
        for file in ArtifactReader(source).files():
            while file.read(MIB):
                pass
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5 * MIB


def test_cryptography_is_not_loaded_by_reading_without_keys(tmp_path: Path) -> None:
    path = tmp_path / "good.mender"
    path.write_bytes(replace(GOOD, signed=True).blob())
    program = (
        "import sys; from wainwright_common.artifact import ArtifactReader\n"
        "list(ArtifactReader(open(sys.argv[1], 'rb')).files())\n"
        "sys.exit(' '.join({'cryptography', 'ssl', 'lzma', 'tempfile', 'backports.zstd'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
