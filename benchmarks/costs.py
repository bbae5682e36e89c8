"""What a command costs: its time by the clock, the processors' time, and the memory of its whole tree of processes.

Time and memory are measured in separate runs: to look at memory every few milliseconds takes a processor's time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

LOOK_S = 0.01  # between two looks at the memory of a tree
PYTHON_FILES = tuple({str(Path(prefix).resolve()) for prefix in (sys.prefix, sys.base_prefix)})


class CommandError(Exception):
    """A command has failed; the text has its last words."""


class Cost(NamedTuple):
    """What a command took, its children included."""

    wall_s: float
    cpu_s: float


class Memory(NamedTuple):
    """What processes have in memory, in bytes.

    `alone` is the PSS that they would have were no other Python running here: of the files of this Python, which this
    benchmark and a controller map as well, they bear all and not a share.
    """

    rss: int
    pss: int
    alone: int


@dataclass(frozen=True)
class Command:
    """What is run: arguments, and what is added to the environment."""

    argv: Sequence[str]
    env: Mapping[str, str]
    cwd: Path
    output: Path

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, with its output in a file."""
        with self.output.open("wb") as output:
            return subprocess.Popen(
                self.argv,
                cwd=self.cwd,
                env={**environment(), **self.env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def check(self, status: int) -> None:
        """Raise CommandError unless the status is 0."""
        if status:
            words = self.output.read_text(encoding="utf-8", errors="replace")[-2000:]
            raise CommandError(f"{' '.join(self.argv)} ended with status {status}:\n{words}")


def environment() -> dict[str, str]:
    """Return this environment without what makes Python start slower than on a device, and without settings of ours."""
    return {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WAINWRIGHT_"))}


def cost_of(command: Command) -> Cost:
    """Run a command to its end; returns what it and all that it waited for has taken. Raises CommandError."""
    began = time.perf_counter()
    process = command.start()
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - began
    process.returncode = os.waitstatus_to_exitcode(status)  # so that nobody waits for it again
    command.check(process.returncode)
    return Cost(wall_s, usage.ru_utime + usage.ru_stime)


def memory_of(command: Command) -> Memory:
    """Run a command to its end; returns the most that its tree had in memory at one time. Raises CommandError."""
    process = command.start()
    peak = Memory(0, 0, 0)
    while process.poll() is None:
        now = memory(tree(process.pid))
        peak = Memory(*map(max, zip(peak, now, strict=True)))
        time.sleep(LOOK_S)
    command.check(process.returncode)
    return peak


def tree(pid: int) -> list[int]:
    """Return a process and all below it."""
    found = [pid]
    for parent in found:
        try:
            tasks = list(Path(f"/proc/{parent}/task").iterdir())
            found += [int(child) for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]
        except OSError:
            continue  # it has ended meanwhile
    return found


def memory(pids: Iterable[int]) -> Memory:
    """Return what processes have in memory together. Of a file of Python that several map, the largest part counts."""
    rss = pss = alone = 0
    python: defaultdict[str, int] = defaultdict(int)
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps").read_text(encoding="utf-8", errors="replace")
        except OSError:
            continue  # it has ended meanwhile
        own: defaultdict[str, int] = defaultdict(int)
        for file, resident, share in _mappings(text):
            rss, pss = rss + resident, pss + share
            if file.startswith(PYTHON_FILES):
                own[file] += resident
            else:
                alone += share
        for file, resident in own.items():
            python[file] = max(python[file], resident)
    return Memory(rss, pss, alone + sum(python.values()))


def _mappings(smaps: str) -> Iterable[tuple[str, int, int]]:
    """Return file, resident bytes and proportional share of each mapping in /proc/PID/smaps (proc(5))."""
    file, resident = "", 0
    for line in smaps.splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            file = words[5] if len(words) > 5 else ""
        elif words[0] == "Rss:":
            resident = int(words[1]) * 1024
        elif words[0] == "Pss:":
            yield file, resident, int(words[1]) * 1024


def processor_s(pid: int) -> float:
    """Return the seconds that a process has computed so far, in all its threads, those that have ended included."""
    # clock_getcpuclockid(3) makes the number of a process's clock so, which Python does not offer.
    return time.clock_gettime(~pid << 3 | 2)
