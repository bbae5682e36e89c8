"""What an operator's plan and actions do to devices, step by step on a virtual clock."""

from __future__ import annotations

import pytest

from tests.controller.rollouts.world import Device, World
from wainwright_common.messages import CommandName
from wainwright_common.statuses import DeploymentStatus, Hold, Outcome
from wainwright_controller.records import DeviceState, Kind
from wainwright_controller.rows import MEMBER
from wainwright_controller.rules.actions import Act, Refused
from wainwright_controller.rules.gates import BadLimit
from wainwright_controller.rules.phases import BadPlan

FIVE = [f"d{i}" for i in range(5)]
NOBODY = "no-deployment"


def _fleet(world: World, *ids: str) -> list[Device]:
    return [Device(world, i).come() for i in ids or FIVE]


def test_a_pause_makes_no_offers_and_a_resume_wakes_those_that_wait(world: World) -> None:
    devices = _fleet(world)
    made = world.create("os-2", all_devices=True)
    assert devices[0].update() == "os-2"
    world.operations.pause(made.id, "olga", "the line is running")

    assert devices[1].update() == "paused"
    world.sent.clear()
    world.operations.resume(made.id, "olga")

    assert sorted(world.sent) == [(i, CommandName.CHECK_IN) for i in FIVE[1:]]
    assert [d.update() for d in devices[1:]] == ["os-2"] * 4
    assert world.deployment(made.id).outcome is Outcome.SUCCESS


def test_more_failures_than_the_limit_pause_a_rollout_and_a_resume_acknowledges_them(world: World) -> None:
    devices = _fleet(world)
    made = world.create("os-2", all_devices=True, limits=[{"count": 1}])
    assert [d.update("failure", "no-space") for d in devices[:2]] == ["os-2", "os-2"]

    held = world.deployment(made.id)
    assert (held.hold, held.hold_reason) == (Hold.PAUSED, "2 failed, at most 1 may")
    assert devices[2].update() == "paused"
    world.operations.resume(made.id, "olga")
    assert devices[2].update("failure", "no-space") == "os-2"
    assert world.deployment(made.id).hold is None
    assert devices[3].update("failure", "no-space") == "os-2"
    again = world.deployment(made.id)
    assert (again.hold, again.hold_reason) == (Hold.PAUSED, "2 failed since it was resumed, at most 1 may")


def test_a_limit_may_be_about_some_error_codes_only(world: World) -> None:
    devices = _fleet(world)
    limit = {"count": 0, "codes": ["verification-failed"], "action": "abort"}
    made = world.create("os-2", all_devices=True, limits=[limit])
    devices[0].update("failure", "no-space")
    assert world.deployment(made.id).status is DeploymentStatus.INPROGRESS

    devices[1].update("failure", "verification-failed")

    assert world.deployment(made.id).outcome is Outcome.ABORTED
    assert world.statuses(made.id)["d2"] == "aborted"


def test_a_rollback_brings_back_what_ran_before_also_where_a_device_was_offline(world: World) -> None:
    devices = _fleet(world)
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
    (device,) = _fleet(world, "d0")
    made = world.create("os-2", all_devices=True)
    device.check_in()
    device.report("installing")
    world.operations.rollback(made.id, "olga")

    assert device.report("success").verdict == "aborted"
    assert device.update() == "restore os-1"
    assert world.deployment(made.id).outcome is Outcome.ROLLED_BACK


@pytest.mark.parametrize("ended_by", ["an abort", "a time limit"])
def test_a_device_whose_part_was_ended_for_it_is_restored_if_it_had_committed(world: World, ended_by: str) -> None:
    committed, old, failed = _fleet(world, "d0", "d1", "d2")
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
    (device,) = _fleet(world, "d0")
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
    devices = _fleet(world, "d0", "d1")
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
    devices = _fleet(world, "d0", "d1", "d2")
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
    _fleet(world, "d0")
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
    (device,) = _fleet(world, "d0")
    made = world.create("os-2", all_devices=True)
    device.check_in()

    aborted = world.operations.abort(made.id, "olga")

    assert aborted.outcome is Outcome.ABORTED
    assert Act.ROLLBACK in world.shown(made.id).allowed
    assert world.operations.rollback(made.id, "olga").rollback_id is not None


def test_what_nobody_has_and_nobody_is_to_try_again_is_not_offered(world: World) -> None:
    gone, failed = _fleet(world, "d0", "d1")
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
    devices = _fleet(world, "d0", "d1")
    made = world.create("os-2", all_devices=True)
    devices[0].update()
    undone = world.operations.rollback(made.id, "olga")

    world.operations.abort(undone.rollback_id or "", "olga")

    ended = world.deployment(made.id)
    assert (ended.status, ended.outcome) == (DeploymentStatus.FINISHED, Outcome.PARTIAL)


def test_a_rollback_that_left_devices_behind_is_followed_by_another_one_to_those(world: World) -> None:
    back, failed, aborted, lost, newer = devices = _fleet(world)
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
    devices = _fleet(world)
    limit = {"percent": 25, "min_sample": 3, "action": "rollback"}
    made = world.create("os-2", all_devices=True, limits=[limit])
    devices[0].update()
    devices[1].update()

    devices[2].update("failure", "no-space")

    assert world.deployment(made.id).rollback_id is not None
    assert [d.update() for d in devices] == ["restore os-1", "restore os-1", *[NOBODY] * 3]
    assert world.deployment(made.id).outcome is Outcome.ROLLED_BACK


def test_devices_join_a_dynamic_deployment_as_they_match_up_to_its_largest_number(world: World) -> None:
    north = [Device(world, f"n{i}", site="north").come() for i in range(2)]
    south = Device(world, "s0", site="south").come()
    world.sent.clear()
    made = world.create("os-2", where='inventory.site = "north"', max_devices=3)
    assert (made.kind, made.device_count) == (Kind.DYNAMIC, 0)
    assert world.sent == [("n0", CommandName.CHECK_IN), ("n1", CommandName.CHECK_IN)]

    assert [d.update() for d in north] == ["os-2", "os-2"]
    assert south.update() == NOBODY
    assert world.deployment(made.id).status is DeploymentStatus.INPROGRESS
    world.sent.clear()
    late = [Device(world, f"n{i}", site="north").come() for i in (2, 3)]
    assert ("n2", CommandName.CHECK_IN) in world.sent
    assert [d.update() for d in late] == ["os-2", NOBODY]
    over = world.deployment(made.id)
    assert (over.device_count, over.outcome) == (3, Outcome.SUCCESS)


def test_late_joiners_of_a_dynamic_deployment_pass_the_same_gates(world: World) -> None:
    devices = [Device(world, f"n{i}", site="north").come() for i in range(4)]
    plan = [{"count": 1}, {"opens": "approval"}]
    made = world.create("os-2", where='inventory.site = "north"', phases=plan)
    assert [d.update() for d in devices] == ["os-2", *["phase-closed"] * 3]
    assert world.deployment(made.id).hold is Hold.AWAITING_PROMOTION

    world.operations.promote(made.id, "olga")

    assert [d.update() for d in devices[1:]] == ["os-2"] * 3
    assert Device(world, "n9", site="north").come().update() == "os-2"
    ended = world.operations.finish(made.id, "olga")
    assert ended.outcome is Outcome.SUCCESS


def test_a_device_between_two_attempts_has_failed_when_its_deployment_is_finished(world: World) -> None:
    devices = _fleet(world, "d0", "d1", "d2")
    made = world.create("os-2", where="device_type exists", retries=3)
    devices[0].update()
    for device in devices[1:]:
        device.update("failure", "download-failed")
    world.operations.pause(made.id, "olga")
    Device(world, "d3").come()  # joins, and does not begin

    ended = world.operations.finish(made.id, "olga")

    assert world.statuses(made.id) == {"d0": "success", "d1": "failure", "d2": "failure", "d3": "aborted"}
    assert (ended.outcome, ended.status) == (Outcome.PARTIAL, DeploymentStatus.FINISHED)
    part = world.parts(made.id)["d1"]
    assert (part.error_code, part.attempt, part.next_attempt_at, part.finished_at) == (
        "download-failed",
        2,
        None,
        world.now,
    )
    told = [line.text for line in world.lines(made.id) if line.device_id == "d1"]
    assert told[-1] == "failure (download-failed: as the test wants)"
    assert world.shown(made.id).allowed == [Act.RETRY, Act.ROLLBACK, Act.DELETE]


def test_a_limit_counts_the_devices_that_a_finish_lets_go_between_two_attempts(world: World) -> None:
    devices = _fleet(world, "d0", "d1")
    limits = [{"count": 0, "action": "rollback"}]
    made = world.create("os-2", where="device_type exists", retries=3, limits=limits)
    devices[0].update()
    devices[1].update("failure", "download-failed")

    world.operations.finish(made.id, "olga")

    assert world.statuses(made.id) == {"d0": "success", "d1": "failure"}
    assert devices[0].update() == "restore os-1"
    assert world.deployment(made.id).outcome is Outcome.ROLLED_BACK


def test_a_deployment_that_is_finished_before_any_device_got_it_is_aborted(world: World) -> None:
    devices = _fleet(world, "d0", "d1", "d2")
    made = world.create("os-2", where="device_type exists", phases=[{"count": 1}, {"opens": "approval"}])
    world.operations.pause(made.id, "olga")
    assert [d.update() for d in devices] == ["paused"] * 3

    ended = world.operations.finish(made.id, "olga")

    assert (world.statuses(made.id), ended.outcome) == (dict.fromkeys(["d0", "d1", "d2"], "aborted"), Outcome.ABORTED)


def test_a_constant_rate_is_kept_and_devices_are_woken_as_their_turn_comes(world: World) -> None:
    devices = {d.id: d for d in _fleet(world)}
    world.sent.clear()
    world.create("os-2", all_devices=True, pace={"per_minute": 60})
    offered = []
    for second in range(7):
        woken = {device_id for device_id, _ in world.sent}
        world.sent.clear()
        offered += [second for i in sorted(woken) if devices[i].check_in() is not None]
        world.pass_time(1)

    assert offered == [1, 2, 3, 4, 5]


def test_no_more_devices_are_under_way_than_the_pace_allows(world: World) -> None:
    devices = _fleet(world)
    world.create("os-2", all_devices=True, pace={"concurrency": 2})
    assert [d.check_in() is not None for d in devices] == [True, True, False, False, False]

    devices[0].report("success")

    assert [d.check_in() is not None for d in devices[1:]] == [True, True, False, False]


def test_a_device_that_falls_back_is_a_regression_and_counts(world: World) -> None:
    devices = _fleet(world)
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
    device, _ = _fleet(world, "d0", "d1")
    made = world.create("os-2", all_devices=True, limits=[{"count": 0}])
    device.update()
    device.runs = "os-1"  # a boot loop, and the watchdog's fallback, right after the commit

    device.check_in()

    held = world.deployment(made.id)
    assert (held.regressed, held.hold) == (1, Hold.PAUSED)


def test_a_device_that_falls_back_while_another_update_runs_is_a_regression(world: World) -> None:
    (device,) = _fleet(world, "d0")
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


@pytest.mark.parametrize("ended", ["too late", "in a mix"])
def test_what_a_newer_update_has_left_is_no_regression_of_the_one_before(world: World, ended: str) -> None:
    (device,) = _fleet(world, "d0")
    made = world.create("os-2", all_devices=True)
    device.update()
    device.check_in()
    world.release("os-3")
    world.create("os-3", all_devices=True, time_limits={"attempt_s": 60})
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
    (device,) = _fleet(world, "d0")
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


def test_a_phase_opens_only_when_the_one_before_is_healthy_after_its_soak(world: World) -> None:
    devices = _fleet(world)
    made = world.create("os-2", all_devices=True, phases=[{"count": 1, "soak_s": 600}, {}])
    devices[0].update()
    devices[0].check_in()
    world.pass_time(300)
    devices[0].presence(online=False)
    world.pass_time(301)

    assert devices[1].update() == "phase-closed"
    world.pass_time(6)
    devices[0].presence()
    world.pass_time(6)
    assert devices[1].update() == "os-2"
    assert world.deployment(made.id).hold is None


@pytest.mark.parametrize(
    ("canaries", "soak_s"),
    [("failed", 0), ("failed", 60), ("decommissioned", 0), ("decommissioned", 60), ("left in the soak", 60)],
)
def test_nothing_opens_by_itself_behind_a_phase_of_which_no_device_has_the_release(
    world: World, canaries: str, soak_s: int
) -> None:
    devices = _fleet(world)
    made = world.create("os-2", all_devices=True, phases=[{"count": 2, "soak_s": soak_s}, {"opens": "after"}])
    for device in devices[:2]:
        if canaries != "decommissioned":
            device.update("failure" if canaries == "failed" else "success")
            device.check_in()
        if canaries != "failed":
            world.operations.decommission(device.id, "olga")
    world.pass_time(3600)

    assert devices[2].update() == "phase-closed"
    shown = world.shown(made.id)
    assert (shown.hold, shown.phases[0].ailment) == (Hold.AWAITING_PROMOTION, "none of its 2 devices has the release")
    lines = len(world.lines(made.id))
    world.pass_time(3600)
    assert len(world.lines(made.id)) == lines
    world.operations.promote(made.id, "olga")
    assert [d.update() for d in devices[2:]] == ["os-2"] * 3


def test_a_phase_whose_devices_had_the_release_already_is_watched_and_opens_the_next_one(world: World) -> None:
    devices = _fleet(world)
    for device in devices[:2]:
        device.runs = "os-2"
        device.check_in()
    world.create("os-2", all_devices=True, phases=[{"count": 2, "soak_s": 60}, {}])
    assert [d.update() for d in devices[:2]] == ["already-installed"] * 2
    devices[0].presence(online=False)
    world.pass_time(61)
    assert devices[2].update() == "phase-closed"

    devices[0].presence()
    world.pass_time(6)

    assert devices[2].update() == "os-2"


def test_who_made_a_deployment_may_not_approve_it(world: World) -> None:
    devices = _fleet(world)
    made = world.create("os-2", all_devices=True, approval=True)
    assert (made.hold, devices[0].update()) == (Hold.AWAITING_APPROVAL, "phase-closed")
    with pytest.raises(Refused) as refused:
        world.operations.approve(made.id, "olga")
    assert refused.value.code == "own-deployment"

    approved = world.operations.approve(made.id, "anton")

    assert (approved.hold, approved.approved_by, devices[0].update()) == (None, "anton", "os-2")


def test_a_retry_is_a_deployment_to_those_that_failed(world: World) -> None:
    devices = _fleet(world)
    made = world.create("os-2", all_devices=True)
    for device, status in zip(devices, ["success", "failure", "failure", "success", "success"], strict=True):
        device.update(status, "no-space")

    again = world.operations.retry(made.id, "olga")

    assert (again.retry_of, sorted(world.parts(again.id))) == (made.id, ["d1", "d2"])
    assert [d.update() for d in devices] == [NOBODY, "os-2", "os-2", NOBODY, NOBODY]


def test_a_retry_leaves_out_who_runs_what_a_newer_deployment_brought(world: World) -> None:
    world.release("os-3")
    devices = _fleet(world, "d0", "d1", "d2")
    made = world.create("os-2", all_devices=True)
    assert [d.update("failure", "no-space") for d in devices] == ["os-2"] * 3
    newer = world.create("os-3", devices=["d0", "d1"])
    assert [d.update() for d in devices[:2]] == ["os-3"] * 2
    devices[1].check_in()  # d0 has not asked since

    again = world.operations.retry(made.id, "olga")

    assert sorted(world.parts(again.id)) == ["d2"]
    assert again.target == f"1 failed device of {made.name}, without 2 that have moved on"
    told = f"retried for 1 device as {again.name}, without 2 that have moved on"
    assert told in [line.text for line in world.lines(made.id)]
    devices[2].update()
    for deployment_id in (made.id, again.id):
        with pytest.raises(Refused) as refused:
            world.operations.retry(deployment_id, "olga")
        assert refused.value.code == "nothing-to-retry"
    assert Act.RETRY not in world.shown(made.id).allowed

    world.operations.rollback(newer.id, "olga")
    assert [d.update() for d in devices[:2]] == ["restore os-1"] * 2
    world.pass_time(1)
    for device in devices:
        device.check_in()
    assert sorted(world.parts(world.operations.retry(made.id, "olga").id)) == ["d0", "d1"]


@pytest.mark.parametrize("limit", ["attempt_s", "downloading_s"])
def test_an_attempt_and_a_status_may_last_only_so_long(world: World, limit: str) -> None:
    (device,) = _fleet(world, "d0")
    made = world.create("os-2", all_devices=True, time_limits={limit: 60})
    device.check_in()
    for _ in range(3):
        device.report("downloading")
        world.pass_time(25)

    part = world.parts(made.id)["d0"]
    assert (part.status, part.error_code) == ("failure", "timeout")


def test_a_plan_says_who_would_get_what_and_who_not(world: World) -> None:
    devices = _fleet(world)
    devices[4].runs = "os-2"
    devices[4].check_in()
    world.create("os-2", devices=["d0"])  # another deployment comes first for d0

    plan = world.operations.plan_deployment(world.order("os-2", all_devices=True, phases=[{"percent": 10}, {}]))

    assert (plan.devices, plan.updated, plan.bytes, plan.waiting) == (5, 4, 400, 1)
    assert [(one.device_id, one.code) for one in plan.left] == [("d4", "already-installed")]
    assert [phase.size for phase in plan.phases] == [1, 4]


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
    devices = _fleet(world, "d0", "d1", "d2")
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
    (device,) = _fleet(world, "d0")
    device.runs = "os-2" if status == "already-installed" else "os-1"
    made = world.create("os-2", all_devices=True)
    device.update(status, "no-space") if status != "already-installed" else device.check_in()

    world.operations.decommission("d0", "olga")

    assert world.statuses(made.id) == {"d0": status}
    assert world.operations.decommission("d0", "olga") is False  # it was so already


@pytest.mark.parametrize("state", list(DeviceState))
def test_a_device_is_decommissioned_from_every_state(world: World, state: DeviceState) -> None:
    (device,) = _fleet(world, "d0")
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


@pytest.mark.parametrize("codes", [["instal-failed"], ["no-space", "disk-full"]])
def test_a_limit_on_what_nothing_reports_is_refused(world: World, codes: list[str]) -> None:
    _fleet(world, "d0")
    with pytest.raises(BadLimit, match=rf"^{codes[-1]} is no error code.*(did you mean install-failed|no-space)"):
        world.create("os-2", all_devices=True, limits=[{"count": 0, "codes": codes}])


def test_a_time_that_has_long_passed_is_refused(world: World) -> None:
    _fleet(world, "d0")
    for phases in ([{"opens": "at", "opens_at": world.now - 400}], [{"count": 1}, {"opens": "at", "opens_at": 1.0}]):
        with pytest.raises(BadPlan, match=r"^Phase [12] opens at a time that was .* ago"):
            world.create("os-2", all_devices=True, phases=phases)

    made = world.create("os-2", all_devices=True, phases=[{"opens": "at", "opens_at": world.now - 60}])

    assert made.hold is None


def test_nobody_joins_a_scheduled_deployment_that_is_paused_before_its_time(world: World) -> None:
    (device,) = _fleet(world, "d0")
    plan = [{"opens": "at", "opens_at": world.now + 100}]
    made = world.create("os-2", where='device_type = "pi4"', phases=plan)
    world.operations.pause(made.id, "olga")

    device.check_in()

    assert world.parts(made.id) == {}
    world.operations.resume(made.id, "olga")
    world.pass_time(101)
    assert device.update() == "os-2"
