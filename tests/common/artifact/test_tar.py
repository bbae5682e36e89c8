"""The tar walk takes what mender-artifact and large files need, and our headers are read by the standard library."""

from __future__ import annotations

import io
import tarfile
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wainwright_common.artifact.tar import Entry, TarReader, header_block
from wainwright_common.errors import ArtifactError

GIB = 1 << 30


@given(name=st.from_regex(r"[A-Za-z0-9_.,/-]{0,99}[a-z]", fullmatch=True), size=st.integers(0, 2**62))
def test_what_header_block_prints_is_what_the_reader_and_tarfile_read(name: str, size: int) -> None:
    block = header_block(name, size, mode=0o755)
    assert TarReader(io.BytesIO(block).read, "it").next() == Entry(name, size)
    info = tarfile.TarInfo.frombuf(block, "ascii", "strict")
    assert (info.name, info.size, info.mode, info.mtime, info.isreg()) == (
        name,
        size,
        0o755,
        0,
        True,
    )


@pytest.mark.parametrize("size", [8 * GIB - 1, 8 * GIB, 64 * GIB])
@pytest.mark.parametrize("format_", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
def test_sizes_beyond_octal_are_read_in_both_notations(size: int, format_: Literal[1, 2]) -> None:
    info = tarfile.TarInfo("data/0000.tar")
    info.size = size
    assert TarReader(io.BytesIO(info.tobuf(format_)).read, "it").next() == Entry("data/0000.tar", size)


def test_a_name_split_by_ustar_is_put_together() -> None:
    info = tarfile.TarInfo("scripts/" + "d" * 80 + "/" + "n" * 60)
    assert TarReader(io.BytesIO(info.tobuf(tarfile.USTAR_FORMAT)).read, "it").next() == Entry(info.name, 0)


def test_a_name_that_does_not_fit_is_a_programmers_mistake() -> None:
    with pytest.raises(ValueError, match="does not fit"):
        header_block("n" * 101, 0)


def _with(block: bytes, at: int, field: bytes) -> bytes:
    changed = bytearray(block)
    changed[at : at + len(field)] = field
    changed[148:156] = b" " * 8
    changed[148:156] = b"%06o\0 " % sum(changed)
    return bytes(changed)


GOOD = header_block("name", 3)


def _pax(records: bytes) -> bytes:
    return _with(header_block("pax", len(records)), 156, b"x") + records.ljust(512, b"\0") + GOOD


@pytest.mark.parametrize(
    ("block", "rule"),
    [
        (_with(GOOD, 124, b"12345678901\0"), "tar-header"),
        (_with(GOOD, 124, bytes(12)), "tar-header"),
        (_with(GOOD, 124, b"\xff" * 12), "tar-header"),
        (_with(GOOD, 257, b"tar  \0"), "tar-header"),
        (GOOD[:148] + b"x" * 8 + GOOD[156:], "tar-header"),
        (_with(GOOD, 156, b"5"), "tar-entry"),
        (_with(GOOD, 156, b"2"), "tar-entry"),
        (_with(GOOD, 156, b"L"), "tar-entry"),
        (_with(GOOD, 156, b"g"), "tar-entry"),
        (_with(GOOD, 156, b"S"), "tar-entry"),
        (_pax(b"13 size=-001\n"), "tar-header"),
        (_pax(b"99 size=1\n"), "tar-header"),
        (_pax(b"0 size=1\n"), "tar-header"),
        (_pax(b"size=1\n"), "tar-header"),
        (_pax(b"9 size=11"), "tar-header"),
        (_pax(b"22 GNU.sparse.major=1\n"), "tar-entry"),
        (_with(header_block("pax", 1 << 20), 156, b"x"), "too-large"),
        (_pax(b"10 size=1\n")[:1024] + _pax(b"10 size=1\n"), "tar-entry"),
        (_pax(b"10 size=1\n")[:1024], "truncated"),
        (_pax(b"10 size=1\n")[:1024] + bytes(1024), "tar-header"),
    ],
)
def test_a_header_that_is_not_a_plain_file_is_refused(block: bytes, rule: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        TarReader(io.BytesIO(block).read, "it").next()
    assert caught.value.rule == rule


def test_a_pax_header_replaces_name_and_size_of_the_next_file_only() -> None:
    archive = _pax(b"11 path=ab\n10 size=1\n20 mtime=1234567890\n") + b"x".ljust(512, b"\0") + GOOD
    tar = TarReader(io.BytesIO(archive).read, "it")
    assert [tar.next(), tar.read(9), tar.next()] == [Entry("ab", 1), b"x", Entry("name", 3)]
