"""SHA-256 of a long stream, computed beside its reading and writing.

hashlib lets other threads run while it computes, so a second processor can hash what the first one fetches and stores.
Short streams, and machines with one processor, do without a thread.
"""

from __future__ import annotations

import hashlib
import os
import threading
import weakref
from queue import SimpleQueue
from typing import Final

from wainwright_common.artifact.limits import MIB

_AHEAD: Final = 2  # pieces that may wait; bounds the memory to so many reads
_THREAD_FROM: Final = 1 * MIB  # bytes; below it starting a thread costs more than it saves

_Pieces = SimpleQueue[bytes | None]


class Digest:
    """The digest of the bytes that `update` was given, in order. To be used by one thread."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._size = 0
        self._pieces: _Pieces = SimpleQueue()
        self._room = threading.Semaphore(_AHEAD)
        self._thread: threading.Thread | None = None

    def update(self, data: bytes) -> None:
        """Add bytes; they must not change afterwards. Waits while too many wait already."""
        self._size += len(data)
        if self._thread is None:
            if self._size < _THREAD_FROM or not _has_other_processor():
                self._hash.update(data)
                return
            self._begin()
        self._room.acquire()
        self._pieces.put(data)

    def hexdigest(self) -> str:
        """Return the digest of all so far, when it is computed."""
        if self._thread is not None:
            self._pieces.put(None)
            self._thread.join()
            self._thread = None
            self._size = 0  # should more come, a thread is worth it only for a lot more
        return self._hash.hexdigest()

    def _begin(self) -> None:
        # The thread knows nothing of this object, so that one which is dropped in the middle ends its thread.
        of_thread = (self._hash, self._pieces, self._room)
        self._thread = threading.Thread(target=_work, args=of_thread, name="digest", daemon=True)
        self._thread.start()
        weakref.finalize(self, self._pieces.put, None)


def _work(digest: hashlib._Hash, pieces: _Pieces, room: threading.Semaphore) -> None:
    while (data := pieces.get()) is not None:
        digest.update(data)
        room.release()


def _has_other_processor() -> bool:
    return len(os.sched_getaffinity(0)) > 1
