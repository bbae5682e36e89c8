r"""How a payload gets to an update module: through FIFOs, one at a time, or as files when the module does not ask.

    module                          we
    reads stream-next           <-  "streams/<file>\\n" (with sizes: "streams/<file> <bytes>\\n")
    reads streams/<file>        <-  the file
    ... for each file
    reads stream-next           <-  nothing: there are no more
    exits 0

1. A module that ends with 0 and never opened `stream-next` gets the payload in `files/` (storing.py).
2. One that opened it and ends before it has seen the end of the list has failed, whatever its status.
3. A file's end is shown to the module only after its digest was right; else the module is ended first.
4. The end of the list is shown only after the end of the artifact was right.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import selectors
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Self

from wainwright_agent.failure import UpdateError
from wainwright_agent.groups import KILL_GRACE_S
from wainwright_agent.module import CODES, DOWNLOAD, DOWNLOAD_WITH_SIZES, Module
from wainwright_agent.processes import Lines, Process, TimedOut
from wainwright_common.codes import Code

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

    from wainwright_common.artifact import PayloadFile

CHUNK = 256 * 1024  # bytes read from the artifact at a time; larger ones were no faster
PIPE = 1024 * 1024  # bytes that a stream holds, instead of 64 KiB: the most that proc(5), pipe-max-size, usually allows


class _Gone(Exception):  # noqa: N818  the module ended: not yet a failure
    """The module ended while something was to be given to it."""


class Opening:
    """Opens a FIFO for writing, which waits for a reader, in a thread; so that we can watch the module meanwhile."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._done = os.eventfd(0, os.EFD_CLOEXEC)
        self._fd: int | OSError | None = None
        self._thread = threading.Thread(target=self._open, name="fifo", daemon=True)
        self._thread.start()

    def fileno(self) -> int:
        """Return a descriptor that is readable once somebody reads the FIFO."""
        return self._done

    def take(self) -> int:
        """Return the FIFO's descriptor, now the caller's."""
        self._thread.join()
        fd, self._fd = self._fd, None
        if not isinstance(fd, int):
            raise fd or OSError(errno.EBADF, "taken already")
        return fd

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._thread.is_alive():
            # Only a reader ends the wait. Be one until the thread is through: it may not have begun to wait yet.
            reader = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            self._thread.join()
            os.close(reader)
        if isinstance(self._fd, int):
            os.close(self._fd)
        os.close(self._done)

    def _open(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            self._fd = error
        os.eventfd_write(self._done, 1)


def download(
    module: Module, files: Iterator[PayloadFile], check_end: Callable[[], None], begins: Callable[[], None]
) -> bool:
    """Call the module's Download; give it the payload and return True, or return False when it did not ask for it.

    `begins` is called when it asks, `check_end` after the last file; that may raise. Raises UpdateError, and what
    reading the payload raises, after the module was ended.
    """
    sizes = module.ask("ProvidePayloadFileSizes") == "Yes"
    state = DOWNLOAD_WITH_SIZES if sizes else DOWNLOAD
    module.tree.make_stream_next()
    output, errors = module.log_lines(state), module.log_lines(state)
    try:
        with module.running(state, CODES[state], output.feed, errors) as process:
            return _Feeding(module, process, state, sizes=sizes).feed(files, check_end, begins, errors)
    finally:
        output.end()
        module.tree.remove_streams()


class _Feeding:
    """One run of Download. At most one FIFO is open at a time, and never closed early while the module may see it."""

    def __init__(self, module: Module, process: Process, state: str, *, sizes: bool) -> None:
        self._module = module
        self._process = process
        self._state = state
        self._sizes = sizes
        self._deadline = module.deadline()
        self._asked = False
        self._fd: int | None = None

    def feed(
        self,
        files: Iterator[PayloadFile],
        check_end: Callable[[], None],
        begins: Callable[[], None],
        errors: Lines,
    ) -> bool:
        """Give the payload to the module and wait for its end; False when it did not ask for it at all."""
        try:
            self._give_all(files, check_end, begins)
        except _Gone:
            self._module.check(self._state, self._process.wait(self._deadline), errors)
            if not self._asked:
                return False
            raise self._refused("ended before it had read all streams") from None
        except BaseException:
            self._process.end()  # before the FIFO is closed: a broken file must not look like a finished one
            raise
        finally:
            self._close()
        self._module.check(self._state, self._process.wait(self._deadline), errors)
        return True

    def _give_all(
        self, files: Iterator[PayloadFile], check_end: Callable[[], None], begins: Callable[[], None]
    ) -> None:
        # Not one step further into the payload before the module asks: it may want files, not streams.
        tree = self._module.tree
        self._open(tree.stream_next)
        self._asked = True
        begins()
        for file in files:
            stream = tree.make_stream(file.name)
            size = f" {file.size}" if self._sizes else ""
            self._write(f"streams/{file.name}{size}\n".encode())
            self._close()
            self._open(stream)
            while data := file.read(CHUNK):
                self._write(data)
            self._close()
            stream.unlink()
            self._open(tree.stream_next)
        check_end()
        self._close()

    def _open(self, path: Path) -> None:
        with Opening(path) as opening:
            if not self._process.wait_for(opening.fileno(), selectors.EVENT_READ, self._deadline):
                raise _Gone
            self._fd = opening.take()
        os.set_blocking(self._fd, False)
        with contextlib.suppress(OSError):  # a smaller stream is slower, and as good
            fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, PIPE)

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _write(self, data: bytes) -> None:
        if self._fd is None:
            raise ValueError("no FIFO is open")
        rest = memoryview(data)
        while rest:
            try:
                rest = rest[os.write(self._fd, rest) :]
            except BlockingIOError:
                if not self._process.wait_for(self._fd, selectors.EVENT_WRITE, self._deadline):
                    raise _Gone from None
            except BrokenPipeError:
                self._await_end()

    def _await_end(self) -> None:
        """Wait a moment for the end of a module that closed a stream too early: what it says is the better error."""
        try:
            self._process.wait(min(self._deadline, time.monotonic() + KILL_GRACE_S))
        except TimedOut:
            raise self._refused("closed a stream before its end") from None
        raise _Gone

    def _refused(self, what: str) -> UpdateError:
        return UpdateError(Code.INSTALL_FAILED, f"The update module {self._module.path.name} {what} in {self._state}.")
