"""What is fuzzed, and what must hold for every input: the bounds that are the same for all targets."""

from __future__ import annotations

import resource
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

SECONDS_MAX = 1.0  # processor time of one input, all threads together: a machine that is busy otherwise does not count
MEMORY_MAX = 512 * 2**20  # bytes of address space that a run may take beyond its start
TEXT_MAX = 1000  # characters of what an error says: it goes into logs, one line each


@dataclass(frozen=True, slots=True)
class Target:
    """Something that takes bytes from strangers.

    `check` runs one input and returns in a few words what came of it; it raises what must not happen. `mutate` makes an
    input of another, from a seed for random numbers. `seeds` are the inputs to begin with, by name.
    """

    name: str
    check: Callable[[bytes], str]
    mutate: Callable[[bytes, int, int], bytes]
    seeds: Callable[[], Mapping[str, bytes]]
    size_max: int
    """Bytes of the largest input."""


class BrokenOracleError(AssertionError):
    """An input did what no input may do."""


@dataclass(slots=True)
class Watch:
    """Runs inputs of one target within the bounds, and counts what came of them."""

    target: Target
    outcomes: Counter[str] = field(default_factory=Counter)
    """How many inputs had an outcome, by its first word."""
    inputs: int = 0
    slowest_s: float = 0.0
    """Processor time of the slowest input."""
    slowest_wall_s: float = 0.0

    def run(self, data: bytes) -> str:
        """Run one input and return its outcome; raises what the target raises, and BrokenOracleError."""
        began, began_wall = time.process_time(), time.perf_counter()
        outcome = self.target.check(data)
        took_s = time.process_time() - began
        self.slowest_wall_s = max(self.slowest_wall_s, time.perf_counter() - began_wall)
        self.slowest_s = max(self.slowest_s, took_s)
        if took_s > SECONDS_MAX:
            raise BrokenOracleError(f"an input of {len(data)} bytes took {took_s:.2f} s of processor time")
        self.inputs += 1
        self.outcomes[outcome.partition(" ")[0]] += 1
        return outcome


def bound_memory(extra: int = MEMORY_MAX) -> None:
    """Let this process take so many bytes of address space beyond what it has: who asks for more gets MemoryError."""
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123  not a file of anybody
        used = int(statm.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (used + extra, hard))


def peak_memory() -> int:
    """Return the most memory that this process has had at once, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def check_text(text: str) -> None:
    """Raise BrokenOracleError unless an error's text is one line that any log and terminal can take."""
    if not text.isprintable():
        raise BrokenOracleError(f"an error's text is not printable: {text[:200]!r}")
    if len(text) > TEXT_MAX:
        raise BrokenOracleError(f"an error's text has {len(text)} characters: {text[:200]!r}")
