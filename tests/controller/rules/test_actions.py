"""What an operator may do with a deployment: the table holds both ways, for every stage and every action."""

from __future__ import annotations

import pytest

from tests.controller.rules.samples import deployment
from wainwright_common.messages import Policy
from wainwright_common.statuses import DeploymentStatus, Hold, Outcome
from wainwright_controller.records import Deployment, Kind
from wainwright_controller.rules.actions import ALLOWED, Act, Refused, Stage, allowed, check_allowed, code_of, stage_of

IN = {
    Stage.AWAITING_APPROVAL: deployment(hold=Hold.AWAITING_APPROVAL),
    Stage.AWAITING_START: deployment(hold=Hold.AWAITING_START),
    Stage.SCHEDULED: deployment(hold=Hold.SCHEDULED),
    Stage.PENDING: deployment(),
    Stage.INPROGRESS: deployment(status=DeploymentStatus.INPROGRESS),
    Stage.AWAITING_PROMOTION: deployment(status=DeploymentStatus.INPROGRESS, hold=Hold.AWAITING_PROMOTION),
    Stage.PAUSED: deployment(status=DeploymentStatus.INPROGRESS, hold=Hold.PAUSED),
    Stage.ROLLING_BACK: deployment(status=DeploymentStatus.INPROGRESS, rollback_id="r1"),
    Stage.FINISHED: deployment(status=DeploymentStatus.FINISHED, outcome=Outcome.PARTIAL),
}


def _dynamic(one: Deployment) -> Deployment:
    return deployment(
        kind=Kind.DYNAMIC,
        filter="device_type exists",
        policy=Policy(download_only=True),
        status=one.status,
        hold=one.hold,
        outcome=one.outcome,
        rollback_id=one.rollback_id,
    )


@pytest.mark.parametrize("stage", list(Stage))
def test_every_stage_is_told_from_every_other(stage: Stage) -> None:
    assert stage_of(IN[stage]) is stage


@pytest.mark.parametrize("act", list(Act))
@pytest.mark.parametrize("stage", list(Stage))
def test_the_table_alone_decides_what_a_stage_allows(act: Act, stage: Stage) -> None:
    one = _dynamic(IN[stage])

    assert (act in allowed(one)) == (stage in ALLOWED[act])
    if stage in ALLOWED[act]:
        check_allowed(act, one)
    else:
        with pytest.raises(Refused, match=one.name) as refused:
            check_allowed(act, one)
        assert refused.value.code == code_of(act, stage)


@pytest.mark.parametrize(
    ("act", "one", "code"),
    [
        (Act.FINISH, deployment(status=DeploymentStatus.INPROGRESS), "not-dynamic"),
        (Act.INSTALL, deployment(status=DeploymentStatus.INPROGRESS), "not-download-only"),
        (Act.ROLLBACK, deployment(status=DeploymentStatus.FINISHED, rolls_back="d0"), "is-a-rollback"),
    ],
    ids=["finish a static one", "install what installs by itself", "roll a rollback back"],
)
def test_some_actions_need_more_than_the_stage(act: Act, one: Deployment, code: str) -> None:
    assert act not in allowed(one)
    with pytest.raises(Refused) as refused:
        check_allowed(act, one)
    assert refused.value.code == code
