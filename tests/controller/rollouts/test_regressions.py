"""Devices that fall back after their success, and what is none of that."""

from __future__ import annotations

import pytest

from tests.controller.rollouts.world import World, fleet
from wainwright_common.statuses import Hold


def test_a_device_that_falls_back_is_a_regression_and_counts(world: World) -> None:
    devices = fleet(world)
    made = world.create("os-2", all_devices=True, limits=[{"count": 0}])
    devices[0].update()
    devices[0].check_in()
    devices[0].runs = "os-1"

    devices[0].check_in()

    held = world.deployment(made.id)
    assert (held.regressed, held.hold) == (1, Hold.PAUSED)
    part = world.parts(made.id)["d0"]
    assert (part.status, part.regressed_at) == ("success", world.now)


def test_a_device_that_falls_back_before_it_has_checked_in_again_is_a_regression(world: World) -> None:
    device, _ = fleet(world, "d0", "d1")
    made = world.create("os-2", all_devices=True, limits=[{"count": 0}])
    device.update()
    device.runs = "os-1"  # a boot loop, and the watchdog's fallback, right after the commit

    device.check_in()

    held = world.deployment(made.id)
    assert (held.regressed, held.hold) == (1, Hold.PAUSED)


def test_a_device_that_falls_back_while_another_update_runs_is_a_regression(world: World) -> None:
    (device,) = fleet(world, "d0")
    made = world.create("os-2", all_devices=True)
    device.update()
    device.check_in()
    world.release("os-3")
    newer = world.create("os-3", all_devices=True)
    device.check_in()
    device.report("downloading")
    device.runs = "os-1"
    device.check_in()

    device.report("failure")
    device.check_in()

    assert (world.deployment(made.id).regressed, world.deployment(newer.id).regressed) == (1, 0)


@pytest.mark.parametrize("retries", [0, 1])
@pytest.mark.parametrize("ended", ["too late", "in a mix"])
def test_what_a_newer_update_has_left_is_no_regression_of_the_one_before(
    world: World, ended: str, retries: int
) -> None:
    (device,) = fleet(world, "d0")
    made = world.create("os-2", all_devices=True)
    device.update()
    device.check_in()
    world.release("os-3")
    world.create("os-3", all_devices=True, time_limits={"attempt_s": 60}, retries=retries)
    device.check_in()
    device.report("downloading")
    world.pass_time(70)
    device.runs = "os-3" if ended == "too late" else "os-3_INCONSISTENT"

    device.check_in()

    assert world.deployment(made.id).regressed == 0


@pytest.mark.parametrize("undone", [False, True], ids=["by the next deployment", "by a rollback"])
def test_a_release_that_is_replaced_is_no_regression_though_report_and_check_in_come_at_once(
    world: World, *, undone: bool
) -> None:
    (device,) = fleet(world, "d0")
    made = world.create("os-2", all_devices=True, limits=[{"count": 0}])
    device.update()
    device.check_in()
    if undone:
        world.operations.rollback(made.id, "olga")
    else:
        world.create("os-1", all_devices=True)
    device.check_in()
    assert device.offer is not None
    report = device.says("success")
    device.runs = device.offer.artifact.name

    world.tell((device.id, report), (device.id, device.question()))

    assert device.runs == "os-1"
    assert world.deployment(made.id).regressed == 0
    assert world.parts(made.id)["d0"].regressed_at is None
