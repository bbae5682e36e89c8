"""What an operator's plan and actions do to devices, step by step on a virtual clock."""

from __future__ import annotations

import pytest

from tests.controller.rollouts.world import FIVE, NOBODY, Device, World, fleet
from wainwright_common.messages import CommandName
from wainwright_common.statuses import DeploymentStatus, Hold, Outcome
from wainwright_controller.records import Kind
from wainwright_controller.rules.actions import Act, Refused
from wainwright_controller.rules.gates import BadLimit
from wainwright_controller.rules.phases import BadPlan


def test_a_pause_makes_no_offers_and_a_resume_wakes_those_that_wait(world: World) -> None:
    devices = fleet(world)
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
    devices = fleet(world)
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
    devices = fleet(world)
    limit = {"count": 0, "codes": ["verification-failed"], "action": "abort"}
    made = world.create("os-2", all_devices=True, limits=[limit])
    devices[0].update("failure", "no-space")
    assert world.deployment(made.id).status is DeploymentStatus.INPROGRESS

    devices[1].update("failure", "verification-failed")

    assert world.deployment(made.id).outcome is Outcome.ABORTED
    assert world.statuses(made.id)["d2"] == "aborted"


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
    devices = fleet(world, "d0", "d1", "d2")
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
    devices = fleet(world, "d0", "d1")
    limits = [{"count": 0, "action": "rollback"}]
    made = world.create("os-2", where="device_type exists", retries=3, limits=limits)
    devices[0].update()
    devices[1].update("failure", "download-failed")

    world.operations.finish(made.id, "olga")

    assert world.statuses(made.id) == {"d0": "success", "d1": "failure"}
    assert devices[0].update() == "restore os-1"
    assert world.deployment(made.id).outcome is Outcome.ROLLED_BACK


def test_a_deployment_that_is_finished_before_any_device_got_it_is_aborted(world: World) -> None:
    devices = fleet(world, "d0", "d1", "d2")
    made = world.create("os-2", where="device_type exists", phases=[{"count": 1}, {"opens": "approval"}])
    world.operations.pause(made.id, "olga")
    assert [d.update() for d in devices] == ["paused"] * 3

    ended = world.operations.finish(made.id, "olga")

    assert (world.statuses(made.id), ended.outcome) == (dict.fromkeys(["d0", "d1", "d2"], "aborted"), Outcome.ABORTED)


def test_a_constant_rate_is_kept_and_devices_are_woken_as_their_turn_comes(world: World) -> None:
    devices = {d.id: d for d in fleet(world)}
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
    devices = fleet(world)
    world.create("os-2", all_devices=True, pace={"concurrency": 2})
    assert [d.check_in() is not None for d in devices] == [True, True, False, False, False]

    devices[0].report("success")

    assert [d.check_in() is not None for d in devices[1:]] == [True, True, False, False]


def test_a_phase_opens_only_when_the_one_before_is_healthy_after_its_soak(world: World) -> None:
    devices = fleet(world)
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
    devices = fleet(world)
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
    devices = fleet(world)
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
    devices = fleet(world)
    made = world.create("os-2", all_devices=True, approval=True)
    assert (made.hold, devices[0].update()) == (Hold.AWAITING_APPROVAL, "phase-closed")
    with pytest.raises(Refused) as refused:
        world.operations.approve(made.id, "olga")
    assert refused.value.code == "own-deployment"

    approved = world.operations.approve(made.id, "anton")

    assert (approved.hold, approved.approved_by, devices[0].update()) == (None, "anton", "os-2")


def test_a_retry_is_a_deployment_to_those_that_failed(world: World) -> None:
    devices = fleet(world)
    made = world.create("os-2", all_devices=True)
    for device, status in zip(devices, ["success", "failure", "failure", "success", "success"], strict=True):
        device.update(status, "no-space")

    again = world.operations.retry(made.id, "olga")

    assert (again.retry_of, sorted(world.parts(again.id))) == (made.id, ["d1", "d2"])
    assert [d.update() for d in devices] == [NOBODY, "os-2", "os-2", NOBODY, NOBODY]


def test_a_retry_leaves_out_who_runs_what_a_newer_deployment_brought(world: World) -> None:
    world.release("os-3")
    devices = fleet(world, "d0", "d1", "d2")
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
    (device,) = fleet(world, "d0")
    made = world.create("os-2", all_devices=True, time_limits={limit: 60})
    device.check_in()
    for _ in range(3):
        device.report("downloading")
        world.pass_time(25)

    part = world.parts(made.id)["d0"]
    assert (part.status, part.error_code) == ("failure", "timeout")


def test_a_plan_says_who_would_get_what_and_who_not(world: World) -> None:
    devices = fleet(world)
    devices[4].runs = "os-2"
    devices[4].check_in()
    world.create("os-2", devices=["d0"])  # another deployment comes first for d0

    plan = world.operations.plan_deployment(world.order("os-2", all_devices=True, phases=[{"percent": 10}, {}]))

    assert (plan.devices, plan.updated, plan.bytes, plan.waiting) == (5, 4, 400, 1)
    assert [(one.device_id, one.code) for one in plan.left] == [("d4", "already-installed")]
    assert [phase.size for phase in plan.phases] == [1, 4]


@pytest.mark.parametrize("codes", [["instal-failed"], ["no-space", "disk-full"]])
def test_a_limit_on_what_nothing_reports_is_refused(world: World, codes: list[str]) -> None:
    fleet(world, "d0")
    with pytest.raises(BadLimit, match=rf"^{codes[-1]} is no error code.*(did you mean install-failed|no-space)"):
        world.create("os-2", all_devices=True, limits=[{"count": 0, "codes": codes}])


def test_a_time_that_has_long_passed_is_refused(world: World) -> None:
    fleet(world, "d0")
    for phases in ([{"opens": "at", "opens_at": world.now - 400}], [{"count": 1}, {"opens": "at", "opens_at": 1.0}]):
        with pytest.raises(BadPlan, match=r"^Phase [12] opens at a time that was .* ago"):
            world.create("os-2", all_devices=True, phases=phases)

    made = world.create("os-2", all_devices=True, phases=[{"opens": "at", "opens_at": world.now - 60}])

    assert made.hold is None


def test_nobody_joins_a_scheduled_deployment_that_is_paused_before_its_time(world: World) -> None:
    (device,) = fleet(world, "d0")
    plan = [{"opens": "at", "opens_at": world.now + 100}]
    made = world.create("os-2", where='device_type = "pi4"', phases=plan)
    world.operations.pause(made.id, "olga")

    device.check_in()

    assert world.parts(made.id) == {}
    world.operations.resume(made.id, "olga")
    world.pass_time(101)
    assert device.update() == "os-2"
