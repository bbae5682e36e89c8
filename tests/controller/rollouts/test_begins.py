"""Whom a dynamic deployment wakes when it begins, whatever it has waited for: everybody who may join it."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.controller.rollouts.world import Device, World
from wainwright_controller.records import Deployment

NORTH = 'inventory.site = "north"'
LATER_S = 100.0
Do = Callable[[World, Deployment], object]


def _fleet(world: World) -> list[Device]:
    devices = [Device(world, f"n{n}", site="north").come() for n in range(3)]
    Device(world, "s0", site="south").come()
    return devices


def _woken(world: World) -> list[str]:
    woken = sorted(device_id for device_id, _ in world.sent)
    world.sent.clear()
    return woken


def _nothing(_world: World, _made: Deployment) -> None:
    pass


def _approve(world: World, made: Deployment) -> None:
    world.operations.approve(made.id, "anton")


def _start(world: World, made: Deployment) -> None:
    world.operations.start(made.id, "olga")


def _pause(world: World, made: Deployment) -> None:
    world.operations.pause(made.id, "olga")


def _resume(world: World, made: Deployment) -> None:
    world.operations.resume(made.id, "olga")


AT = {"opens": "at", "opens_at": 1_000_000.0 + LATER_S}
AFTER = {"opens": "after", "delay_s": LATER_S}


@pytest.mark.parametrize(
    ("order", "first", "then"),
    [
        ({}, None, _nothing),
        ({"phases": [AT]}, _nothing, _nothing),
        ({"phases": [AFTER]}, _nothing, _nothing),
        ({"phases": [{"count": 1} | AT, {"opens": "approval"}]}, _nothing, _nothing),
        ({"manual": True}, _nothing, _start),
        ({"approval": True}, _nothing, _approve),
        ({"approval": True, "phases": [AT]}, _nothing, _approve),
        ({"approval": True, "phases": [AT]}, _approve, _nothing),
        ({"phases": [AT]}, _pause, _resume),
        ({"phases": [AT], "pace": {"per_minute": 60}}, _nothing, _nothing),
    ],
    ids=[
        "now",
        "at its time",
        "after a delay",
        "at its time, in two phases",
        "by a start",
        "by an approval",
        "by an approval after its time",
        "at its time after an approval",
        "by a resume after its time",
        "at its time, paced",
    ],
)
def test_everybody_who_may_join_is_woken_once_when_a_dynamic_deployment_begins(
    world: World, order: dict[str, object], first: Do | None, then: Do
) -> None:
    devices = _fleet(world)
    world.sent.clear()
    made = world.create("os-2", where=NORTH, **order)
    if first is not None:
        first(world, made)
        assert _woken(world) == []
        world.pass_time(LATER_S)
        then(world, made)

    assert _woken(world) == ["n0", "n1", "n2"]
    assert devices[0].update() == "os-2"


def test_who_has_not_joined_yet_is_woken_when_a_dynamic_deployment_goes_on(world: World) -> None:
    devices = _fleet(world)
    made = world.create("os-2", where=NORTH, phases=[{"count": 1}, {"opens": "approval"}])
    assert devices[0].update() == "os-2"
    world.operations.pause(made.id, "olga")
    assert devices[1].update() == "paused"
    world.sent.clear()

    world.operations.resume(made.id, "olga")

    assert _woken(world) == ["n2"]  # n1 is in a phase that is closed, n0 has finished


def test_a_phase_that_opens_later_wakes_only_who_is_in_it(world: World) -> None:
    devices = _fleet(world)
    made = world.create("os-2", where=NORTH, phases=[{"count": 1}, {"opens": "approval"}])
    assert [d.update() for d in devices[:2]] == ["os-2", "phase-closed"]
    world.sent.clear()

    world.operations.promote(made.id, "olga")

    assert _woken(world) == ["n1"]
