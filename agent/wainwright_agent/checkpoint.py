"""What a download has fetched so far, kept so that a kill or a power cut does not cost it.

    <data_dir>/modules/v3/payloads/0000/checkpoint/
        artifact     the artifact's bytes, each at its own offset; holes where the payload's files have them
        mark         which artifact, how far it is safe, and which files fill which holes

1. Only for a module that takes files: `keep` begins it. One that streams starts its stream again.
2. What is kept is never believed: a download that goes on reads all of it anew, through the same checks as if it came
   from the server. So nothing of a hash or of an expander is kept.
3. After a kill everything that was written counts: the kernel still has it. After a reboot only what was synced does.
4. An uncompressed file of the payload is not stored twice. A compressed payload is kept beside its expanded files, as
   long as there is room for it; without, the next download starts from the first byte.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from wainwright_agent.synced import sync_folder, write_synced
from wainwright_common.messages import Artifact
from wainwright_common.prepared import prepare

HEAD_MAX = 8 * 1024 * 1024  # bytes before the first payload file that are held in memory; the reader's limit is lower
HOLE_MIN = 1024 * 1024  # bytes; a smaller file is stored twice rather than made a hole, which costs a sync
HOLES_MAX = 256  # bounds the mark
SYNC_EVERY = 8 * 1024 * 1024  # bytes; what a power cut costs at most, over a link that brings less in SYNC_EVERY_S
SYNC_EVERY_S = 1.0  # what a power cut costs over a faster one: each sync holds the download up, and costs the medium
SYNC_MAX = 64 * 1024 * 1024  # bytes; more would wait in the cache, over any link

log = logging.getLogger(__name__)


class CheckpointError(Exception):
    """What was kept cannot be read back."""


class Hole(msgspec.Struct, frozen=True):
    """Bytes of the artifact that are in a file of the payload; `size` is the whole file's."""

    name: str
    start: int
    size: int


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What is on disk."""

    sha256: str
    size: int
    boot_id: str
    etag: str | None = None
    synced: int = 0
    holes: tuple[Hole, ...] = ()


prepare(Mark)  # the update's thread decodes it


def place(tree: Path) -> Path:
    """Return the folder of the checkpoint beside a work tree."""
    return tree.parent / "checkpoint"


def holds(tree: Path, artifact: Artifact) -> bool:
    """Say whether a download of this artifact can go on from a checkpoint."""
    return tree.is_dir() and _mark(place(tree), artifact) is not None


def _mark(folder: Path, artifact: Artifact) -> Mark | None:
    try:
        mark = msgspec.json.decode((folder / "mark").read_bytes(), type=Mark)
    except (OSError, msgspec.DecodeError, UnicodeDecodeError):
        return None
    return mark if (mark.sha256, mark.size) == (artifact.sha256, artifact.size) else None


class Checkpoint:
    """The checkpoint of one download: gives what there is, then takes what comes. Never fails a download."""

    def __init__(self, tree: Path, artifact: Artifact, boot_id: str) -> None:
        self.etag: str | None = None
        self._folder = place(tree)
        self._files = tree / "files"
        self._boot_id = boot_id
        self._mark = Mark(sha256=artifact.sha256, size=artifact.size, boot_id=self._boot_id)
        self._head: bytearray | None = bytearray()
        """What came before `keep`; None afterwards, and when nothing is kept."""
        self._fd: int | None = None
        self._file_fd: int | None = None
        """The file that fills the hole which is being filled."""
        self._read_at = 0
        self._size = 0
        self._synced_at = time.monotonic()
        if (found := _mark(self._folder, artifact)) is not None and tree.is_dir():
            with contextlib.suppress(OSError):
                self._go_on(found)

    @property
    def is_resumed(self) -> bool:
        """Whether a download before this one has left something."""
        return self._fd is not None and self._head is None

    @property
    def size(self) -> int:
        """How many bytes of the artifact there are."""
        return self._size

    def replay(self, n: int) -> bytes:
        """Return up to `n` of the kept bytes that were not returned yet; none when all were.

        Raises CheckpointError.
        """
        if self._fd is None or self._read_at >= self._size:
            return b""
        try:
            data = self._pread(self._fd, n)
        except OSError as error:
            raise CheckpointError(f"byte {self._read_at} cannot be read: {error}") from error
        if not data:
            raise CheckpointError(f"it ends at byte {self._read_at}, not {self._size}")
        self._read_at += len(data)
        return data

    def append(self, data: bytes) -> None:
        """Take bytes that have come from the server; only after `replay` has given all there are."""
        if self._read_at < self._size:
            raise ValueError("bytes of the server came before those that were kept")
        if self._file_fd is not None:
            return  # they go into the payload's file
        if self._head is not None:
            self._head += data
            if len(self._head) > HEAD_MAX:
                self.drop()
        elif self._fd is not None:
            self._try_to(lambda: self._write(data))

    def keep(self) -> None:
        """Begin to keep: the module takes files. Until here a restart begins anew."""
        if self._head is None:
            return
        head, self._head = bytes(self._head), None

        def begin() -> None:
            _remove(self._folder)
            self._folder.mkdir(mode=0o700)
            self._fd = os.open(self._folder / "artifact", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._write(head)
            self._sync()

        self._try_to(begin)

    def file_begins(self, name: str, size: int, fd: int, *, start: int | None) -> int:
        """Note that a payload file is going to be written to `fd`; return how many bytes of it are there already.

        `start` is where its bytes are in the artifact; None when they are not there as they are.
        """
        if start is None or self._fd is None:
            return 0
        if any((hole.name, hole.start) == (name, start) for hole in self._mark.holes):
            there = min(size, self._size - start)
            self._file_fd = fd if there < size else None
            return there
        if start == self._size and size >= HOLE_MIN and len(self._mark.holes) < HOLES_MAX:
            self._mark = replace(self._mark, holes=(*self._mark.holes, Hole(name, start, size)))
            self._file_fd = fd
            self._try_to(self._sync)
        return 0

    def file_written(self, n: int) -> None:
        """Note that `n` more bytes of the payload file were written."""
        if self._file_fd is not None:
            self._size += n
            self._read_at += n
            self._sync_when_due()

    def file_ends(self) -> None:
        """Note that the payload file is complete and synced."""
        if self._file_fd is not None:
            self._file_fd = None
            self._try_to(self._sync)

    def drop(self) -> None:
        """Keep nothing, and give back the space."""
        self._head = None
        self._file_fd = None
        self._size = self._read_at
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
            _remove(self._folder)

    def close(self) -> None:
        """Leave everything as it is for the next download."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _pread(self, fd: int, n: int) -> bytes:
        n = min(n, self._size - self._read_at)
        hole = next((hole for hole in self._mark.holes if hole.start + hole.size > self._read_at), None)
        if hole is None or self._read_at < hole.start:
            return os.pread(fd, n if hole is None else min(n, hole.start - self._read_at), self._read_at)
        offset = self._read_at - hole.start
        with (self._files / hole.name).open("rb", buffering=0) as file:
            return os.pread(file.fileno(), min(n, hole.size - offset), offset)

    def _go_on(self, found: Mark) -> None:
        fd = os.open(self._folder / "artifact", os.O_RDWR | os.O_CLOEXEC)
        try:
            size = found.synced if found.boot_id != self._boot_id else self._written(found, os.fstat(fd).st_size)
            # What lies behind was not safe; it must not count should this download be killed, too.
            os.ftruncate(fd, min(size, os.fstat(fd).st_size))
            holes = tuple(hole for hole in found.holes if hole.start < size)
            for hole in holes[-1:]:
                if hole.start + hole.size > size:
                    os.truncate(self._files / hole.name, size - hole.start)
        except OSError:
            os.close(fd)
            raise
        self._fd, self._head, self._size, self.etag = fd, None, size, found.etag
        self._mark = replace(found, boot_id=self._boot_id, synced=min(found.synced, size), holes=holes)
        log.info("Going on with the download at byte %d of %d, which an earlier one has kept.", size, found.size)

    def _written(self, found: Mark, literal: int) -> int:
        """Return how much was written, in this boot: up to the last byte of the spool or of the last hole's file."""
        if not found.holes:
            return literal
        last = found.holes[-1]
        in_hole = min(last.size, (self._files / last.name).stat().st_size)
        return max(literal, last.start + in_hole)

    def _write(self, data: bytes) -> None:
        if self._fd is None:
            return
        rest = memoryview(data)
        while rest:
            n = os.pwrite(self._fd, rest, self._size)
            self._size += n
            self._read_at += n
            rest = rest[n:]
        self._sync_when_due()

    def _sync_when_due(self) -> None:
        waiting = self._size - self._mark.synced
        is_time = waiting >= SYNC_EVERY and time.monotonic() - self._synced_at >= SYNC_EVERY_S
        if is_time or waiting >= SYNC_MAX:
            self._try_to(self._sync)

    def _sync(self) -> None:
        if self._fd is None:
            return
        os.fdatasync(self._fd)
        if self._file_fd is not None:
            os.fdatasync(self._file_fd)
        self._mark = replace(self._mark, synced=self._size, etag=self.etag)
        write_synced(self._folder / "mark.new", msgspec.json.encode(self._mark))
        (self._folder / "mark.new").replace(self._folder / "mark")
        sync_folder(self._folder)
        self._synced_at = time.monotonic()

    def _try_to(self, what: Callable[[], None]) -> None:
        try:
            what()
        except OSError as error:
            log.warning("The download goes on without a checkpoint: %s.", error)
            self.drop()


def _remove(folder: Path) -> None:
    """Remove the mark before what it speaks of."""
    for name in ("mark", "mark.new", "artifact"):
        (folder / name).unlink(missing_ok=True)
    with contextlib.suppress(FileNotFoundError):
        folder.rmdir()
