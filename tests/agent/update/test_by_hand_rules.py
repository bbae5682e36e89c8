"""What an update by hand waits for, and which command fits it: the rules, without a process."""

from __future__ import annotations

import pytest

from wainwright_agent import by_hand
from wainwright_agent.journal import ByHand, State, Update
from wainwright_agent.states import Event, UpdateState
from wainwright_common.statuses import DeviceStatus


def _update(state: UpdateState, **facts: object) -> Update:
    offer = by_hand.offer_of(by_hand.artifact_of("file:///x", "panel-2", 1, ""))
    given = {"by_hand": ByHand(), "supports_rollback": True, "payload_type": "probe"} | facts
    return Update(offer=offer, state=state, status=DeviceStatus.INSTALLING, boot_id="b", **given)  # type: ignore[arg-type]  # facts of any type


S = UpdateState


@pytest.mark.parametrize(
    ("update", "is_held"),
    [
        (None, False),
        (_update(S.COMMIT), True),
        (_update(S.COMMIT, supports_rollback=False), False),
        (_update(S.COMMIT, by_hand=None), False),
        (_update(S.COMMIT, by_hand=ByHand(released=S.COMMIT)), False),
        (_update(S.COMMIT, aborted=True), False),
        (_update(S.CLEANUP, by_hand=ByHand(stop_before=(S.CLEANUP,))), True),
        (_update(S.ENTER_REBOOT, by_hand=ByHand(released=S.ENTER_REBOOT)), True),
        (_update(S.ENTER_REBOOT, aborted=True), False),
        (_update(S.ENTER_REBOOT, aborted=True, supports_rollback=False), True),
        (_update(S.ENTER_ROLLBACK_REBOOT, aborted=True), True),
        (_update(S.HOST_ROLLBACK_REBOOT, aborted=True), True),
        (_update(S.MODULE_ROLLBACK_REBOOT), True),
        (_update(S.INSTALL), False),
    ],
)
def test_an_update_by_hand_is_held_where_a_person_is_needed(update: Update | None, *, is_held: bool) -> None:
    assert by_hand.is_held(update) is is_held
    if update is not None and update.by_hand is not None:
        needs_reboot = update.state in by_hand.NEEDS_REBOOT
        assert by_hand.goes_on_after(update, Event.REBOOTED) is (needs_reboot or not is_held)
        assert by_hand.goes_on_after(update, Event.RESTARTED) is not is_held


@pytest.mark.parametrize(
    ("command", "update", "error"),
    [
        ("install", None, None),
        ("install", _update(S.COMMIT), "busy"),
        ("commit", None, "nothing"),
        ("commit", _update(S.COMMIT), None),
        ("commit", _update(S.DOWNLOAD), "busy"),
        ("commit", _update(S.INSTALL, by_hand=ByHand(stop_before=(S.INSTALL,))), "too-early"),
        ("commit", _update(S.ENTER_REBOOT), "reboot-needed"),
        ("resume", _update(S.ENTER_REBOOT), "reboot-needed"),
        ("resume", _update(S.COMMIT), None),
        ("resume", _update(S.COMMIT, by_hand=None), "not-by-hand"),
        ("rollback", _update(S.COMMIT), None),
        ("rollback", _update(S.ENTER_REBOOT), None),
        ("rollback", _update(S.LEAVE_COMMIT), "too-late"),
        ("rollback", _update(S.COMMIT, supports_rollback=False), "no-rollback"),
        ("rollback", _update(S.ENTER_REBOOT, supports_rollback=None), "no-rollback"),
        ("rollback", _update(S.INSTALL, supports_rollback=None), None),
        ("rollback", _update(S.COMMIT, by_hand=None), "not-by-hand"),
    ],
)
def test_a_command_that_does_not_fit_is_refused(command: str, update: Update | None, error: str | None) -> None:
    refusal = by_hand.refusal(State(update=update), command)
    assert (refusal and refusal["error"]) == error


@pytest.mark.parametrize("supports_rollback", [True, False])
def test_who_is_told_to_go_back_can(*, supports_rollback: bool) -> None:
    """A module that cannot roll back is held in front of the commit only because --stop-before says so."""
    stops = ByHand(stop_before=(S.COMMIT,))
    update = _update(S.COMMIT, by_hand=stops, supports_rollback=supports_rollback)
    assert by_hand.is_held(update)
    refused = by_hand.refusal(State(update=update), "rollback") is not None
    assert ("wain rollback" in by_hand.what_to_do(update)) is not refused
    assert by_hand.refusal(State(update=update), "commit") is None
