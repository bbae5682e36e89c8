"""Who waits for his turn in a paced deployment: told to wait, woken when it comes, and not woken for nothing."""

from __future__ import annotations

from collections import Counter

import pytest
from msgspec import UNSET

from tests.controller.rollouts.world import Device, World
from wainwright_common.messages import Reply
from wainwright_controller import drip
from wainwright_controller.ticker import TICK_S

INTERVAL_S = 1800


def _fleet(world: World, number: int = 5) -> dict[str, Device]:
    return {f"d{n}": Device(world, f"d{n}").come() for n in range(number)}


def _woken(world: World) -> list[str]:
    """Return who was woken since the last call."""
    woken = [device_id for device_id, _ in world.sent]
    world.sent.clear()
    return woken


@pytest.mark.parametrize("pace", [{"per_minute": 60}, {"concurrency": 1}, {"per_minute": 60, "concurrency": 1}])
def test_who_waits_for_his_turn_asks_no_sooner_than_usual_and_is_woken(world: World, pace: dict[str, object]) -> None:
    devices = _fleet(world)
    world.create("os-2", all_devices=True, pace=pace)
    devices["d0"].check_in()

    ((_, reply),) = world.tell(("d4", devices["d4"].question()))

    assert isinstance(reply, Reply)
    assert (reply.check_in_after_s, reply.offer) == (INTERVAL_S, UNSET)
    _woken(world)
    devices["d0"].report("success")
    world.pass_time(1)
    assert len(_woken(world)) == 1


def _tick(world: World, devices: dict[str, Device], seconds: float, *, update: bool = False) -> Counter[str]:
    """Let time pass in steps of a tick; whoever is woken checks in, or updates, at once. Returns who was woken."""
    woken: Counter[str] = Counter()
    for _ in range(int(seconds / TICK_S)):
        world.pass_time(TICK_S)
        for device_id in _woken(world):
            woken[device_id] += 1
            if device_id in devices:
                devices[device_id].update() if update else devices[device_id].check_in()
    return woken


@pytest.mark.parametrize("older", [{"all_devices": True}, {"where": "device_type exists"}], ids=["static", "dynamic"])
def test_who_has_to_finish_an_older_deployment_is_not_woken_for_a_newer_one(
    world: World, older: dict[str, object]
) -> None:
    devices = _fleet(world)
    first = world.create("os-2", manual="all_devices" in older, **older)
    if "where" in older:
        world.operations.pause(first.id, "olga")
        for device in devices.values():
            device.check_in()
    second = world.create("os-1", all_devices=True, pace={"concurrency": 10}, force=True)
    _woken(world)

    assert _tick(world, devices, 10) == {}

    if "where" in older:
        world.operations.resume(first.id, "olga")
    else:
        world.operations.start(first.id, "olga")
    _tick(world, devices, 5, update=True)
    assert set(world.statuses(first.id).values()) == set(world.statuses(second.id).values()) == {"success"}


def test_who_does_not_answer_is_passed_over_and_woken_again_a_minute_later(world: World) -> None:
    _fleet(world, 5)
    world.create("os-2", all_devices=True, pace={"concurrency": 2})
    everybody = dict.fromkeys((f"d{n}" for n in range(5)), 1)

    assert _tick(world, {}, 50) == everybody
    assert _tick(world, {}, 20) == everybody


def test_who_has_another_attempt_is_woken_for_it_within_the_minute(world: World) -> None:
    devices = _fleet(world, 1)
    made = world.create("os-2", all_devices=True, retries=1, pace={"concurrency": 1})
    world.pass_time(TICK_S)
    assert _woken(world) == ["d0"]
    devices["d0"].update("failure", "download-failed")

    assert _tick(world, devices, 15, update=True) == {"d0": 1}
    assert world.statuses(made.id) == {"d0": "success"}


def test_who_was_woken_and_found_his_place_taken_is_woken_when_it_is_free(world: World) -> None:
    devices = _fleet(world, 2)
    world.create("os-2", all_devices=True, pace={"concurrency": 1})
    world.pass_time(TICK_S)
    assert _woken(world) == ["d0"]
    assert devices["d1"].check_in() is not None
    assert devices["d0"].check_in() is None
    assert _tick(world, devices, 5) == {}

    devices["d1"].report("success")

    assert _tick(world, devices, TICK_S) == {"d0": 1}


def test_why_tells_of_the_update_that_runs_though_an_older_deployment_has_come_to_concern_the_device(
    world: World,
) -> None:
    device = Device(world, "d0", site="south").come()
    world.create("os-2", where='inventory.site = "north"')
    world.release("os-3")
    newer = world.create("os-3", devices=["d0"])
    device.check_in()
    device.report("downloading")
    device.inventory = {"site": "north"}
    device.come()

    answer = world.operations.why("d0")

    assert (answer.code, answer.deployment_id) == ("in-progress", newer.id)


def test_those_behind_very_many_who_wait_for_something_older_have_their_turn(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drip, "LOOK_MAX", 2)
    devices = _fleet(world, 9)
    world.create("os-2", devices=[f"d{n}" for n in range(8)], manual=True)
    world.create("os-2", all_devices=True, pace={"concurrency": 1})
    _woken(world)

    assert _tick(world, devices, 5) == {"d8": 1}
