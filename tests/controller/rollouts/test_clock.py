"""A clock that was wrong and is set right: what was written by the wrong one stops nothing."""

from __future__ import annotations

import pytest
from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import func, insert, select

from tests.controller.rollouts.world import Device, World
from wainwright_common.statuses import Hold
from wainwright_controller import migrations
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.records import Event
from wainwright_controller.rows import EVENT, to_row
from wainwright_controller.ticker import TIDY_EVERY_S, Ticker
from wainwright_controller.timeline import Keep

YEAR_S = 365 * 86_400.0
HOUR_S = 3600.0
KEEP = Keep(age_s=1e9, lines_max=1_000_000)


def _fleet(world: World) -> list[Device]:
    return [Device(world, f"d{n}").come() for n in range(4)]


@pytest.mark.parametrize("pace", [{"per_minute": 60}, {"per_minute": 6, "factor": 2, "every": 1}, {"per_minute": 0.5}])
def test_offers_go_on_when_a_clock_that_was_ahead_is_set_back(world: World, pace: dict[str, object]) -> None:
    devices = _fleet(world)
    world.create("os-2", all_devices=True, pace=pace)
    world.set_clock(YEAR_S)
    assert devices[0].update() == "os-2"
    world.set_clock(-YEAR_S)

    assert devices[1].update() == "os-2"
    assert devices[2].update() == "rate-limited"
    world.pass_time(120)
    assert devices[2].update() == "os-2"


@pytest.mark.parametrize("back_s", [HOUR_S, YEAR_S])
@pytest.mark.parametrize("code", ["no-space", "regressed"])
def test_a_limit_on_codes_sees_what_fails_after_a_resume_and_a_clock_set_back(
    world: World, code: str, back_s: float
) -> None:
    devices = _fleet(world)
    made = world.create("os-2", all_devices=True, limits=[{"count": 0, "codes": [code]}])

    def fail(device: Device) -> None:
        if code == "no-space":
            assert device.update("failure", "no-space") == "os-2"
        else:
            assert device.update() == "os-2"
            device.check_in()
            device.runs = "os-1"
            device.check_in()

    fail(devices[0])
    assert world.deployment(made.id).hold is Hold.PAUSED
    world.operations.resume(made.id, "olga")
    world.set_clock(-back_s)
    assert devices[1].update("failure", "install-failed") == "os-2"
    assert world.deployment(made.id).hold is None  # what was acknowledged stays so, and other codes do not count

    fail(devices[2])

    held = world.deployment(made.id)
    words = f"1 failed with {code} since it was resumed, at most 0 may"
    assert (held.hold, held.hold_reason) == (Hold.PAUSED, words)


def test_a_phase_that_has_recovered_is_seen_when_the_clock_was_set_back(world: World) -> None:
    devices = _fleet(world)
    made = world.create("os-2", all_devices=True, phases=[{"count": 1, "soak_s": 600}, {}])
    devices[0].update()
    devices[0].check_in()
    devices[0].presence(online=False)
    world.pass_time(601)
    world.set_clock(HOUR_S)
    world.set_clock(-HOUR_S + 10)
    assert world.deployment(made.id).hold is Hold.AWAITING_PROMOTION
    devices[0].presence()

    world.pass_time(6)

    assert devices[1].update() == "os-2"


@pytest.mark.parametrize("restarted", [False, True])
def test_what_began_by_a_clock_that_was_ahead_begins_anew_when_it_is_set_back(world: World, *, restarted: bool) -> None:
    failing, silent, canary, last = _fleet(world)
    plan = [{"count": 1, "soak_s": 600}, {}]
    world.create("os-2", devices=["d0"], retries=1)
    silenced = world.create("os-2", devices=["d1"], in_progress_timeout_s=HOUR_S)
    world.create("os-2", devices=["d2", "d3"], phases=plan)
    world.set_clock(YEAR_S)
    assert failing.update("failure") == "os-2"
    assert silent.check_in()
    silent.report("downloading")
    assert canary.update() == "os-2"
    canary.check_in()

    if restarted:
        world.now -= YEAR_S
        world.ticker = Ticker(world.store, world.waker, Bulletin(), KEEP, clock=lambda: world.now)
        world.pass_time(0)
    else:
        world.set_clock(-YEAR_S)
    canary.presence()
    world.pass_time(601)

    assert failing.update() == "os-2"
    assert last.update() == "os-2"
    assert world.statuses(silenced.id) == {"d1": "downloading"}
    world.pass_time(HOUR_S)
    assert world.statuses(silenced.id) == {"d1": "failure"}


def test_timelines_are_tidied_after_the_clock_was_set_back(world: World) -> None:
    def lines() -> int:
        with world.store.read() as connection:
            return connection.execute(select(func.count()).where(EVENT.c.text == "old")).scalar_one()

    def tidy() -> None:
        while world.ticker.tidy():
            pass

    world.ticker._keep = Keep(age_s=HOUR_S, lines_max=1_000_000)
    world.set_clock(YEAR_S)
    tidy()
    world.set_clock(-YEAR_S)
    with world.store.write() as connection:
        old = Event(at=world.now - 2 * HOUR_S, kind="device", text="old", actor="device", device_id="d0")
        connection.execute(insert(EVENT), to_row(old))

    tidy()

    assert lines() == 0
    with world.store.write() as connection:
        connection.execute(insert(EVENT), to_row(old))
    tidy()
    assert lines() == 1  # it looks once an hour
    world.pass_time(TIDY_EVERY_S)
    tidy()
    assert lines() == 0


def test_when_a_device_was_heard_last_is_written_after_the_clock_was_set_back(world: World) -> None:
    assert world.traffic.is_seen_due("d0", world.now + YEAR_S)
    assert world.traffic.is_seen_due("d0", world.now)
    assert not world.traffic.is_seen_due("d0", world.now + 1)


def test_what_was_acknowledged_by_the_clock_of_a_former_version_stays_so(world: World) -> None:
    devices = _fleet(world)
    limits = [{"count": 1, "codes": ["no-space", "regressed"]}]
    made = world.create("os-2", all_devices=True, limits=limits)
    devices[0].update("failure", "no-space")
    devices[1].update()
    devices[1].check_in()
    devices[1].runs = "os-1"
    devices[1].check_in()
    world.operations.resume(made.id, "olga")
    world.pass_time(1)
    devices[2].update("failure", "no-space")
    before = world.deployment(made.id).seen_codes
    config = AlembicConfig()
    config.set_main_option("script_location", migrations.__path__[0])

    with world.store.write() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0007")
        command.upgrade(config, "0008")

    assert world.deployment(made.id).seen_codes == before == {"no-space": 1, "regressed": 1}
