"""The live view of a deployment: what a person must not miss is there, whatever the size of the terminal."""

from __future__ import annotations

import io
from collections import Counter
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from wainwright_controller.cli.render import LiveView

SIZES = [(80, 24), (100, 30), (120, 40), (40, 12)]
NOW = datetime.now(UTC).isoformat()


def state(active: int, phases: int, **counts: int) -> dict[str, Any]:
    """Return a state with its last phases closed; the counts are those of the second phase."""
    made: list[dict[str, Any]] = [
        {"number": n, "size": 5, "counts": {"pending": 5}, "opens": "now", "delay_s": None}
        for n in range(1, phases + 1)
    ]
    made[0] |= {"counts": {"success": 5}, "opened_at": NOW, "done_at": NOW}
    made[1] |= {"counts": {"downloading": active, **counts}, "opened_at": NOW}
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
        "created_at": NOW,
        "counts": dict(total),
        "phases": made,
        "active": devices,
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
    for number in range(9):
        text = f"failure (no-space: {'disk full ' * 20})"
        view.line({"at": NOW, "deployment_id": "0123456789", "device_id": f"press-{number}", "text": text})
    rows = seen(view, width, height)
    assert len(rows) < height
    assert all(len(row) <= width for row in rows)
    assert sum("press-8: " in row for row in rows) == 1
    assert rows[-1].startswith("Watching; Ctrl+C")
    assert any(row.startswith("phase 2 ") and "3 failed" in row for row in rows)


@pytest.mark.parametrize(("width", "height"), SIZES[:3])
def test_devices_under_way_have_the_room_that_is_left(width: int, height: int) -> None:
    rows = seen(view_of(state(30, 4), width, height), width, height)
    devices = [row for row in rows if row.startswith("  press-")]
    assert devices
    assert f"  and {30 - len(devices)} devices more" in [row.rstrip() for row in rows]
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
    assert "watched 0 s" in seen(view, 100, 24)[0]
    clock[0] += 7
    assert "watched 7 s" in seen(view, 100, 24)[0]
