"""An offer of what has ended on this device is an old one, whoever sends it again, and is not carried out."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.agent.update.lab import Lab
from wainwright_agent.journal import DONE_MAX, Done, State, Update
from wainwright_agent.rules import _with_done, is_old
from wainwright_agent.states import UpdateState
from wainwright_common.messages import Action, Artifact, Offer
from wainwright_common.statuses import DeviceStatus


def offer_of(deployment_id: str, attempt: int = 1) -> Offer:
    about = Artifact(id="a", name="r", size=1, sha256="0" * 64, uri="http://h/a", expires=datetime.now(UTC))
    return Offer(deployment_id=deployment_id, attempt=attempt, action=Action.INSTALL, artifact=about)


def ended(done: tuple[Done, ...], deployment_id: str, attempt: int = 1) -> tuple[Done, ...]:
    offer = offer_of(deployment_id, attempt)
    return _with_done(done, Update(offer=offer, state=UpdateState.CLEANUP, status=DeviceStatus.SUCCESS, boot_id="b"))


@pytest.mark.parametrize("fails", [False, True])
def test_an_ended_attempt_is_not_carried_out_again_when_others_have_ended_since(lab: Lab, *, fails: bool) -> None:
    artifact = lab.artifact()
    first, second = lab.offer(artifact, deployment_id="d-1"), lab.offer(artifact, deployment_id="d-2")
    if fails:
        lab.on("ArtifactInstall", "exit 1")
    lab.update(first)
    lab.update(second)
    calls = len(lab.calls)
    with lab.agent() as agent:  # another one, after a restart
        assert not agent.updater.offer(first)
        assert agent.reports == []
        assert len(lab.calls) == calls
        assert agent.updater.offer(lab.offer(artifact, deployment_id="d-1", attempt=2))
        agent.wait_idle()
    assert len(lab.calls) > calls
    assert [(one.deployment_id, one.attempt) for one in lab.state.done] == [("d-2", 1), ("d-1", 2)]


def test_attempts_before_one_that_has_ended_are_old_and_later_ones_are_not() -> None:
    state = State(done=ended((), "d", 3))
    assert [is_old(state, offer_of("d", attempt)) for attempt in (1, 2, 3, 4)] == [True, True, True, False]
    assert not is_old(state, offer_of("other"))


def test_what_is_remembered_is_bounded_and_the_oldest_goes_first() -> None:
    done: tuple[Done, ...] = ()
    for number in range(DONE_MAX + 5):
        done = ended(ended(done, f"d-{number}"), f"d-{number}", 2)
    assert len(done) == DONE_MAX
    assert (done[0].deployment_id, done[-1]) == ("d-5", Done(deployment_id=f"d-{DONE_MAX + 4}", attempt=2))
