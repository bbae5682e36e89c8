"""Which devices belong to which phase, and when a phase opens.

1. Sizes are counts or percents of all devices, percents rounded up; the last phase takes the rest. Who belongs to which
   phase is fixed when the deployment is made, in the order of the targets. In a dynamic deployment the sizes are
   capacities, filled in the order of arrival; percents are of `max_devices`, or of the devices that match at first.
2. A phase is *done* when nobody can join it any more and all its devices have finished; an empty one is done as soon as
   it is open.
3. The first phase opens when its own condition holds. A later one opens when the one before is done, has soaked, is
   healthy then, and its own condition holds. The exception is `at`: it opens at its time whether or not the one before
   is done, as operators of time-phased rollouts expect, but never before the one before has opened.
4. A phase that has devices, of which none has the release, has shown nothing, with or without a soak: it is not
   healthy. What else is asked of its health after a soak is in gates.py.
5. `approval` opens when a person says so, and a person may open any later phase before its turn.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Annotated

import msgspec
from msgspec.structs import replace

from wainwright_common.errors import WainwrightError
from wainwright_common.statuses import GOOD, IN_PROGRESS
from wainwright_controller.records import Opens, Phase, Tally
from wainwright_controller.rules.spans import span

PAST_MAX_S = 300.0  # what passed while the plan was filled in and looked at is meant; a time of last year is not
PHASES_MAX = 100  # more than a person can follow; bounds a plan that arrives from outside


class BadPlan(WainwrightError):  # noqa: N818  the name is the sentence: "refused: bad plan"
    """A plan cannot be carried out as written."""


class PhaseSpec(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One phase of a plan as an operator writes it; without `count` and `percent` it takes the rest."""

    count: Annotated[int, msgspec.Meta(ge=1)] | None = None
    percent: Annotated[float, msgspec.Meta(gt=0, le=100)] | None = None
    opens: Opens = Opens.NOW
    opens_at: float | None = None
    delay_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    soak_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0


def sizes(specs: Sequence[PhaseSpec], devices: int) -> list[int]:
    """Return how many devices each phase gets; their sum is `devices`."""
    left, result = devices, []
    for spec in specs[:-1]:
        wanted = spec.count if spec.count is not None else _part(spec, devices)
        size = min(left, wanted)
        left -= size
        result.append(size)
    return [*result, left]


def check(specs: Sequence[PhaseSpec], now: float) -> None:
    """Raise BadPlan, naming the phase, when a plan that is made `now` cannot be carried out."""
    if not 1 <= len(specs) <= PHASES_MAX:
        raise BadPlan(f"A plan has 1 to {PHASES_MAX} phases, this one has {len(specs)}.")
    for number, spec in enumerate(specs, 1):
        is_last = number == len(specs)
        if spec.count is not None and spec.percent is not None:
            raise BadPlan(f"Phase {number} has both a count and a percent: give one.")
        if not is_last and spec.count is None and spec.percent is None:
            raise BadPlan(f"Phase {number} has no size: only the last phase takes the rest.")
        if spec.opens is Opens.AT and spec.opens_at is None:
            raise BadPlan(f"Phase {number} opens at a time, but has none: give the time.")
        if spec.opens is Opens.AT and spec.opens_at is not None and spec.opens_at < now - PAST_MAX_S:
            ago = span(now - spec.opens_at)
            raise BadPlan(f"Phase {number} opens at a time that was {ago} ago: is its year, or its zone, right?")
        if is_last and spec.soak_s:
            raise BadPlan(f"Phase {number} is the last, so nothing opens after its soak: leave its soak out.")
    percents = sum(spec.percent or 0 for spec in specs)
    if percents > 100 + 1e-9:
        raise BadPlan(f"The phases add up to {percents:g} %: at most 100 % can be reached.")


def capacities(specs: Sequence[PhaseSpec], devices: int) -> list[int | None]:
    """Return how many devices may join each phase of a dynamic deployment, `devices` being what percents are of.

    A percent makes room for one device at least; the last phase takes all that come.
    """
    wanted = [s.count if s.count is not None else max(1, _part(s, devices)) for s in specs[:-1]]
    return [*wanted, None]


def _part(spec: PhaseSpec, devices: int) -> int:
    return math.ceil(devices * (spec.percent or 0) / 100 - 1e-9)


def lay_out(
    deployment_id: str, specs: Sequence[PhaseSpec], devices: int, now: float, *, is_dynamic: bool = False
) -> list[Phase]:
    """Return the phases of a new deployment, none of them open yet; `now` is when it is made.

    A delay of the first phase is counted from `now`, because there is no phase before it.
    """
    first = specs[0]
    if first.opens is Opens.AFTER:
        specs = [replace(first, opens=Opens.AT, opens_at=now + first.delay_s, delay_s=0.0), *specs[1:]]
    rooms = capacities(specs, devices) if is_dynamic else [None] * len(specs)
    counts = [0] * len(specs) if is_dynamic else sizes(specs, devices)
    return [
        Phase(
            deployment_id=deployment_id,
            number=number,
            size=size,
            capacity=room,
            opens=spec.opens,
            opens_at=spec.opens_at,
            delay_s=spec.delay_s,
            soak_s=spec.soak_s,
        )
        for number, (spec, size, room) in enumerate(zip(specs, counts, rooms, strict=True), 1)
    ]


def unfinished(tally: Tally, number: int) -> int:
    """Return how many devices of a phase have not finished."""
    return sum(n for (phase, status), n in tally.items() if phase == number and status in IN_PROGRESS)


def shown_nothing(tally: Tally, number: int) -> str:
    """Return, as an ailment, that none of the devices of a phase has the release; empty when one has, or none is there.

    A device that had the release already counts: it shows what the release does as well as any.
    """
    there = {status: n for (phase, status), n in tally.items() if phase == number and n}
    return "" if there.keys() & GOOD else none_of(sum(there.values()))


def none_of(devices: int) -> str:
    """Return the ailment of a phase of which so many devices were to have the release, and none has it."""
    match devices:
        case 0:
            return ""
        case 1:
            return "its only device does not have the release"
        case _:
            return f"none of its {devices} devices has the release"


def due_at(phase: Phase, before: Phase | None) -> float | None:
    """Return when a closed phase opens by itself, as far as known now; None when it waits for something else."""
    if phase.opens is Opens.APPROVAL or (before is not None and before.opened_at is None):
        return None
    if phase.opens is Opens.AT:
        return phase.opens_at
    if before is None:
        return 0.0
    return None if before.done_at is None else before.done_at + before.soak_s + phase.delay_s


def awaits_approval(phase: Phase, before: Phase | None, now: float) -> bool:
    """Say whether a closed phase waits for nothing but a person."""
    if phase.opened_at is not None or phase.opens is not Opens.APPROVAL:
        return False
    return before is None or (before.done_at is not None and before.done_at + before.soak_s <= now)


def is_full(phase: Phase, *, grows: bool) -> bool:
    """Say whether no device can join a phase any more; `grows` says that the deployment takes devices still."""
    return not grows or (phase.capacity is not None and phase.size >= phase.capacity)


def judged(phases: Sequence[Phase], now: float) -> Phase | None:
    """Return the phase whose health decides now whether the next one opens, or None."""
    for before, phase in itertools.pairwise(phases):
        if phase.opened_at is None:
            due = due_at(phase, before)
            return before if phase.opens is not Opens.AT and due is not None and due <= now else None
    return None


def advance(
    phases: Sequence[Phase], tally: Tally, now: float, *, ailment: str = "", grows: bool = False
) -> list[Phase]:
    """Return the phases with every one opened, and marked as done, whose turn has come.

    `ailment` says what is wrong with the `judged` phase, empty when it is healthy; `grows` is as in `is_full`.
    """
    sick = judged(phases, now) if ailment else None
    result: list[Phase] = []
    for phase in phases:
        before = result[-1] if result else None
        current = replace(phase, ailment="") if phase.ailment else phase
        due = due_at(current, before) if current.opened_at is None else None
        if due is not None and due <= now:
            ill = ""
            if before is not None and current.opens is not Opens.AT:
                is_sick = sick is not None and sick.number == before.number
                ill = (ailment if is_sick else "") or shown_nothing(tally, before.number)
                result[-1] = replace(before, ailment=ill)
            if not ill:
                current = replace(current, opened_at=now)
        is_done = is_full(current, grows=grows) and not unfinished(tally, current.number)
        if current.opened_at is not None and current.done_at is None and is_done:
            current = replace(current, done_at=now)
        result.append(current)
    return result


def not_after(phase: Phase, now: float) -> Phase:
    """Return a phase that was done no later than `now`; the same object when it was not."""
    return phase if phase.done_at is None or phase.done_at <= now else replace(phase, done_at=now)


def next_due_at(phases: Sequence[Phase]) -> float | None:
    """Return the earliest time at which `advance` may open a phase without anything else happening."""
    dues = [
        due
        for before, phase in zip([None, *phases], phases, strict=False)
        if phase.opened_at is None and (due := due_at(phase, before)) is not None
    ]
    return min(dues, default=None)


def waits_for(phases: Sequence[Phase], number: int, now: float) -> str:
    """Return, as a clause, what a closed phase waits for; empty when it is open."""
    phase = phases[number - 1]
    if phase.opened_at is not None:
        return ""
    before = phases[number - 2] if number > 1 else None
    if before is not None and before.opened_at is None:
        return f"phase {before.number} to open"
    if phase.opens is Opens.AT and phase.opens_at is not None:
        return f"its time, in {span(phase.opens_at - now)}"
    if before is not None and before.done_at is None:
        return f"phase {before.number} to finish"
    if before is not None and before.done_at is not None and before.done_at + before.soak_s > now:
        return f"phase {before.number} to soak for another {span(before.done_at + before.soak_s - now)}"
    if before is not None and before.ailment:
        return f"phase {before.number} to be healthy: {before.ailment}"
    if phase.opens is Opens.APPROVAL:
        return "a start by a person" if before is None else "a promotion by a person"
    due = due_at(phase, before)
    return f"its delay, {span((due or now) - now)} more"
