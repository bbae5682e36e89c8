"""Selection: which deployment a device gets when it checks in."""

from __future__ import annotations

import pytest

from tests.controller.rules.samples import NOW, artifact, candidate, deployment, device, offered, part, phase
from wainwright_common.messages import WhyCode
from wainwright_common.statuses import DeploymentStatus, DeviceStatus, Hold
from wainwright_controller.records import DeviceState
from wainwright_controller.rules.selection import choose, choose_artifact, unmet


@pytest.mark.parametrize("state", [s for s in DeviceState if s is not DeviceState.ACCEPTED])
def test_only_an_accepted_device_gets_anything(state: DeviceState) -> None:
    choice = choose(device(state=state), [candidate()], NOW)

    assert choice.offer is None
    assert choice.why is not None
    assert choice.why[0] is WhyCode.NOT_ACCEPTED
    assert choice.changed == []


def test_a_device_that_nothing_concerns_is_told_so() -> None:
    choice = choose(device(), [], NOW)

    assert choice.why is not None
    assert choice.why[0] is WhyCode.NO_DEPLOYMENT


def test_an_offer_notes_the_artifact_the_former_release_and_the_time() -> None:
    choice = choose(device(), [candidate()], NOW)

    assert choice.offer is not None
    chosen, file = choice.offer
    assert choice.why is None
    assert choice.changed == [chosen]
    assert (chosen.offered, chosen.artifact_id, chosen.former_name) == (True, file.id, "panel-1")
    assert (chosen.offered_at, chosen.started_at, chosen.status) == (NOW, NOW, DeviceStatus.PENDING)


def test_the_oldest_deployment_comes_first_whatever_order_they_are_given_in() -> None:
    older = candidate(part=part(deployment_id="d1"), deployment=deployment(id="d1", sequence=1))
    newer = candidate(part=part(deployment_id="d2"), deployment=deployment(id="d2", sequence=2))

    for order in ([older, newer], [newer, older]):
        choice = choose(device(), order, NOW)
        assert choice.offer is not None
        assert choice.offer[0].deployment_id == "d1"


def test_a_newer_deployment_does_not_overtake_one_that_waits_for_its_phase() -> None:
    closed = candidate(phases=[phase()])
    newer = candidate(part=part(deployment_id="d2"), deployment=deployment(id="d2", sequence=2))

    choice = choose(device(), [closed, newer], NOW)

    assert choice.offer is None
    assert choice.why is not None
    assert choice.why[0] is WhyCode.PHASE_CLOSED


def test_a_paused_deployment_makes_no_new_offer() -> None:
    choice = choose(device(), [candidate(deployment=deployment(hold=Hold.PAUSED))], NOW)

    assert choice.why is not None
    assert choice.why[0] is WhyCode.PAUSED


def test_an_offer_that_was_made_is_repeated_even_when_the_deployment_is_paused() -> None:
    under_way = offered(DeviceStatus.DOWNLOADING)

    choice = choose(device(), [candidate(part=under_way, deployment=deployment(hold=Hold.PAUSED))], NOW)

    assert choice.offer == (under_way, artifact())
    assert choice.changed == []


def test_a_retry_waits_for_its_time() -> None:
    waiting = part(attempt=2, next_attempt_at=NOW + 30)

    early = choose(device(), [candidate(part=waiting)], NOW)
    late = choose(device(), [candidate(part=waiting)], NOW + 31)

    assert early.why is not None
    assert (early.why[0], early.retry_at) == (WhyCode.RETRY_LATER, NOW + 30)
    assert late.offer is not None
    assert (late.offer[0].attempt, late.offer[0].next_attempt_at) == (2, None)


def test_no_compatible_artifact_ends_the_part_and_the_next_deployment_is_tried_at_once() -> None:
    wrong = candidate(artifacts=[artifact(depends={"device_type": ("other",)})])
    right = candidate(part=part(deployment_id="d2"), deployment=deployment(id="d2", sequence=2))

    choice = choose(device(), [wrong, right], NOW)

    assert choice.changed[0].status is DeviceStatus.NOARTIFACT
    assert choice.changed[0].finished_at == NOW
    assert choice.offer is not None
    assert choice.offer[0].deployment_id == "d2"


def test_running_the_release_already_ends_the_part_unless_it_is_forced() -> None:
    has_it = device(artifact_name="panel-2")

    plain = choose(has_it, [candidate()], NOW)
    forced = choose(has_it, [candidate(deployment=deployment(force=True))], NOW)

    assert [changed.status for changed in plain.changed] == [DeviceStatus.ALREADY_INSTALLED]
    assert plain.why is not None
    assert plain.why[0] is WhyCode.ALREADY_INSTALLED
    assert forced.offer is not None


def test_an_offer_under_way_is_not_ended_because_the_device_runs_the_release_by_now() -> None:
    """Its success is still on its way; ending it as already installed would lose the report."""
    choice = choose(device(artifact_name="panel-2"), [candidate(part=offered(DeviceStatus.INSTALLING))], NOW)

    assert choice.changed == []
    assert choice.offer is not None


def test_an_update_that_runs_comes_before_an_older_deployment_that_concerns_the_device_meanwhile() -> None:
    under_way = offered(DeviceStatus.INSTALLING, deployment_id="d2")
    busy_with = candidate(part=under_way, deployment=deployment(id="d2", sequence=2))

    for meanwhile in (candidate(), candidate(phases=[phase()])):
        choice = choose(device(), [meanwhile, busy_with], NOW, running="d2")
        assert choice.offer == (under_way, artifact())
        assert choice.changed == []


def test_a_device_that_is_busy_with_what_nobody_waits_for_is_offered_nothing() -> None:
    choice = choose(device(), [candidate()], NOW, running="by-hand-1")

    assert choice.offer is None
    assert choice.why is not None
    assert choice.why[0] is WhyCode.BUSY


def test_a_finished_deployment_is_passed_over() -> None:
    over = candidate(deployment=deployment(status=DeploymentStatus.FINISHED))

    assert choose(device(), [over], NOW).offer is None


def test_an_offer_is_repeated_with_the_same_artifact_although_a_better_one_came_meanwhile() -> None:
    better = artifact(id="a2", size=1)

    choice = choose(device(), [candidate(part=offered(), artifacts=[artifact(), better])], NOW)

    assert choice.offer is not None
    assert choice.offer[1].id == "a1"


def test_of_several_artifacts_the_one_with_most_depends_wins_then_the_smallest_then_the_oldest() -> None:
    plain = artifact(id="plain", size=1)
    full = artifact(id="full", size=50, depends={"device_type": ("pi4",), "artifact_name": ("panel-1",)})
    small = artifact(id="small", size=10, depends={"device_type": ("pi4",), "artifact_name": ("panel-1", "panel-0")})
    late = artifact(id="late", size=10, depends=small.depends, created_at=2.0)

    chosen = [choose_artifact(some, device()) for some in ([plain], [plain, full], [plain, full, late, small])]

    assert [a and a.id for a in chosen] == ["plain", "full", "small"]
    assert choose_artifact([artifact(depends={"device_type": ("other",)})], device()) is None


def test_every_depend_must_be_met_and_the_unmet_ones_are_named() -> None:
    needy = artifact(depends={"device_type": ("pi4", "pi5"), "rootfs-image.version": ("3",), "artifact_group": ("a",)})

    assert unmet(needy, device(provides={"rootfs-image.version": "2"})) == [
        "needs rootfs-image.version 3, has 2",
        "needs artifact_group a, has none",
    ]
    assert unmet(artifact(), device(device_type="pi5")) == ["needs device_type pi4, has pi5"]


def test_a_device_cannot_pass_for_another_type_by_what_it_provides() -> None:
    assert unmet(artifact(), device(device_type="pi5", provides={"device_type": "pi4"})) != []
