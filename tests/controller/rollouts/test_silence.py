"""Who is given up because it says nothing: devices that could be heard, and only they."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.controller.rollouts.world import Device, World
from wainwright_common.messages import CheckIn, Running
from wainwright_common.statuses import DeviceStatus, Outcome
from wainwright_controller.hearing import Need
from wainwright_controller.records import Deployment
from wainwright_controller.rules.timeouts import ANEW_MAX_S, GRACE_S

SILENCE_S = 15.0
DAY_S = 86_400.0


def _under_way(world: World, silence_s: float = SILENCE_S, **order: object) -> tuple[list[Device], Deployment]:
    devices = [Device(world, f"d{n}").come() for n in range(3)]
    limit = {"count": 0, "action": "rollback"}
    made = world.create("os-2", all_devices=True, in_progress_timeout_s=silence_s, limits=[limit], **order)
    for device in devices:
        device.check_in()
        device.report("downloading")
    return devices, made


def _lose(world: World, need: Need, seconds: float) -> None:
    world.hearing.lost(need)
    for _ in range(int(seconds)):
        world.pass_time(1)
    world.hearing.found(need)


@pytest.mark.parametrize("what", ["the controller", "the broker", "the store"])
def test_reports_that_wait_for_who_was_away_are_taken_before_silence_is_counted(world: World, what: str) -> None:
    devices, made = _under_way(world)
    match what:
        case "the controller":
            world.set_clock(25)
        case "the broker":
            _lose(world, Need.BROKER, 25)
        case _:
            _lose(world, Need.STORE, 25)
    world.pass_time(0.5)

    assert [d.report("success").verdict for d in devices] == ["accepted"] * 3
    assert world.deployment(made.id).outcome is Outcome.SUCCESS


def test_who_is_silent_after_a_break_as_well_is_given_up(world: World) -> None:
    devices, made = _under_way(world, retries=1)
    world.set_clock(25)
    assert devices[0].report("installing").verdict == "accepted"
    world.pass_time(SILENCE_S - 1)
    assert set(world.statuses(made.id).values()) == {"installing", "downloading"}
    world.pass_time(1)
    assert {p.error_code for p in world.parts(made.id).values()} == {"timeout", None}  # the first has been heard since

    world.pass_time(GRACE_S)

    assert {p.error_code for p in world.parts(made.id).values()} == {"timeout"}


def test_a_controller_that_restarts_every_day_finds_silence_all_the_same(world: World) -> None:
    _, made = _under_way(world, DAY_S)
    world.set_clock(DAY_S)
    world.pass_time(ANEW_MAX_S + GRACE_S - 1)
    assert set(world.statuses(made.id).values()) == {"downloading"}

    world.pass_time(1)

    assert world.deployment(made.id).rollback_id is not None


@pytest.mark.parametrize("limit", ["attempt_s", "downloading_s"])
def test_a_clock_that_is_set_forward_ends_no_attempt(world: World, limit: str) -> None:
    devices, made = _under_way(world, DAY_S, time_limits={limit: 7200})

    world.set_clock(25 * 3600)
    world.pass_time(60)

    assert [d.report("success").verdict for d in devices] == ["accepted"] * 3
    assert world.deployment(made.id).outcome is Outcome.SUCCESS


def test_a_device_that_checks_in_with_its_attempt_is_not_silent(world: World) -> None:
    devices, made = _under_way(world, 3600, retries=1)

    def question(device: Device, attempt: int) -> CheckIn:
        running = Running(deployment_id=made.id, attempt=attempt, status=DeviceStatus.DOWNLOADING)
        return replace(device.question(), running=running)

    for _ in range(7):
        world.pass_time(600)
        world.tell((devices[0].id, question(devices[0], 1)), (devices[1].id, question(devices[1], 2)))

    assert world.parts(made.id)["d0"].error_code is None
    assert {world.parts(made.id)[i].error_code for i in ("d1", "d2")} == {"timeout"}
