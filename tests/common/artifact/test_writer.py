"""The writer writes nothing that the reader would refuse, the same bytes every time, and notices files that change."""

from __future__ import annotations

import io
import tarfile
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from wainwright_common.artifact import ArtifactError, ArtifactReader, ArtifactSpec, PayloadSource, write_module_image

MIB = 1 << 20
SPEC = ArtifactSpec(
    name="release-2",
    device_types=("press",),
    payload_type="single-file",
    files=(PayloadSource.from_bytes("app.bin", b"the application"),),
    scripts={"ArtifactInstall_Enter_00": b"#!/bin/sh\n"},
)


def written(spec: ArtifactSpec) -> bytes:
    out = io.BytesIO()
    write_module_image(out, spec)
    return out.getvalue()


@pytest.mark.parametrize("compression", ["none", "gzip", "lzma", "zstd"])
def test_equal_inputs_make_equal_bytes(compression: str) -> None:
    spec = replace(SPEC, compression=compression, provides={"a": "1", "b": "2"})
    again = replace(spec, provides={"b": "2", "a": "1"})
    assert written(spec) == written(again)


def test_the_members_are_in_the_order_of_the_format_and_only_root_may_read_them() -> None:
    with tarfile.open(fileobj=io.BytesIO(written(SPEC))) as archive:
        assert archive.getnames() == ["version", "manifest", "header.tar.gz", "data/0000.tar.gz"]
        assert {info.mode for info in archive} == {0o600}
        manifest = archive.extractfile("manifest")
        assert manifest is not None
        names = [line.split("  ")[1] for line in manifest.read().decode().splitlines()]
    assert names == ["data/0000/app.bin", "header.tar.gz", "version"]


@pytest.mark.parametrize(
    ("spec", "rule"),
    [
        (replace(SPEC, name=""), "artifact-name"),
        (replace(SPEC, name="n" * 257), "text"),
        (replace(SPEC, device_types=()), "device-type"),
        (replace(SPEC, payload_type="../sh"), "payload-type"),
        (replace(SPEC, files=(PayloadSource.from_bytes("a b", b""),)), "payload-name"),
        (replace(SPEC, files=(PayloadSource.from_bytes("n" * 91, b""),)), "manifest-name"),
        (replace(SPEC, files=SPEC.files * 2), "payload-duplicate"),
        (replace(SPEC, scripts={"run.sh": b""}), "script-name"),
        (replace(SPEC, scripts={"ArtifactInstall_Enter_00_" + "n" * 90: b""}), "script-name"),
        (replace(SPEC, scripts={"ArtifactInstall_Enter_00_é": b""}), "script-name"),
        (replace(SPEC, scripts={"ArtifactInstall_Enter_00": bytes(17 * MIB)}), "too-large"),
        (replace(SPEC, meta_data=b"[]"), "meta-data"),
        (replace(SPEC, meta_data=b'{"a":[{"n":9007199254740993}]}'), "meta-data"),
        (replace(SPEC, provides={"device_type": "x"}), "provides-conflict"),
        (replace(SPEC, payload_type=None), "empty-payload"),
    ],
)
def test_what_the_reader_would_refuse_is_not_written(spec: ArtifactSpec, rule: str) -> None:
    out = io.BytesIO()
    with pytest.raises(ArtifactError) as caught:
        write_module_image(out, spec)
    assert caught.value.rule == rule
    assert out.getvalue() == b""


def test_an_unknown_compression_is_a_programmers_mistake() -> None:
    with pytest.raises(ValueError, match="bzip2"):
        written(replace(SPEC, compression="bzip2"))


@pytest.mark.parametrize("second", [b"the applikation", b"the app", b"the application, longer"])
def test_a_file_that_changes_while_it_is_packed_is_noticed(second: bytes) -> None:
    contents = iter([b"the application", second])
    opener: Callable[[], io.BytesIO] = lambda: io.BytesIO(next(contents))  # noqa: E731  typed, and used once
    with pytest.raises(ArtifactError, match=r"app\.bin changed while it was packed"):
        written(replace(SPEC, files=(PayloadSource("app.bin", opener),)))


def test_one_value_is_written_as_a_string_and_several_as_a_list() -> None:
    header = write_module_image(io.BytesIO(), replace(SPEC, depends={"a": ("1",), "b": ("1", "2")}))
    assert header.type_info == b'{"type":"single-file","artifact_depends":{"a":"1","b":["1","2"]}}'


def test_meta_data_is_minified() -> None:
    header = write_module_image(io.BytesIO(), replace(SPEC, meta_data=b'{ "b": 1,\n "a": [1.50, "\xc3\xa9"] }\n'))
    assert header.meta_data == '{"a":[1.5,"é"],"b":1}'.encode()


class Sink:
    """Takes bytes and keeps none; cannot seek."""

    def __init__(self) -> None:
        self.size = 0

    def write(self, data: bytes, /) -> int:
        self.size += len(data)
        return len(data)


@pytest.mark.parametrize("compression", ["none", "gzip"])
def test_memory_does_not_grow_with_the_payload(tmp_path: Path, compression: str) -> None:
    sparse = tmp_path / "sparse.img"
    with sparse.open("wb") as file:
        file.truncate(128 * MIB)
    sink = Sink()
    tracemalloc.start()
    try:
        write_module_image(
            sink, replace(SPEC, files=(PayloadSource.from_path(sparse),), compression=compression), scratch=tmp_path
        )
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 6 * MIB
    assert sink.size > (128 * MIB if compression == "none" else 100_000)
    assert list(tmp_path.iterdir()) == [sparse]


def test_the_header_that_is_returned_is_the_one_that_is_read() -> None:
    out = io.BytesIO()
    header = write_module_image(out, SPEC)
    out.seek(0)
    assert ArtifactReader(out).header == header
