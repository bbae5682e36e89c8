"""Runs one agent, counts its points, and at the one that was asked for lets happen what is to happen.

restart     SIGKILL to the agent alone, in the same boot; its module goes on running, stuck where it is
reset       SIGKILL to everything at once, and another boot; all that was written is there
lost, torn  the same with a power cut: see medium.py
shutdown    a person restarts the device: SIGTERM to the agent, then everything ends, and another boot
full        the disk is full for this one operation         full-on    ... and for the next two stores of the journal
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from tests.agent.crash.bench import Bench
from tests.agent.crash.driver import be_agent
from tests.agent.crash.medium import Medium
from tests.agent.crash.points import ASK, GO
from wainwright_common.messages import Offer

PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
BOOTS_MAX = 6  # in one segment: a rebooting update with a rebooting rollback, tried again, has fewer
ENDING_S = 30.0  # for a shell to start and to end, on a machine that is busy with others
SILENCE_S = 60.0  # without any point: something hangs
POWER = ("lost", "torn")
KILLS = ("restart", "reset", "lost", "torn", "shutdown")
DISK_FULL = ("full", "full-on")
STORE = "open journal.json.new"


_NUMBER = re.compile(r"processes/[0-9]+")


class Stuck(Exception):  # noqa: N818  a schedule that must not be
    """An agent hung, crashed by itself, or was started too often."""


@dataclass
class Fault:
    """What is to happen, and in front of what: the point of this name for the `nth` time, from 0."""

    what: str
    nth: int
    kind: str


@dataclass
class Trace:
    """The points that a segment has passed, from a start of the agent to a fault or the end."""

    points: list[str] = field(default_factory=list)
    faulted: bool = False
    boots: int = 0


class Conductor:
    """The world of one device. One segment at a time."""

    def __init__(self, bench: Bench, offer: Offer, spared: set[int]) -> None:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
        self._bench = bench
        self._offer = offer
        self._spared = spared
        self._full: Fault | None = None
        self._full_left = 0
        self._go = -1
        self._held: list[int] = []
        """Ways of runs that were killed: who is stuck there is to stay so, not to see an end."""

    def run(self, fault: Fault | None = None, *, full: Fault | None = None, is_deaf: bool = False) -> Trace:
        """Start the agent, and again after each reboot that it asks for; until the fault, or until it is done.

        Before it the disk may be `full`, which ends nothing.
        """
        trace = Trace()
        self._full, self._full_left = full, 0
        medium = Medium(self._bench.disk) if fault is not None and fault.kind in POWER else None
        try:
            while self._boot(trace, fault, medium, is_deaf=is_deaf) == "reboot":
                trace.boots += 1
                if trace.boots > BOOTS_MAX:
                    raise Stuck(f"more than {BOOTS_MAX} reboots")
        finally:
            if medium is not None:
                medium.close()
        return trace

    def end_all(self) -> None:
        """Kill everything that runs on the device, and wait until it is gone."""
        me = os.getpid()
        while children := _children(me) - self._spared:
            for pid in _descendants(me) - self._spared:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            for pid in children:  # with all its threads: a process that looks dead may still hold a lock
                os.waitpid(pid, 0)
        for fd in self._held:
            os.close(fd)
        self._held.clear()

    def left_running(self) -> set[int]:
        """Return what still runs on the device."""
        self._reap()
        return _descendants(os.getpid()) - self._spared

    def outlasting(self) -> set[int]:
        """Return what still runs on the device after ENDING_S.

        A program whose agent was killed before it was let through its gate ends by itself, when it reads an end there.
        """
        deadline = time.monotonic() + ENDING_S
        while (left := self.left_running()) and time.monotonic() < deadline:
            time.sleep(0.005)
        return left

    def _boot(self, trace: Trace, fault: Fault | None, medium: Medium | None, *, is_deaf: bool) -> str:
        """Be one run of the agent; say how it ended."""
        self._bench.fifos()
        ask = os.open(self._bench.root / ASK, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._go = os.open(self._bench.root / GO, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._held += [ask, self._go]
        agent = os.fork()
        if agent == 0:
            os.closerange(3, 1024)
            be_agent(self._bench, self._offer, tell_syncs=medium is not None, is_deaf=is_deaf)
        ended = os.pidfd_open(agent)
        try:
            for pid, what in self._asked(ask, ended):
                match what.partition(" ")[0]:
                    case "synced":
                        if medium is not None:
                            medium.synced(Path(what.partition(" ")[2]))
                        self._answer("go")
                    case "reboot":
                        self.end_all()
                        self._bench.boot()
                        return "reboot"
                    case _:
                        trace.points.append(_NUMBER.sub("processes/N", what))
                        is_here = fault is not None and _nth(trace.points) == (fault.what, fault.nth)
                        trace.faulted |= is_here
                        if not is_here or fault is None:
                            self._answer("full" if self._is_full(trace.points) else "go")
                        elif self._happen(fault, agent, pid, medium):
                            return "fault"
            return self._status(agent, trace, fault)
        finally:
            os.close(ended)

    def _asked(self, ask: int, ended: int) -> Iterator[tuple[int, str]]:
        """Yield who asks for what, until the agent has ended."""
        waiting = select.poll()
        waiting.register(ask, select.POLLIN)
        waiting.register(ended, select.POLLIN)
        while True:
            ready = waiting.poll(SILENCE_S * 1000)
            if not ready:
                raise Stuck(f"nothing has happened for {SILENCE_S:g} s")
            if any(fd == ask for fd, _ in ready):
                for line in os.read(ask, 4096).decode().splitlines():
                    pid, _, what = line.partition(" ")
                    yield int(pid), what
            else:
                return

    def _is_full(self, points: list[str]) -> bool:
        """Say whether the disk is full for what comes next."""
        if self._full is not None and _nth(points) == (self._full.what, self._full.nth):
            self._full_left = 2 if self._full.kind == "full-on" else 0
            return True
        is_full = self._full_left > 0 and points[-1] == STORE
        self._full_left -= is_full
        return is_full

    def _happen(self, fault: Fault, agent: int, pid: int, medium: Medium | None) -> bool:
        """Have a fault happen in place of an answer; say whether that ended the agent."""
        match fault.kind:
            case "shutdown":
                if pid == agent:
                    self._answer("stop")
                else:  # what the agent runs is not answered: the agent ends it
                    os.kill(agent, signal.SIGTERM)
                return False
            case "restart":
                os.kill(agent, signal.SIGKILL)
                os.waitpid(agent, 0)
            case _:
                self.end_all()
                if medium is not None:
                    medium.lose(torn=fault.kind == "torn")
                self._bench.boot()
        return True

    def _answer(self, word: str) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._go, 64)  # what somebody did not take who was ended while it waited
        os.write(self._go, f"{word}\n".encode())

    def _status(self, agent: int, trace: Trace, fault: Fault | None) -> str:
        """Say how an agent ended that was not killed; raises Stuck when it was not well."""
        status = os.waitstatus_to_exitcode(os.waitpid(agent, 0)[1])
        if status:
            raise Stuck(f"the agent ended with {status}: {self._last_words()}")
        if trace.faulted and fault is not None and fault.kind == "shutdown":
            self.end_all()
            self._bench.boot()
            return "fault"
        return "done"

    def _last_words(self) -> str:
        file = self._bench.root / "stderr"
        return file.read_text(errors="replace")[-1500:] if file.exists() else ""

    def _reap(self) -> None:
        """Take note of orphans that have ended."""
        for pid in _children(os.getpid()) - self._spared:
            os.waitpid(pid, os.WNOHANG)


def _nth(points: list[str]) -> tuple[str, int]:
    """Return the last point, and how often it had been there before."""
    return points[-1], points.count(points[-1]) - 1


def _children(pid: int) -> set[int]:
    """Return the children of a process, with those that wait to be reaped; each of its threads may have some."""
    found = set[int]()
    with contextlib.suppress(OSError):  # it has ended meanwhile
        for task in Path(f"/proc/{pid}/task").iterdir():
            found.update(map(int, (task / "children").read_text().split()))
    return found


def _is_dead(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[0] in "ZX"
    except OSError:
        return True


def _descendants(root: int) -> set[int]:
    """Return the processes below one that are not dead; orphans are below their subreaper."""
    below = _children(root)
    return {pid for pid in below if not _is_dead(pid)}.union(*map(_descendants, below))
