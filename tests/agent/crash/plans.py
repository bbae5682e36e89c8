"""Which schedules of crashes there are.

A plan is one way of an update, one kind of fault, and at which points it happens the first and the second time:

    all        every point
    steps      every point but those of the download's child, whose work is the same on each way
    stores     the operations of the journal on the disk
    effects    right after something has become visible: a store's rename, the controller's commit, a module's writing
    marks      before, in the middle and after each store of the journal; before and after each report, reboot and call
               of the module or a script; before and after each thing that the module writes
    none       not at all

The second fault is of the same kind; after a full disk it is a reset. Its points are counted from the first one on,
for they depend on it: each first fault has its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.agent.crash.bench import WAYS
from tests.agent.crash.conductor import DISK_FULL, KILLS

VISIBLE = (" renames", " ends", " fails")
BEFORE_OR_AFTER = (*VISIBLE, " begins", " writes", " reboot")
STORED = ("open journal.json.new", "replace journal.json", "fsync data")
TAKES_SPACE = ("open ", "write ", "link ", "replace ", "fsync ")
MAIN = ("success-rebooted", "verify-fails")


@dataclass(frozen=True)
class Plan:
    """Schedules of one kind."""

    way: str
    kind: str
    first: str
    second: str = "none"


def plans() -> list[Plan]:
    """Return all that `make test-long` runs."""
    every = [Plan("success", kind, "all") for kind in KILLS]
    every += [Plan(way, kind, "steps") for way in WAYS if way != "success" for kind in ("restart", "reset", "lost")]
    every += [Plan(way, kind, "steps") for way in MAIN for kind in ("torn", "shutdown")]
    every += [Plan(way, "lost", "effects", "effects") for way in MAIN]
    every += [Plan(way, kind, "marks", "marks") for way in MAIN for kind in ("restart", "reset")]
    every += [Plan(way, kind, "stores") for way in (*MAIN, "commit-fails") for kind in DISK_FULL]
    return [*every, Plan("success", "full", "stores", "effects")]


def places(points: Sequence[str], which: str) -> list[int]:
    """Return the points that a word of a plan means."""
    child = _in_download(points)
    # fmt: off
    means: dict[str, Callable[[int, str], bool]] = {
        "none":    lambda _, __: False,
        "all":     lambda _, __: True,
        "steps":   lambda at, _: at not in child,
        "stores":  lambda _, what: what.startswith(TAKES_SPACE) and (" journal.json" in what or what.endswith(" data")),
        "effects": lambda at, what: at not in child and is_effect(what),
        "marks":   lambda at, what: at not in child and is_mark(what),
    }
    # fmt: on
    return [at for at, what in enumerate(points) if means[which](at, what)]


def is_effect(what: str) -> bool:
    """Say whether something has just become visible."""
    return what.startswith("ack ") or what == "fsync data" or what.endswith(VISIBLE)


def is_mark(what: str) -> bool:
    """Say whether a store, a report or an effect begins or ends here."""
    return what in STORED or what.startswith(("report ", "ack ")) or what.endswith(BEFORE_OR_AFTER)


def _in_download(points: Sequence[str]) -> set[int]:
    """Return the points of the download's child: from its start to the next store of the agent."""
    inside, found = False, set()
    for at, what in enumerate(points):
        inside = (inside or what == "started download") and what != "open journal.json.new"
        if inside:
            found.add(at)
    return found
