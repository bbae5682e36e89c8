"""Programs that the agent runs: each in a process group of its own, bounded in time, and found again after a crash.

A program's group is on record (groups.py) before the program runs, and off it after it has ended; so an agent that
finds a record at its start knows that the agent before it died, and ends what it left.

Output is taken while the program runs, but its end is the end of the program itself: a service that a module started
may hold the pipes open for ever.
"""

from __future__ import annotations

import contextlib
import logging
import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from wainwright_agent.failure import Interrupted
from wainwright_agent.groups import KILL_GRACE_S, REAP_LIMIT_S, await_empty, remove_record, signal_group, write_record

READ_MAX = 64 * 1024  # bytes; the size of a pipe
LINE_MAX = 4096  # bytes of one line of output that are kept
TAIL_MAX = 1000  # characters of the last words that go into an error
DRAIN_READS_MAX = 2 * 1024 * 1024 // READ_MAX  # twice the largest pipe (proc(5), pipe-max-size)
EXIT_WAKE = b"x"

log = logging.getLogger(__name__)


class TimedOut(Exception):  # noqa: N818  turned into an UpdateError by whoever knows what was being done
    """A program did not end in time, and was ended."""


class Wake:
    """Something another thread can poke, and a wait can watch."""

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def fileno(self) -> int:
        """Return the descriptor that is readable after a poke."""
        return self._fd

    def poke(self) -> None:
        """Make the descriptor readable."""
        os.eventfd_write(self._fd, 1)

    def calm(self) -> None:
        """Make the descriptor unreadable again."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self._fd)


@dataclass(frozen=True)
class Surroundings:
    """What all programs of one agent share."""

    records: Path
    """Folder of the records of running groups."""
    interrupted: Callable[[], bool] = lambda: False
    """Asked after each poke of `wake`: whether what runs is to be broken off."""
    wake: Wake | None = None
    grace_s: float = KILL_GRACE_S
    unwanted: Callable[[], str | None] = lambda: None
    """Asked like `interrupted`, by what only waits: why it need not wait any longer."""


@dataclass
class Lines:
    """Cuts bytes into lines, passes each on, and keeps the last words. A line that is too long is cut."""

    sink: Callable[[str], None]
    most: int | None = None
    """How many lines are passed on; those after them are counted."""
    _passed: int = 0
    _rest: bytes = b""
    _tail: list[str] = field(default_factory=list)

    def feed(self, data: bytes) -> None:
        """Take some output."""
        *whole, rest = (self._rest + data).split(b"\n")
        self._rest = rest[:LINE_MAX]
        for line in whole:
            self._pass(line)

    def end(self) -> None:
        """Pass on what has no line end."""
        if self._rest:
            self._pass(self._rest)
        self._rest = b""
        if self.most is not None and self._passed > self.most:
            self.sink(f"... {self._passed - self.most} lines left out")
            self._passed = self.most

    @property
    def tail(self) -> str:
        """The last words, as one line."""
        return " | ".join(self._tail)[-TAIL_MAX:]

    def _pass(self, line: bytes) -> None:
        text = line[:LINE_MAX].decode(errors="replace").strip()
        if text:
            self._tail = [*self._tail[-4:], text]
            self._passed += 1
            if self.most is None or self._passed <= self.most:
                self.sink(text)


class Process:
    """A running program. Use it as a context: leaving it ends the whole group, if it has not ended by itself.

    `stdin` is written after the group is on record, then closed: a program that waits for it does nothing before.
    """

    def __init__(
        self,
        argv: Sequence[str],
        surroundings: Surroundings,
        *,
        cwd: Path,
        stdin: bytes,
        on_output: Callable[[bytes], None],
        on_errors: Callable[[bytes], None],
        env: Mapping[str, str] | None = None,
        started: subprocess.Popen[bytes] | None = None,
    ) -> None:
        """Start the program, with `env` added to our environment; raises OSError when that is impossible.

        One that has `started` already, in a session of its own and with pipes, is taken over instead.
        """
        self._around = surroundings
        self._selector = selectors.DefaultSelector()
        self._exit_read, self._exit_write = os.pipe2(os.O_CLOEXEC)
        self._leave = False
        try:
            self._popen = started or subprocess.Popen(
                list(argv),
                cwd=cwd,
                env=None if env is None else os.environ | env,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
        except OSError:
            self._close()
            raise
        self.exited = False
        self._record = surroundings.records / str(self._popen.pid)
        self._watch(on_output, on_errors)
        threading.Thread(target=self._reap, name=f"reap-{self._popen.pid}", daemon=True).start()
        try:
            write_record(self._record, self._popen.pid)
            self._give(stdin)
        except BaseException:
            self.__exit__()
            raise

    @property
    def pid(self) -> int:
        """Process and group id."""
        return self._popen.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._popen.returncode if self.exited else None

    def leave_running(self) -> None:
        """Do not end the group when the context is left; its record stays for the next agent."""
        self._leave = True

    def wait(self, deadline: float) -> int:
        """Wait for the end of the program and return its exit status.

        Raises TimedOut at `deadline` (monotonic seconds) and Interrupted; the group still runs then.
        """
        while not self.exited:
            self.step(deadline)
        self._drain()
        return self._popen.wait()

    def wait_for(self, fd: int, event: int, deadline: float) -> bool:
        """Wait until `fd` is ready for `event`; False when the program ended first. Raises like `wait`."""
        key = self._selector.register(fd, event)
        try:
            while True:
                if key.fd in self.step(deadline):
                    return True
                if self.exited:
                    return False
        finally:
            self._selector.unregister(fd)

    def step(self, deadline: float) -> set[int]:
        """Wait for something to happen, take the program's output, and return the other descriptors that are ready."""
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimedOut
        ready = set()
        for key, _ in self._selector.select(left):
            if key.data is None:
                ready.add(key.fd)
            else:
                key.data()
        return ready

    def end(self) -> None:
        """End the whole group: SIGTERM, and SIGKILL after the grace."""
        deadline = time.monotonic() + self._around.grace_s
        signal_group(self.pid, signal.SIGTERM)
        self._await_exit(deadline)
        if not await_empty(self.pid, deadline):
            signal_group(self.pid, signal.SIGKILL)
            deadline = time.monotonic() + REAP_LIMIT_S
            self._await_exit(deadline)
            await_empty(self.pid, deadline)  # its children die each in its own time

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._leave:
            if not self.exited:
                self.end()
            remove_record(self._record)
        self._close()

    def _watch(self, on_output: Callable[[bytes], None], on_errors: Callable[[bytes], None]) -> None:
        for stream, take in ((self._popen.stdout, on_output), (self._popen.stderr, on_errors)):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                self._selector.register(
                    stream, selectors.EVENT_READ, lambda s=stream, t=take: self._take(s.fileno(), t)
                )
        self._selector.register(self._exit_read, selectors.EVENT_READ, self._exit)
        if self._around.wake is not None:
            self._selector.register(self._around.wake, selectors.EVENT_READ, self._poked)

    def _give(self, stdin: bytes) -> None:
        if self._popen.stdin is not None:
            with contextlib.suppress(BrokenPipeError), self._popen.stdin as pipe:
                pipe.write(stdin)

    def _take(self, fd: int, take: Callable[[bytes], None]) -> bool:
        try:
            data = os.read(fd, READ_MAX)
        except BlockingIOError:
            return False
        if data:
            take(data)
        else:
            self._selector.unregister(fd)
        return bool(data)

    def _exit(self) -> None:
        self.exited = True
        self._selector.unregister(self._exit_read)

    def _poked(self) -> None:
        if self._around.wake is not None:
            self._around.wake.calm()  # before the question: a poke that comes after it is seen the next time
        if self._around.interrupted():
            raise Interrupted

    def _drain(self) -> None:
        """Take what the program wrote before it ended; not what its own children may still write."""
        for key in list(self._selector.get_map().values()):
            if key.fileobj in (self._popen.stdout, self._popen.stderr):
                limit = DRAIN_READS_MAX
                while limit and key.data():
                    limit -= 1

    def _await_exit(self, deadline: float) -> None:
        """Wait for the end, taking output so that the program cannot hang in a write, and heeding no interruption."""
        if self._around.wake is not None:
            with contextlib.suppress(KeyError):
                self._selector.unregister(self._around.wake)
        with contextlib.suppress(TimedOut):
            while not self.exited:
                self.step(deadline)

    def _reap(self) -> None:
        self._popen.wait()
        with contextlib.suppress(OSError):  # nobody waits any more
            os.write(self._exit_write, EXIT_WAKE)
        os.close(self._exit_write)

    def _close(self) -> None:
        self._selector.close()
        os.close(self._exit_read)
        if hasattr(self, "_popen"):
            for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
                if stream is not None:
                    stream.close()
        else:
            os.close(self._exit_write)


def pause(surroundings: Surroundings, seconds: float, until: Callable[[], object] = lambda: None) -> None:
    """Wait, or until `until` says something true after a poke; raises Interrupted when the surroundings say so."""
    deadline = time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        if surroundings.wake is not None:
            selector.register(surroundings.wake, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if surroundings.interrupted():
                raise Interrupted
            if until():
                return
            if selector.select(left) and surroundings.wake is not None:
                surroundings.wake.calm()
