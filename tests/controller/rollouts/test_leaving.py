"""Devices that are decommissioned wherever they stand: nobody waits for them."""

from __future__ import annotations

import pytest

from tests.controller.rollouts.world import Device, World, fleet
from wainwright_common.statuses import Outcome
from wainwright_controller.records import DeviceState
from wainwright_controller.rows import MEMBER

UNDER_WAY = ["offered", "downloading", "installing", "rebooting", "retry-later"]


def _until(device: Device, stands: str) -> None:
    """Bring a device to where it is to stand in its deployment."""
    device.check_in()
    if stands == "retry-later":
        device.report("failure", "download-failed")
    elif stands != "offered":
        device.report(stands)


@pytest.mark.parametrize("stands", UNDER_WAY)
def test_a_device_is_decommissioned_wherever_it_stands_and_nobody_waits_for_it(world: World, stands: str) -> None:
    devices = fleet(world, "d0", "d1", "d2")
    limit = {"count": 0, "action": "abort"}
    made = world.create("os-2", all_devices=True, retries=1, limits=[limit], phases=[{"count": 2}, {"opens": "after"}])
    devices[1].update()
    _until(devices[0], stands)
    assert world.parts(made.id)["d0"].finished_at is None

    assert world.operations.decommission("d0", "olga")

    assert world.statuses(made.id) == {"d0": "decommissioned", "d1": "success", "d2": "pending"}
    part = world.parts(made.id)["d0"]
    assert (part.next_attempt_at, part.deadline_at, part.finished_at) == (None, None, world.now)
    if devices[0].offer is not None:
        assert devices[0].report("success").verdict == "decommissioned"
    assert devices[0].update() == "not-accepted"
    assert devices[2].update() == "os-2"  # its phase has opened, and no limit counts the other one
    ended = world.deployment(made.id)
    assert (ended.outcome, world.statuses(made.id)["d0"]) == (Outcome.PARTIAL, "decommissioned")


@pytest.mark.parametrize("status", ["success", "failure", "already-installed"])
def test_what_a_device_has_finished_stays_what_it_was_when_it_is_decommissioned(world: World, status: str) -> None:
    (device,) = fleet(world, "d0")
    device.runs = "os-2" if status == "already-installed" else "os-1"
    made = world.create("os-2", all_devices=True)
    device.update(status, "no-space") if status != "already-installed" else device.check_in()

    world.operations.decommission("d0", "olga")

    assert world.statuses(made.id) == {"d0": status}
    assert world.operations.decommission("d0", "olga") is False  # it was so already


@pytest.mark.parametrize("state", list(DeviceState))
def test_a_device_is_decommissioned_from_every_state(world: World, state: DeviceState) -> None:
    (device,) = fleet(world, "d0")
    world.operations.create_group("line", ["d0"], "olga")
    if state is DeviceState.DECOMMISSIONED:
        world.operations.decommission("d0", "olga")
    else:
        world.operations.decide_devices(["d0"], state, "olga")
    dynamic = world.create("os-2", where="device_id exists")

    assert world.operations.decommission("d0", "olga") is (state is not DeviceState.DECOMMISSIONED)

    assert device.update() == "not-accepted"
    assert world.operations.why("d0").text == "The device was decommissioned."
    assert world.parts(dynamic.id) == {}
    with world.store.read() as connection:
        assert connection.execute(MEMBER.select()).all() == []
