"""The shape of the table of states, and what the rules make of events."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from tests.support import states_page
from wainwright_agent import rules
from wainwright_agent.journal import SEQ_BLOCK, State, Update
from wainwright_agent.states import (
    CHOICES,
    FINAL,
    INITIAL,
    TRANSITIONS,
    Event,
    IllegalTransition,
    UpdateState,
    allows,
    next_state,
)
from wainwright_common.messages import Action, Artifact, Offer, Reason
from wainwright_common.statuses import DeviceStatus, may_report

FAULT = Reason(code="install-failed", text="It broke.")
STORED = [state for state in UpdateState if state not in CHOICES and state is not FINAL]


def _offer() -> Offer:
    artifact = Artifact(id="a", name="new", size=1, sha256="0" * 64, uri="http://h/", expires=datetime.now(UTC))
    return Offer(deployment_id="d", attempt=1, action=Action.INSTALL, artifact=artifact)


def _state(state: UpdateState = INITIAL, **facts: object) -> State:
    update = Update(offer=_offer(), state=state, status=DeviceStatus.DOWNLOADING, boot_id="b", stores=1)
    return State(update=replace(update, **facts))


def _now(seq: int = 5) -> rules.Now:
    return rules.Now(at=datetime.now(UTC), boot_id="b", seq=seq)


def test_the_page_of_states_is_up_to_date() -> None:
    page = states_page.PAGE.read_text(encoding="utf-8")
    assert page == states_page.render(page), "run: python -m tests.support.states_page"


def test_every_state_is_reached_from_the_first_and_reaches_the_last() -> None:
    def reach(start: UpdateState, *, backwards: bool = False) -> set[UpdateState]:
        seen = {start}
        while True:
            edges = {(a, b) if not backwards else (b, a) for (a, _), b in TRANSITIONS.items()}
            more = {b for a, b in edges if a in seen} - seen
            if not more:
                return seen
            seen |= more

    assert reach(INITIAL) == set(UpdateState)
    assert reach(FINAL, backwards=True) == set(UpdateState)


@pytest.mark.parametrize("state", STORED)
def test_every_stored_state_knows_what_to_do_after_an_interruption_and_in_a_loop(state: UpdateState) -> None:
    assert {
        event for event in (Event.RESTARTED, Event.REBOOTED, Event.LOOP, Event.FAILED) if not allows(state, event)
    } == set()
    assert next_state(state, Event.LOOP) in {UpdateState.CLEANUP, FINAL}


def test_the_last_state_has_no_way_out_and_forks_only_answers() -> None:
    assert not [row for row in TRANSITIONS if row[0] is FINAL]
    answers = {event for event in Event if event.startswith(("reboot-", "rollback-"))}
    steps = set(Event) - answers
    assert not [row for row in TRANSITIONS if (row[0] in CHOICES) == (row[1] in steps)]


def test_nothing_installs_or_commits_twice() -> None:
    assert {state for (state, _), after in TRANSITIONS.items() if after is UpdateState.INSTALL} == {
        UpdateState.DOWNLOAD,
        UpdateState.WAIT_WINDOW,
    }
    assert (UpdateState.COMMIT, UpdateState.COMMIT) not in {(a, b) for (a, _), b in TRANSITIONS.items()}


def test_an_abort_counts_only_before_the_update_has_committed_or_failed() -> None:
    assert {state for state, event in TRANSITIONS if event is Event.ABORTED} == {
        UpdateState.DOWNLOAD,
        UpdateState.WAIT_WINDOW,
        UpdateState.INSTALL,
        UpdateState.ENTER_REBOOT,
        UpdateState.MODULE_REBOOT,
        UpdateState.HOST_REBOOT,
        UpdateState.VERIFY_REBOOT,
        UpdateState.CONFIRM,
        UpdateState.COMMIT,
    }


@pytest.mark.parametrize(
    ("state", "event"),
    [(state, event) for state in UpdateState for event in Event if (state, event) not in TRANSITIONS],
)
def test_an_event_without_a_row_raises_and_changes_nothing(state: UpdateState, event: Event) -> None:
    before = _state(state)
    with pytest.raises(IllegalTransition, match=f"state {state} has no row for the event {event}"):
        rules.move(before, event, _now(), FAULT)
    assert before.update is not None
    assert (before.update.state, before.update.stores, before.update.failure) == (state, 1, None)


def test_an_event_with_a_row_leads_where_the_row_says() -> None:
    assert [(row, next_state(*row)) for row in TRANSITIONS] == list(TRANSITIONS.items())


@pytest.mark.parametrize(("state", "event"), [row for row in TRANSITIONS if row[0] in STORED])
def test_whatever_happens_the_controller_hears_only_what_a_device_may_report(state: UpdateState, event: Event) -> None:
    status = DeviceStatus.DOWNLOADING if state is INITIAL else DeviceStatus.REBOOTING
    facts = {"needs_reboot": "Yes", "supports_rollback": True, "new_provides": {"artifact_name": "new"}}
    before = _state(state, status=status, **facts)
    after = rules.move(before, event, _now(), FAULT if event in rules.FAULTS else None)
    assert [report.status for report in after.outbox if not may_report(status, report.status)] == []


def test_a_fault_without_a_reason_is_a_programmers_mistake() -> None:
    with pytest.raises(ValueError, match="needs a reason"):
        rules.move(_state(), Event.FAILED, _now())


@pytest.mark.parametrize("event", [Event.RESTARTED, Event.REBOOTED])
def test_a_device_that_is_switched_off_and_on_may_wait_for_its_window_for_ever(event: Event) -> None:
    state = _state(UpdateState.WAIT_WINDOW, stores=rules.STORES_MAX // 2)
    for _ in range(1000):
        state = rules.move(state, event, _now())
    assert state.update is not None
    assert (state.update.state, state.update.stores) == (UpdateState.WAIT_WINDOW, rules.STORES_MAX // 2)


@pytest.mark.parametrize("state", sorted(set(STORED) - {UpdateState.WAIT_WINDOW}))
@pytest.mark.parametrize("event", [Event.RESTARTED, Event.REBOOTED])
def test_interruptions_for_ever_end_within_the_bound_of_stores(state: UpdateState, event: Event) -> None:
    now, stores = _state(state, needs_reboot="Yes", supports_rollback=True), 1
    while now.update is not None:
        now = rules.move(now, event, _now())
        stores += now.update is not None

    assert stores <= rules.STORES_MAX
    assert now.last is not None or state is UpdateState.CLEANUP


def test_an_interrupted_commit_is_a_failure_and_an_interrupted_cleanup_is_not() -> None:
    committed = _state(UpdateState.COMMIT, new_provides={"artifact_name": "new"})
    failed = rules.move(committed, Event.REBOOTED, _now())
    assert failed.update is not None
    assert failed.update.failure is not None
    assert failed.update.failure.code == "rebooted"

    good = rules.move(rules.move(committed, Event.OK, _now()), Event.OK, _now())
    again = rules.move(rules.move(good, Event.RESTARTED, _now(6)), Event.FAILED, _now(7), FAULT)
    assert [str(report.status) for report in again.outbox] == ["success"]
    assert again.provides == {"artifact_name": "new"}
    assert again.update is None


def test_success_provides_and_outcome_are_one_value() -> None:
    before = _state(UpdateState.COMMIT, new_provides={"artifact_name": "new", "k": "v"})
    kept = rules.move(before, Event.OK, _now())
    assert kept.update is not None
    assert kept.update.committed
    after = rules.move(kept, Event.OK, _now())
    assert after.provides == {"artifact_name": "new", "k": "v"}
    assert after.outbox[-1].status == DeviceStatus.SUCCESS
    assert after.outbox[-1].artifact_name == "new"
    assert after.last is not None
    assert after.last.report == after.outbox[-1]


@pytest.mark.parametrize("event", [Event.RESTARTED, Event.REBOOTED])
def test_a_committed_update_is_a_success_however_often_it_is_interrupted(event: Event) -> None:
    state = rules.move(_state(UpdateState.COMMIT, new_provides={"artifact_name": "new"}), Event.OK, _now())
    while state.last is None:
        state = rules.move(state, event, _now())
    assert state.last.outcome == DeviceStatus.SUCCESS
    assert state.last.error is None
    assert state.provides == {"artifact_name": "new"}


def test_a_script_that_fails_after_the_commit_leaves_the_new_software_under_a_name_that_says_so() -> None:
    committed = _state(UpdateState.COMMIT, new_provides={"artifact_name": "new", "k": "v"})
    after = rules.move(rules.move(committed, Event.OK, _now()), Event.FAILED, _now(), FAULT)
    assert after.provides == {"artifact_name": "new_INCONSISTENT", "k": "v"}
    assert after.outbox[-1].status == DeviceStatus.FAILURE
    assert after.outbox[-1].inconsistent is True
    assert after.outbox[-1].error == FAULT


def test_the_first_reason_stays_and_later_ones_are_added() -> None:
    first = Reason(code="commit-failed", text="The first.")
    state = _state(UpdateState.ROLLBACK, failure=first, supports_rollback=True)
    after = rules.move(state, Event.FAILED, _now(), Reason(code="timeout", text="The second."))
    assert after.update is not None
    assert after.update.failure == Reason(code="timeout", text="The first. Then: The second.")
    last = rules.move(after, Event.FAILED, _now(6), Reason(code="x", text="The third."))
    assert last.outbox[-1].error == Reason(code="timeout", text="The first. Then: The second. Then: The third.")


def test_numbers_are_reserved_on_disk_before_they_are_used() -> None:
    state = rules.begin(State(), _offer(), _now(1))
    assert state.update is not None
    assert state.update.reserved_seq > 2
    for seq in (2, SEQ_BLOCK + 1, 5 * SEQ_BLOCK):
        state = rules.reserve(state, seq)
        assert state.update is not None
        assert state.update.reserved_seq > seq


def test_an_ack_covers_its_attempt_up_to_its_number_and_nothing_else() -> None:
    state = rules.begin(State(), _offer(), _now(3))
    assert rules.acknowledge(state, "d", 1, 2) is state
    assert rules.acknowledge(state, "other", 1, 9) is state
    assert rules.acknowledge(state, "d", 2, 9) is state
    assert rules.acknowledge(state, "d", 1, 3).outbox == ()
