"""How a deployment went over time: the devices that had finished by each moment, as a picture."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Integer, cast, func, select

from wainwright_common.statuses import GOOD
from wainwright_controller.rows import PART

STEPS = 60  # of the time that a deployment took so far; a screen shows no more
WIDTH, HEIGHT = 600, 120  # of the picture's own units


class Curve(NamedTuple):
    """Areas of devices that have it, and of all that finished, as paths; times are seconds since the epoch."""

    good: str
    all: str
    marks: Sequence[tuple[int, float]]
    begin: float
    end: float
    sentence: str


def curve_of(
    connection: Connection,
    deployment_id: str,
    span: tuple[float, float],
    device_count: int,
    opened: Sequence[tuple[int, float]],
) -> Curve | None:
    """Return the curve within a span of time; `opened` are phases and when they opened. None while nobody finished."""
    begin, end = span
    width_s = max((end - begin) / STEPS, 0.001)
    place = (PART.c.finished_at - begin) / width_s
    # SQLite has no floor(), and its cast cuts; PostgreSQL's cast rounds.
    step = cast(place, Integer) if connection.dialect.name == "sqlite" else cast(func.floor(place), Integer)
    query = (
        select(step.label("step"), PART.c.status, func.count().label("n"))
        .where(PART.c.deployment_id == deployment_id, PART.c.finished_at.is_not(None))
        .group_by("step", PART.c.status)
    )
    good: Counter[int] = Counter()
    everyone: Counter[int] = Counter()
    for row in connection.execute(query):
        at = min(max(row.step, 0), STEPS - 1)
        everyone[at] += row.n
        if row.status in GOOD:
            good[at] += row.n
    if not everyone:
        return None
    total = max(device_count, everyone.total(), 1)
    return Curve(
        good=_area(good, total),
        all=_area(everyone, total),
        marks=[(number, round(WIDTH * (at - begin) / (STEPS * width_s), 1)) for number, at in opened],
        begin=begin,
        end=end,
        sentence=f"{everyone.total()} of {total} devices have finished, {good.total()} of them with the release",
    )


def _area(counted: Counter[int], total: int) -> str:
    """Return the path of an area under a line that rises by what is counted at each step."""
    points, reached = [f"M0 {HEIGHT}"], 0
    for at in range(STEPS):
        reached += counted[at]
        points.append(f"L{round(WIDTH * (at + 1) / STEPS, 1)} {round(HEIGHT * (1 - reached / total), 2)}")
    return "".join([*points, f"L{WIDTH} {HEIGHT}Z"])
