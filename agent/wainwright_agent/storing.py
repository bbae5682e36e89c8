"""Writing a payload to `files/`, for a module that takes no stream; going on where a kill has stopped it."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from wainwright_agent import space
from wainwright_agent.checkpoint import Checkpoint
from wainwright_agent.worktree import WorkTree

if TYPE_CHECKING:
    from collections.abc import Iterator

    from wainwright_common.artifact import PayloadFile

CHUNK = 256 * 1024  # bytes read from the artifact at a time


def store(
    tree: WorkTree,
    files: Iterator[PayloadFile],
    kept: Checkpoint,
    start: Callable[[], int | None],
    left: Callable[[], int],
) -> None:
    """Write all files and wait until the medium has them.

    `start` says where in the artifact the file that was given last begins, None if it is not there as it is; `left`,
    how many bytes of the artifact are still to be fetched. Raises UpdateError (no-space), OSError, and what reading
    the payload raises.
    """
    for file in files:
        begins = start()
        fd = tree.open_file(file.name)
        try:
            there = kept.file_begins(file.name, file.size, fd, start=begins)
            there = _make_room(tree, kept, file, there, left(), is_twice=begins is None)
            os.ftruncate(fd, there)
            _write(file, fd, there, kept)
            os.fsync(fd)
            kept.file_ends()
        finally:
            os.close(fd)
    tree.sync_files()


def _make_room(tree: WorkTree, kept: Checkpoint, file: PayloadFile, there: int, left: int, *, is_twice: bool) -> int:
    """See that there is room for a file, at the price of the checkpoint if need be; return how much of it is there.

    What is still to be fetched is asked for as well: files after this one need about as much, or more if compressed.
    """
    needed = max(file.size - there, left)
    if space.free(tree.path) < needed + space.RESERVE + (left if is_twice else 0):
        kept.drop()  # and so what is there of the file is known no more
        there, needed = 0, max(file.size, left)
        os.truncate(tree.path / "files" / file.name, 0)
    space.require(tree.path, needed, f"the payload, with {file.name} to be written next,")
    return there


def _write(file: PayloadFile, fd: int, there: int, kept: Checkpoint) -> None:
    """Write a file from byte `there` on; what is before was read from where it is already."""
    done = 0
    while data := file.read(CHUNK):
        new = data[max(0, there - done) :] if done < there else data
        at = done + len(data) - len(new)
        rest = memoryview(new)
        while rest:
            n = os.pwrite(fd, rest, at)
            at += n
            rest = rest[n:]
        done += len(data)
        kept.file_written(len(new))
