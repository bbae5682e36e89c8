"""The live view of a deployment: what a person must not miss is there, whatever the size of the terminal."""

from __future__ import annotations

import io
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from wainwright_controller.cli.bars import SIGNS, parts
from wainwright_controller.cli.render import LiveView

SIZES = [(80, 24), (100, 30), (120, 40), (40, 12)]


def state(active: int, phases: int, **counts: int) -> dict[str, Any]:
    """Return a state with its last phases closed; the counts are those of the second phase. It was made just now."""
    now = datetime.now(UTC).isoformat()
    made: list[dict[str, Any]] = [
        {"number": n, "size": 5, "counts": {"pending": 5}, "opens": "now", "delay_s": None}
        for n in range(1, phases + 1)
    ]
    made[0] |= {"counts": {"success": 5}, "opened_at": now, "done_at": now}
    made[1] |= {"counts": {"downloading": active, **counts}, "opened_at": now}
    made[1]["size"] = sum(made[1]["counts"].values())
    total: Counter[str] = Counter()
    for phase in made:
        total.update(phase["counts"])
    devices = [
        {"device_id": f"press-{n:03}", "status": "downloading", "attempt": 1, "progress": {"done": n, "total": 20}}
        for n in range(min(active, 20))
    ]
    return {
        "name": "panel-2 to all devices",
        "status": "inprogress",
        "summary": "5/50 successful",
        "created_at": now,
        "counts": dict(total),
        "phases": made,
        "active": devices,
        "failures": [
            {
                "code": "no-space",
                "text": "disk full " * 20,
                "devices": counts["failure"],
                "again": 0,
                "first": [f"press-{n}" for n in range(4, 9)],
            }
        ]
        if counts.get("failure")
        else [],
        "id": "0123456789ab",
        "allowed": ["promote", "resume"],
    }


def seen(view: LiveView, width: int, height: int) -> list[str]:
    """Return the rows of a terminal that shows the view."""
    out = io.StringIO()
    Console(file=out, width=width, height=height).print(view.drawn())
    return out.getvalue().splitlines()


def view_of(shown: dict[str, Any], width: int, height: int) -> LiveView:
    view = LiveView(Console(file=io.StringIO(), width=width, height=height))
    view.state(shown)
    return view


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("phases", [2, 4, 40])
def test_failures_and_the_hint_are_in_view_and_nothing_is_cut_off(width: int, height: int, phases: int) -> None:
    view = view_of(state(30, phases, failure=3), width, height)
    rows = seen(view, width, height)
    assert len(rows) < height
    assert all(len(row) <= width for row in rows)
    assert sum(row.startswith("3 failed: no-space: disk full disk") for row in rows) == 1
    assert rows[-1].startswith("Watching; Ctrl+C")
    assert any(row.startswith("phase 2 ") and "3 failed" in row for row in rows)


@pytest.mark.parametrize(("width", "height"), SIZES[:3])
def test_devices_under_way_have_the_room_that_is_left(width: int, height: int) -> None:
    rows = seen(view_of(state(30, 4), width, height), width, height)
    devices = [row for row in rows if row.startswith("  press-")]
    assert devices
    assert f"  and {30 - len(devices)} devices more under way" in [row.rstrip() for row in rows]
    assert len(rows) == min(height - 1, 1 + 4 + 20 + 1 + 1)


def test_all_that_did_not_get_the_release_are_counted() -> None:
    rows = seen(view_of(state(1, 3, noartifact=2, aborted=1), 80, 24), 80, 24)
    assert "2 not for it, 1 aborted, 0 succeeded, 1 under way" in " ".join(rows)
    assert "after phase 2" in rows[3]


def test_why_a_deployment_is_held_and_what_a_phase_waits_for_is_in_view() -> None:
    held = state(1, 3) | {"hold": "paused", "hold_reason": "6 failed of 60 (10 %), at most 5 % may"}
    held["phases"][2]["waits_for"] = "phase 2 to soak for another 8 min"
    rows = [row.rstrip() for row in seen(view_of(held, 80, 24), 80, 24)]
    assert "paused: 6 failed of 60 (10 %), at most 5 % may" in rows
    assert rows[3].endswith("waits for phase 2 to soak for another 8 min")
    assert rows[-2] == "To go on: wainwright deployment resume 01234567"
    held["phases"][2]["waits_for"] = "the deployment to be resumed"
    assert seen(view_of(held, 80, 24), 80, 24)[3].rstrip().endswith("after phase 2")


def test_equal_failures_are_told_once_however_many_devices_had_them() -> None:
    broken = state(0, 2, failure=12)
    rows = [row.rstrip() for row in seen(view_of(broken, 120, 30), 120, 30)]
    assert sum("no-space" in row for row in rows) == 1
    assert any("press-7, press-8 and 7 more)" in row for row in rows), rows
    broken["failures"][0] |= {"again": 1}
    assert any(row.startswith("12 failed, 1 tries again: no-space") for row in seen(view_of(broken, 120, 30), 120, 30))


def test_what_succeeded_failed_and_is_left_can_be_told_apart_without_colour() -> None:
    (row,) = [row for row in seen(view_of(state(6, 2, success=3, failure=3), 80, 24), 80, 24) if "phase 2" in row]
    done, failed, left = SIGNS
    assert done * 3 + failed * 3 + left * 6 in row
    out = io.StringIO()
    console = Console(file=io.TextIOWrapper(io.BytesIO(), encoding="ascii"), width=80, height=24)
    view = LiveView(console)
    view.state(state(6, 2, success=3, failure=3))
    Console(file=out, width=80).print(view.drawn())
    assert "===xxx------" in out.getvalue()


@pytest.mark.parametrize(
    ("good", "bad", "total", "cells"),
    [
        (0, 0, 200, (0, 0, 12)),
        (1, 0, 200, (1, 0, 11)),
        (199, 0, 200, (11, 0, 1)),
        (200, 0, 200, (12, 0, 0)),
        (97, 1, 200, (5, 1, 6)),
        (199, 1, 200, (11, 1, 0)),
        (1, 1, 3, (4, 4, 4)),
        (1, 1, 1000, (1, 1, 10)),
        (0, 0, 0, (12, 0, 0)),
    ],
)
def test_a_bar_shows_what_is_there_and_is_full_only_when_nothing_is_left(
    good: int, bad: int, total: int, cells: tuple[int, int, int]
) -> None:
    assert parts(good, bad, total, 12) == cells


def test_a_lost_controller_is_shown_until_it_is_found() -> None:
    view = view_of(state(1, 2), 80, 24)
    view.link(is_up=False)
    assert any("Lost the controller" in row for row in seen(view, 80, 24))
    view.link(is_up=True)
    assert not any("Lost the controller" in row for row in seen(view, 80, 24))


def test_the_clock_goes_on_when_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [100.0]
    monkeypatch.setattr("wainwright_controller.cli.render.time.monotonic", lambda: clock[0])
    view = view_of(state(1, 2), 100, 24)
    view.link(is_up=False)
    clock[0] += 7
    assert any("Lost the controller 7 s ago" in row for row in seen(view, 100, 24))
    assert re.search(r"created \d+ s ago$", seen(view, 100, 24)[0].rstrip())
    ended = state(1, 2) | {"status": "finished", "started_at": "2026-11-24T09:00:00Z", "outcome": "success"}
    view.state(ended | {"finished_at": "2026-11-24T09:04:00Z"})
    assert seen(view, 100, 24)[0].rstrip().endswith("success  5/50 successful  took 4 min")
