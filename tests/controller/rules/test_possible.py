"""What is possible, and why not the rest: exhaustively over stages, kinds, phases and what there is to act on."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from msgspec.structs import replace

from tests.controller.rules.samples import NOW, phase
from tests.controller.rules.test_actions import IN
from wainwright_common.statuses import DeploymentStatus
from wainwright_controller.records import Deployment, Kind, Phase
from wainwright_controller.rules.actions import Act, Refused, Stage, check_allowed, stage_of
from wainwright_controller.rules.lifecycle import promote
from wainwright_controller.rules.possible import Prospects, check_retry, check_worth, possible, refusals

KINDS: list[dict[str, Any]] = [
    {},
    {"kind": Kind.DYNAMIC, "filter": "device_type exists"},
    {"rolls_back": "d0"},
    {"rollback_id": "r1", "rollback_ended_at": NOW},
]
PLANS = [[phase()], [phase(opened_at=1.0)], [phase(opened_at=1.0), phase(number=2)], [phase(), phase(number=2)]]
PROSPECTS = [Prospects(*both) for both in itertools.product((False, True), repeat=2)]


def really_refused(act: Act, one: Deployment, plan: list[Phase], prospects: Prospects) -> Refused | None:
    """Return the refusal that the operations meet."""
    try:
        check_allowed(act, one)
        if act is Act.PROMOTE:
            promote(one, plan, NOW)
        elif act is Act.RETRY:
            check_retry(one, has_failed=prospects.has_failed)
        elif act is Act.ROLLBACK:
            check_worth(one, has_release=prospects.has_release)
    except Refused as refused:
        return refused
    return None


@pytest.mark.parametrize("stage", list(Stage))
def test_each_action_is_possible_or_has_the_refusal_that_it_meets(stage: Stage) -> None:
    for kind, plan, prospects in itertools.product(KINDS, PLANS, PROSPECTS):
        still = {"rollback_ended_at": None} if stage is Stage.ROLLING_BACK else {}
        one = replace(IN[stage], **kind | still)
        expected = {act: really_refused(act, one, plan, prospects) for act in Act}

        found = refusals(one, plan, prospects)

        assert {act: (why.code, str(why)) for act, why in found.items()} == {
            act: (why.code, str(why)) for act, why in expected.items() if why is not None
        }
        assert possible(one, plan, prospects) == [act for act, why in expected.items() if why is None]


def test_only_what_has_ended_is_asked_whether_somebody_has_the_release() -> None:
    nobody = Prospects(has_failed=False, has_release=False)
    ended = [one for one in IN.values() if one.status is DeploymentStatus.FINISHED]

    assert [stage_of(one) for one in ended] == [Stage.FINISHED]
    assert refusals(ended[0], PLANS[1], nobody)[Act.ROLLBACK].code == "nothing-to-roll-back"
    undone = replace(ended[0], **KINDS[3])
    assert refusals(undone, PLANS[1], nobody)[Act.ROLLBACK].code == "rolled-back"
    assert Act.ROLLBACK in possible(undone, PLANS[1], nobody._replace(has_release=True))
    assert Act.ROLLBACK in possible(IN[Stage.PAUSED], PLANS[1], nobody)
