"""The phases of a deployment, from what an operator writes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from wainwright_controller.cli.plan import BadOption, Plan, phase_of, plan_of

Json = dict[str, Any]
AT = datetime(2030, 5, 1, 20, 0, tzinfo=UTC)
STAMP = "2030-05-01T20:00:00Z"


def plan(
    *,
    strategy: str | None = None,
    canary: str | None = None,
    batch: str | None = None,
    phases: tuple[str, ...] = (),
    at: datetime | None = None,
    devices: int = 120,
) -> Plan:
    return plan_of(strategy=strategy, canary=canary, batch=batch, phases=phases, at=at, device_count=lambda: devices)


PHASES: list[tuple[str, Json]] = [
    ("10%", {"percent": 10.0}),
    ("2.5%", {"percent": 2.5}),
    ("5", {"count": 5}),
    ("rest", {}),
    ("100%", {}),
    ("5?", {"count": 5, "opens": "approval"}),
    ("rest?", {"opens": "approval"}),
    ("10%+1h30m", {"percent": 10.0, "opens": "after", "delay_s": 5400.0}),
    ("rest+90", {"opens": "after", "delay_s": 90.0}),
    ("10%@2030-05-01T20:00Z", {"percent": 10.0, "opens": "at", "opens_at": STAMP}),
    ("10%@2030-05-01T22:00+02:00", {"percent": 10.0, "opens": "at", "opens_at": STAMP}),
]


@pytest.mark.parametrize(("text", "phase"), PHASES)
def test_a_phase_is_a_size_and_what_opens_it(text: str, phase: Json) -> None:
    assert phase_of(text) == phase


@pytest.mark.parametrize(
    "text", ["", "ten", "0", "0%", "101%", "-1", "5??", "5+", "5+soon", "5@", "5@noon", "%", "5 6"]
)
def test_what_is_no_phase_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(BadOption, match=r"write|at least|more than"):
        phase_of(text)


ASK = {"opens": "approval"}
QUARTER: Json = {"percent": 25.0}
PLANS: list[tuple[Json, Plan]] = [
    ({}, Plan("immediate", [{}])),
    ({"strategy": "immediate"}, Plan("immediate", [{}])),
    ({"at": AT}, Plan("immediate", [{"opens": "at", "opens_at": STAMP}])),
    ({"strategy": "canary"}, Plan("canary", [{"percent": 10.0}, ASK])),
    ({"canary": "3"}, Plan("canary", [{"count": 3}, ASK])),
    ({"canary": "5%", "strategy": "canary"}, Plan("canary", [{"percent": 5.0}, ASK])),
    ({"canary": "5%+1h"}, Plan("canary", [{"percent": 5.0}, {"opens": "after", "delay_s": 3600.0}])),
    ({"strategy": "rolling"}, Plan("rolling", [QUARTER, QUARTER, QUARTER, {}])),
    ({"batch": "25%?"}, Plan("rolling", [QUARTER, QUARTER | ASK, QUARTER | ASK, ASK])),
    ({"batch": "40%"}, Plan("rolling", [{"percent": 40.0}, {"percent": 40.0}, {}])),
    ({"batch": "50"}, Plan("rolling", [{"count": 50}, {"count": 50}, {}])),
    ({"batch": "200"}, Plan("rolling", [{}])),
    ({"phases": ("1", "10%+1h", "100%")}, Plan("phased", [{"count": 1}, phase_of("10%+1h"), {}])),
    ({"phases": ("rest?",)}, Plan("phased", [ASK])),
    ({"phases": ("1", "4"), "at": AT}, Plan("phased", [{"count": 1, "opens": "at", "opens_at": STAMP}, {"count": 4}])),
]


@pytest.mark.parametrize(("options", "expected"), PLANS)
def test_options_make_a_plan(options: Json, expected: Plan) -> None:
    assert plan(**options) == expected


CONTRADICTIONS: list[tuple[Json, str]] = [
    ({"canary": "10%", "batch": "25%"}, "give one"),
    ({"canary": "10%", "phases": ("1", "rest")}, "give one"),
    ({"strategy": "rolling", "canary": "10%"}, "give one"),
    ({"strategy": "immediate", "phases": ("1", "rest")}, "give one"),
    ({"phases": ("1?", "rest"), "at": AT}, "--at"),
    ({"phases": ("10%",)}, "would go to all devices"),
    ({"phases": ("5",)}, "would go to all devices"),
    ({"phases": ("rest", "5")}, "only the last"),
    ({"canary": "100%"}, "a part of the devices"),
    ({"batch": "rest"}, "a part of the devices"),
    ({"batch": "0.5%"}, "100 is the limit"),
    ({"batch": "1", "devices": 101}, "100 is the limit"),
    ({"batch": "10%@2030-05-01T20:00Z"}, "--at"),
]


@pytest.mark.parametrize(("options", "said"), CONTRADICTIONS)
def test_options_that_contradict_each_other_are_refused(options: Json, said: str) -> None:
    with pytest.raises(BadOption, match=said):
        plan(**options)
