"""A strict, streaming tar walk: regular files only, every checksum verified, nothing kept.

The standard library's tarfile is lenient by design (it skips damaged headers, follows links, accepts a missing end),
which is right for archives and wrong for updates. What `mender-artifact` writes is ustar with pax headers for what
ustar cannot say; this reads exactly that, and base-256 sizes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from wainwright_common.artifact.limits import DEFAULT, MIB, Limits
from wainwright_common.artifact.rules import Rule, refusal

BLOCK: Final = 512
_ZEROS: Final = bytes(BLOCK)
_CHUNK: Final = 1 * MIB
_REGULAR: Final = (b"0", b"\0")
_PAX: Final = b"x"

# Fields of a header block (POSIX.1-2017, pax, "ustar Interchange Format").
_NAME: Final = slice(0, 100)
_SIZE: Final = slice(124, 136)
_CHECKSUM: Final = slice(148, 156)
_TYPE: Final = slice(156, 157)
_MAGIC: Final = slice(257, 263)
_PREFIX: Final = slice(345, 500)
_POSIX_MAGIC: Final = b"ustar\0"
_GNU_MAGIC: Final = b"ustar "
_OCTAL_SIZE_MAX: Final = 8**11 - 1  # 11 octal digits; larger sizes are base-256
_BASE256: Final = 0x80  # the first byte of a field that is a big-endian number instead of octal digits
_NEGATIVE: Final = 0x40


@dataclass(frozen=True, slots=True)
class Entry:
    """One regular file of an archive: its name as stored, and its size in bytes."""

    name: str
    size: int


class TarReader:
    """Walks one archive: `next` moves to a file, `read` takes its bytes, and after the last one the end is checked.

    `read(n)` is the source: up to n bytes, fewer when it has fewer, none at its end. `label` names the archive in
    errors, and `alien` is the rule that is broken when not even its first block is a tar header.
    """

    def __init__(
        self,
        read: Callable[[int], bytes],
        label: str,
        limits: Limits = DEFAULT,
        *,
        alien: Rule = Rule.TAR_HEADER,
    ) -> None:
        self._source = read
        self._label = label
        self._limits = limits
        self._alien = alien
        self._left = 0  # bytes of the present file that nobody has read
        self._padding = 0  # bytes from its end to the next block
        self._offset = 0  # bytes taken from the source

    def next(self) -> Entry | None:
        """Move past the present file to the next one; None at the end of the archive, which has been checked then.

        Raises ArtifactError: truncated, tar-header, tar-entry, trailing-data.
        """
        self.skip_padding()
        block = self._exactly(BLOCK)
        if block == _ZEROS:
            self._check_end()
            return None
        extension: dict[str, str] = {}
        if self._kind(block) == _PAX:
            extension = self._read_extension(self._size(block))
            block = self._exactly(BLOCK)
        if self._kind(block) not in _REGULAR:
            raise refusal(
                Rule.TAR_ENTRY,
                f"{self._label} holds {_name(block)!r}, which is not a regular file (tar type {self._kind(block)!r}).",
            )
        name = extension.get("path", _name(block))
        size = self._pax_size(extension["size"]) if "size" in extension else self._size(block)
        self._left, self._padding = size, -size % BLOCK
        return Entry(name, size)

    def skip_padding(self) -> int:
        """Move past the present file and what fills its last block; return how many bytes were taken of the source.

        Raises ArtifactError: truncated.
        """
        while self._left:
            self.read(_CHUNK)
        self._exactly(self._padding)
        self._padding = 0
        return self._offset

    def read(self, n: int) -> bytes:
        """Return up to `n` bytes of the present file, none at its end. Raises ArtifactError: truncated."""
        if not self._left:
            return b""
        data = self._source(min(n, self._left))
        if not data:
            raise self._truncated()
        self._left -= len(data)
        self._offset += len(data)
        return data

    def read_whole(self, entry: Entry, limit: int) -> bytes:
        """Return all bytes of the present file `entry`. Raises ArtifactError: too-large, truncated."""
        if entry.size > limit:
            raise refusal(
                Rule.TOO_LARGE,
                f"{entry.name[:100]!r} in {self._label} has {entry.size} bytes, more than the limit of {limit}.",
            )
        chunks = []
        while chunk := self.read(_CHUNK):
            chunks.append(chunk)
        return b"".join(chunks)

    def _exactly(self, n: int) -> bytes:
        data = self._source(n) if n else b""
        while len(data) < n:  # sockets and pipes give less than is asked for
            more = self._source(n - len(data))
            if not more:
                self._offset += len(data)
                raise self._truncated()
            data += more
        self._offset += n
        return data

    def _truncated(self) -> Exception:
        return refusal(Rule.TRUNCATED, f"{self._label} ends after {self._offset} bytes, in the middle.")

    def _kind(self, block: bytes) -> bytes:
        """Return the type flag of a header block, once its checksum and magic are known to be right."""
        # The checksum is the sum of the block's bytes with its own field taken as spaces.
        total = sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" ")
        stored = block[_CHECKSUM].rstrip(b"\0 ").lstrip(b" ")
        if not stored.isdigit() or not _is_octal(stored) or int(stored, 8) != total:
            raise refusal(
                self._alien if self._offset == BLOCK else Rule.TAR_HEADER,
                f"{self._label} has no valid tar header at byte {self._offset - BLOCK}: its checksum is wrong.",
            )
        if not block[_MAGIC].startswith(b"ustar"):
            raise refusal(Rule.TAR_HEADER, f"{self._label} has a tar header without the ustar mark.")
        return block[_TYPE]

    def _size(self, block: bytes) -> int:
        field = block[_SIZE]
        if field[0] & _BASE256:
            if field[0] & _NEGATIVE:
                raise refusal(Rule.TAR_HEADER, f"{self._label} gives a file a negative size.")
            return int.from_bytes(field) - (_BASE256 << 8 * (len(field) - 1))
        digits = field.rstrip(b"\0 ").lstrip(b" ")
        if not _is_octal(digits):
            raise refusal(Rule.TAR_HEADER, f"{self._label} gives a file the size {field!r}, which is not a number.")
        return int(digits, 8)

    def _pax_size(self, text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 20):  # noqa: PLR2004  a signed 64-bit number has 19 digits
            raise refusal(Rule.TAR_HEADER, f"{self._label} gives a file the size {text[:40]!r}, which is not a number.")
        return int(text)

    def _read_extension(self, size: int) -> dict[str, str]:
        """Read a pax extended header: lines of `LENGTH key=value`, of which path and size count here."""
        if size > self._limits.extension:
            raise refusal(Rule.TOO_LARGE, f"{self._label} has an extended tar header of {size} bytes.")
        rest = self._exactly(size)
        self._exactly(-size % BLOCK)
        records: dict[str, str] = {}
        while rest:
            digits, space, _ = rest.partition(b" ")
            length = int(digits) if digits.isdigit() and len(digits) < 6 else 0  # noqa: PLR2004  the limit has 5 digits
            record, rest = rest[:length], rest[length:]
            key, equals, value = record[len(digits) + 1 : -1].partition(b"=")
            if not (space and equals and len(record) == length and record.endswith(b"\n")):
                raise refusal(Rule.TAR_HEADER, f"{self._label} has an extended tar header that breaks its syntax.")
            # A sparse file is stored as a map and fragments: its bytes are not the file's.
            if key.startswith(b"GNU.sparse"):
                raise refusal(Rule.TAR_ENTRY, f"{self._label} holds a sparse tar entry.")
            records[_text(key)] = _text(value)
        return records

    def _check_end(self) -> None:
        """Require the second zero block, then only zeros, a bounded number of them, to the end of the source."""
        zeros = 0
        chunk = self._exactly(BLOCK)
        while chunk:
            if chunk.count(0) != len(chunk) or zeros > self._limits.padding:
                raise refusal(
                    Rule.TRAILING_DATA,
                    f"{self._label} goes on after the end of the archive, {zeros} zeros later.",
                )
            zeros += len(chunk)
            chunk = self._source(_CHUNK)
            self._offset += len(chunk)


def _is_octal(digits: bytes) -> bool:
    return bool(digits) and not digits.strip(b"01234567")


def _text(raw: bytes) -> str:
    # Every name of the format is ASCII; others are kept visible, and refused by the rule for that name.
    return raw.decode("ascii", errors="backslashreplace")


def _name(block: bytes) -> str:
    name = block[_NAME].partition(b"\0")[0]
    # GNU's own format uses the bytes of the prefix for times.
    prefix = block[_PREFIX].partition(b"\0")[0] if block[_MAGIC] == _POSIX_MAGIC else b""
    return _text(prefix + b"/" + name if prefix else name)


def header_block(name: str, size: int, *, mode: int = 0o600) -> bytes:
    """Return the header block of a regular file: owner root, time 0, so that equal inputs make equal archives.

    `name` has at most 100 ASCII characters (programmer's responsibility). Sizes of 8 GiB and more are written base-256,
    which GNU tar, Go and libarchive read.
    """
    is_octal = size <= _OCTAL_SIZE_MAX
    block = bytearray(BLOCK)
    raw = name.encode("ascii")
    if len(raw) > _NAME.stop:
        raise ValueError(f"{name!r} does not fit a tar header")
    block[: len(raw)] = raw
    block[100:124] = b"%07o\0%07o\0%07o\0" % (mode, 0, 0)
    block[_SIZE] = b"%011o\0" % size if is_octal else bytes([_BASE256]) + size.to_bytes(11)
    block[136:148] = b"%011o\0" % 0
    block[_CHECKSUM] = b" " * 8
    block[_TYPE] = b"0"
    block[257:265] = _POSIX_MAGIC + b"00" if is_octal else _GNU_MAGIC + b" \0"
    block[_CHECKSUM] = b"%06o\0 " % sum(block)
    return bytes(block)


def padding(size: int) -> bytes:
    """Return the zeros that fill a file of `size` bytes up to a whole block."""
    return bytes(-size % BLOCK)


END_OF_ARCHIVE: Final = bytes(2 * BLOCK)
