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
    tree: WorkTree, files: Iterator[PayloadFile], kept: Checkpoint, start: Callable[[], int | None], left: int
) -> None:
    """Write all files and wait until the medium has them.

    `start` says where in the artifact the file that was given last begins, None if it is not there as it is; `left` is
    how much of the artifact is to be fetched. Raises UpdateError (no-space), OSError, and what reading the payload
    raises.
    """
    for file in files:
        begins = start()
        fd = tree.open_file(file.name)
        try:
            there = kept.file_begins(file.name, file.size, fd, start=begins)
            _make_room(tree, kept, file.name, max(file.size - there, left))
            left = 0  # what is in the artifact was asked for once; from now on a file at a time
            os.ftruncate(fd, there)
            _write(file, fd, there, kept)
            os.fsync(fd)
            kept.file_ends()
        finally:
            os.close(fd)
    tree.sync_files()


def _make_room(tree: WorkTree, kept: Checkpoint, name: str, needed: int) -> None:
    """See that there is room for a file, at the price of the checkpoint if need be."""
    if space.free(tree.path) < needed + space.RESERVE:
        kept.drop()
    space.require(tree.path, needed, f"the payload, with {name} to be written next,")


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
