"""Writing an image to a slot: what the update module `rootfs-image` runs as a program of its own.

    python3 blocks.py STREAM SLOT SIZE

1. The slot is opened for nobody else: the kernel refuses that for a partition that is mounted or in use.
2. An image that does not fit is refused before a byte is read or written.
3. A block that the slot has already is not written: flash wears by writing, and reading is faster.
4. The medium has everything when this ends with status 0.

Memory is two blocks, whatever the size. Only the standard library is used, and nothing else of this package: any
Python of the device can run this file.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

BLOCK = 128 * 1024  # bytes; a multiple of the page of common flash, and twice what a pipe holds
FLUSH_EVERY = 16 * 1024 * 1024  # bytes written between two flushes, so that the last one is short and the cache small


class BlocksError(Exception):
    """The image cannot be written; the text says why and what to do."""


@dataclass(frozen=True)
class Written:
    """What became of an image, in bytes."""

    written: int
    equal: int


def write_image(stream: Path, slot: Path, size: int) -> Written:
    """Copy `size` bytes from a FIFO or file to a slot that exists. Raises BlocksError and OSError."""
    target = open_slot(slot)
    try:
        room = os.lseek(target, 0, os.SEEK_END)
        if not 0 < size <= room:
            raise BlocksError(
                f"The image has {size} bytes, the slot {slot} has {room}. Make the image smaller, or the slot larger."
            )
        source = os.open(stream, os.O_RDONLY | os.O_CLOEXEC)
        try:
            written = _copy(source, target, size)
            if os.read(source, 1):
                raise BlocksError(f"The stream has more than the {size} bytes that were announced.")
        finally:
            os.close(source)
        _flush(target)
    finally:
        os.close(target)
    return Written(written, size - written)


def open_slot(slot: Path) -> int:
    """Return a descriptor of a block device that nobody uses, or of a plain file."""
    mode = slot.stat().st_mode
    if not (stat.S_ISBLK(mode) or stat.S_ISREG(mode)):
        raise BlocksError(f"{slot} is neither a block device nor a file.")
    # Without O_CREAT, O_EXCL means for a block device: fail if it is mounted or held otherwise (open(2)).
    exclusive = os.O_EXCL if stat.S_ISBLK(mode) else 0
    try:
        return os.open(slot, os.O_RDWR | os.O_CLOEXEC | exclusive)
    except OSError as error:
        if error.errno == errno.EBUSY:
            raise BlocksError(f"{slot} is in use. Unmount it: the slot that is written must be idle.") from error
        raise


def _copy(source: int, target: int, size: int) -> int:
    """Copy, and return how many bytes had to be written."""
    new, old = bytearray(BLOCK), bytearray(BLOCK)
    position = written = unflushed = 0
    while position < size:
        length = min(BLOCK, size - position)
        if length < BLOCK:
            new, old = bytearray(length), bytearray(length)
        _fill(source, new, position, size)
        # Comparing bytearrays is memcmp; a short read leaves the rest as it was, which is only ever written too often.
        if os.preadv(target, [old], position) != length or new != old:
            _write(target, new, position)
            written += length
            unflushed += length
            if unflushed >= FLUSH_EVERY:
                _flush(target)
                unflushed = 0
        position += length
    return written


def _fill(source: int, block: bytearray, position: int, size: int) -> None:
    view = memoryview(block)
    while view:
        count = os.readv(source, [view])
        if not count:
            got = position + len(block) - len(view)
            raise BlocksError(f"The stream ended after {got} of {size} bytes.")
        view = view[count:]


def _write(target: int, block: bytearray, position: int) -> None:
    view = memoryview(block)
    while view:
        count = os.pwrite(target, view, position)
        view, position = view[count:], position + count


def _flush(target: int) -> None:
    """Wait for the medium, and give the cache back to the system that runs."""
    os.fsync(target)
    os.posix_fadvise(target, 0, 0, os.POSIX_FADV_DONTNEED)


def main(arguments: list[str]) -> int:
    """Run the program; return its exit status."""
    try:
        stream, slot, size = arguments
        result = write_image(Path(stream), Path(slot), int(size))
    except (BlocksError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"{result.written} bytes written to {slot}, {result.equal} bytes were there already\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
