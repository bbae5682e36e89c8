"""Rollbacks on a virtual clock: whom they concern, what they bring back, and that they end."""

from __future__ import annotations

import pytest

from tests.controller.rollouts.world import FIVE, NOBODY, World, fleet
from tests.support.sqlite_steps import steps_of
from wainwright_common.messages import CommandName
from wainwright_common.statuses import DeploymentStatus, Outcome
from wainwright_controller.api.deployments import PartFilters, parts_listed
from wainwright_controller.records import DeviceState
from wainwright_controller.rules.actions import Act, Refused


def test_a_rollback_brings_back_what_ran_before_also_where_a_device_was_offline(world: World) -> None:
    devices = fleet(world)
    made = world.create("os-2", all_devices=True, retries=0)
    assert [d.update() for d in devices[:2]] == ["os-2", "os-2"]
    devices[1].presence(online=False)
    devices[2].check_in()
    world.sent.clear()

    undone = world.operations.rollback(made.id, "olga", "screens stay dark")

    assert (undone.status, undone.rollback_id is not None) == (DeploymentStatus.INPROGRESS, True)
    assert ("d2", CommandName.ABORT) in world.sent
    assert world.statuses(made.id) == {"d0": "success", "d1": "success"} | dict.fromkeys(FIVE[2:], "aborted")
    rollback = world.deployment(undone.rollback_id or "")
    assert sorted(world.parts(rollback.id)) == ["d0", "d1", "d2"]
    assert devices[0].update() == "restore os-1"
    assert devices[2].update() == "already-installed"
    assert world.deployment(made.id).outcome is None
    devices[1].presence()
    assert devices[1].update() == "restore os-1"
    assert [d.runs for d in devices] == ["os-1"] * 5
    assert world.deployment(rollback.id).outcome is Outcome.SUCCESS
    assert world.deployment(made.id).outcome is Outcome.ROLLED_BACK


def test_a_device_that_commits_while_the_rollback_begins_is_restored_as_well(world: World) -> None:
    (device,) = fleet(world, "d0")
    made = world.create("os-2", all_devices=True)
    device.check_in()
    device.report("installing")
    world.operations.rollback(made.id, "olga")

    assert device.report("success").verdict == "aborted"
    assert device.update() == "restore os-1"
    assert world.deployment(made.id).outcome is Outcome.ROLLED_BACK


@pytest.mark.parametrize("ended_by", ["an abort", "a time limit"])
def test_a_device_whose_part_was_ended_for_it_is_restored_if_it_had_committed(world: World, ended_by: str) -> None:
    committed, old, failed = fleet(world, "d0", "d1", "d2")
    made = world.create("os-2", all_devices=True, retries=0, time_limits={"attempt_s": 3600})
    for device in (committed, old):
        device.check_in()
        device.report("installing")
    failed.update("failure")
    if ended_by == "an abort":
        world.operations.abort(made.id, "olga")
    else:
        world.pass_time(4000)
    assert committed.report("success").verdict != "accepted"
    world.pass_time(1)
    assert old.check_in() is None  # it has stopped, and says what it runs

    undone = world.operations.rollback(made.id, "olga")

    assert sorted(world.parts(undone.rollback_id or "")) == ["d0"]
    assert committed.update() == "restore os-1"
    assert world.deployment(made.id).outcome is Outcome.ROLLED_BACK


def test_a_device_that_committed_an_attempt_that_had_timed_out_is_restored(world: World) -> None:
    (device,) = fleet(world, "d0")
    made = world.create("os-2", all_devices=True, retries=1, time_limits={"attempt_s": 3600})
    device.check_in()
    device.report("installing")
    world.pass_time(4000)
    assert device.report("success").verdict == "stale"
    world.pass_time(7200)
    assert device.update() == "already-installed"

    world.operations.rollback(made.id, "olga")

    assert device.update() == "restore os-1"


def test_a_rollback_says_from_the_start_who_cannot_be_restored(world: World) -> None:
    devices = fleet(world, "d0", "d1")
    devices[1].runs = "os-lost"
    made = world.create("os-2", all_devices=True)
    for device in devices:
        device.update()

    plan = world.operations.plan_rollback(made.id)
    assert (plan.devices, plan.restored, plan.releases) == (2, 1, {"os-1": 1})
    assert [(r.device_id, r.release) for r in plan.not_restored] == [("d1", "os-lost")]
    undone = world.operations.rollback(made.id, "olga")
    parts = world.parts(undone.rollback_id or "")
    assert (parts["d1"].status, parts["d1"].substate) == ("noartifact", plan.not_restored[0].obstacle)
    with pytest.raises(Refused) as refused:
        world.operations.rollback(undone.rollback_id or "", "olga")
    assert refused.value.code == "is-a-rollback"


def test_a_rollback_waits_for_nobody_who_has_left_the_fleet_since(world: World) -> None:
    devices = fleet(world, "d0", "d1", "d2")
    made = world.create("os-2", all_devices=True)
    for device in devices:
        device.update()
    world.operations.decommission("d1", "olga")
    world.operations.decide_devices(["d2"], DeviceState.REJECTED, "olga")

    undone = world.operations.rollback(made.id, "olga")
    parts = world.parts(undone.rollback_id or "")
    assert sorted(parts) == ["d0", "d2"]
    assert parts["d2"].status == "noartifact"
    assert "rejected" in parts["d2"].substate
    devices[0].update()
    assert world.deployment(undone.rollback_id or "").status is DeploymentStatus.FINISHED
    assert world.deployment(made.id).outcome is Outcome.ROLLED_BACK


def test_what_has_ended_without_bringing_anything_to_a_device_has_not_started_and_is_not_rolled_back(
    world: World,
) -> None:
    fleet(world, "d0")
    made = world.create("os-2", all_devices=True, approval=True)
    denied = world.operations.deny(made.id, "anton")

    assert (denied.outcome, denied.started_at) == (Outcome.ABORTED, None)
    for do in (lambda: world.operations.plan_rollback(made.id), lambda: world.operations.rollback(made.id, "olga")):
        with pytest.raises(Refused) as refused:
            do()
        assert refused.value.code == "nothing-to-roll-back"
    assert world.deployment(made.id) == denied
    assert world.shown(made.id).allowed == [Act.DELETE]


def test_a_rollback_is_possible_of_what_was_aborted_while_a_device_was_under_way(world: World) -> None:
    (device,) = fleet(world, "d0")
    made = world.create("os-2", all_devices=True)
    device.check_in()

    aborted = world.operations.abort(made.id, "olga")

    assert aborted.outcome is Outcome.ABORTED
    assert Act.ROLLBACK in world.shown(made.id).allowed
    assert world.operations.rollback(made.id, "olga").rollback_id is not None


def test_what_nobody_has_and_nobody_is_to_try_again_is_not_offered(world: World) -> None:
    gone, failed = fleet(world, "d0", "d1")
    made = world.create("os-2", devices=["d0", "d1"])
    gone.update("failure", "no-space")
    failed.update("failure", "no-space")
    assert world.shown(made.id).allowed == [Act.RETRY, Act.DELETE]

    for device in (gone, failed):
        world.operations.decommission(device.id, "anton")

    shown = world.shown(made.id)
    assert shown.allowed == [Act.DELETE]
    assert shown.refused is not None
    assert (shown.refused[Act.RETRY].code, shown.refused[Act.ROLLBACK].code) == (
        "nothing-to-retry",
        "nothing-to-roll-back",
    )
    assert "still in the fleet" in shown.refused[Act.RETRY].text


def test_a_rollback_that_is_aborted_lets_its_deployment_end_as_well(world: World) -> None:
    devices = fleet(world, "d0", "d1")
    made = world.create("os-2", all_devices=True)
    devices[0].update()
    undone = world.operations.rollback(made.id, "olga")

    world.operations.abort(undone.rollback_id or "", "olga")

    ended = world.deployment(made.id)
    assert (ended.status, ended.outcome) == (DeploymentStatus.FINISHED, Outcome.PARTIAL)


def test_a_rollback_that_left_devices_behind_is_followed_by_another_one_to_those(world: World) -> None:
    back, failed, aborted, lost, newer = devices = fleet(world)
    lost.runs = "os-0"
    lost.check_in()
    world.release("os-3")
    made = world.create("os-2", all_devices=True)
    for device in devices:
        device.update()
    first = world.operations.rollback(made.id, "olga").rollback_id or ""
    assert Act.ROLLBACK not in world.shown(made.id).allowed
    assert back.update() == "restore os-1"
    assert failed.update("failure", "no-space") == "restore os-1"
    world.operations.abort(first, "olga")
    world.create("os-3", devices=[newer.id])
    assert newer.update() == "os-3"
    world.pass_time(1)
    for device in devices:
        device.check_in()

    assert Act.ROLLBACK in world.shown(made.id).allowed
    assert world.operations.plan_rollback(made.id).restored == 2
    again = world.operations.rollback(made.id, "olga", "the disks were cleared").rollback_id or ""

    assert sorted(world.parts(again)) == [failed.id, aborted.id]
    assert world.shown(made.id).margo_state == "removing"
    assert [d.update() for d in (failed, aborted)] == ["restore os-1"] * 2
    ended = world.deployment(made.id)
    assert (ended.outcome, ended.rollback_id) == (Outcome.ROLLED_BACK, again)
    assert world.margo_states(made.id) == {d.id: "removed" for d in (back, failed, aborted)} | {
        lost.id: "installed",
        newer.id: "installed",
    }
    with pytest.raises(Refused) as refused:
        world.operations.rollback(made.id, "olga")
    assert refused.value.code == "rolled-back"
    world.release("os-0")
    assert sorted(world.parts(world.operations.rollback(made.id, "olga").rollback_id or "")) == [lost.id]
    assert lost.update() == "restore os-0"


def test_too_many_failures_roll_a_deployment_back_by_themselves(world: World) -> None:
    devices = fleet(world)
    limit = {"percent": 25, "min_sample": 3, "action": "rollback"}
    made = world.create("os-2", all_devices=True, limits=[limit])
    devices[0].update()
    devices[1].update()

    devices[2].update("failure", "no-space")

    assert world.deployment(made.id).rollback_id is not None
    assert [d.update() for d in devices] == ["restore os-1", "restore os-1", *[NOBODY] * 3]
    assert world.deployment(made.id).outcome is Outcome.ROLLED_BACK


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_piece_of_the_list_of_devices_costs_no_more_when_the_deployment_was_rolled_back(world: World) -> None:
    """A page shows 25 of perhaps 100,000: of the others nobody asks what became of them."""
    devices = fleet(world, *(f"d{n:02}" for n in range(40)))
    made = world.create("os-2", all_devices=True)
    for device in devices:
        device.update()

    def cost() -> int:
        with world.store.read() as connection:
            return steps_of(connection, lambda: parts_listed(connection, made.id, PartFilters(), 2, None))

    before = cost()
    world.operations.rollback(made.id, "olga")
    assert [device.update() for device in devices] == ["restore os-1"] * 40

    assert set(world.margo_states(made.id).values()) == {"removed"}
    assert cost() < 1.2 * before
