"""Who waits for his turn in a paced deployment: told to wait, woken when it comes, and not woken for nothing."""

from __future__ import annotations

import pytest
from msgspec import UNSET

from tests.controller.rollouts.world import Device, World
from wainwright_common.messages import Reply

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
