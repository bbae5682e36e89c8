"""What an event makes of an update: its next state, its facts and its reports. Pure: no clock, no disk, no process.

1. A fault needs a reason, and the first one stays: what came of it later is added to the text, not put in its place.
   Two things are worse than any first reason and replace its code: a rollback that failed, and going in circles.
2. An interruption is a fault exactly where the table does not go on with the step or the one that verifies it.
3. The device is *inconsistent* when it may run a mix: no rollback possible, a rollback failed, or its end is unknown;
   or when a state script failed where the update could only go on. An inconsistent device has never succeeded.
4. Every store is counted. `STORES_MAX` bounds them, two of them kept for recording the end. Only to go on waiting for a
   window costs none: a device may be switched off and on every day until Sunday.
5. Entering CLEANUP settles the outcome: provides, final report and `last` are one value, so one write.

Not here: what may follow what (states.py), and when an event is raised (update.py, actions.py).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec
from msgspec import UNSET
from msgspec.structs import replace

from wainwright_agent.failure import clip
from wainwright_agent.journal import DONE_MAX, OUTBOX_MAX, SEQ_BLOCK, ByHand, Done, LastUpdate, State, Update
from wainwright_agent.states import CHOICES, FINAL, INITIAL, Event, UpdateState, allows, next_state
from wainwright_common.codes import Code
from wainwright_common.messages import Offer, Reason, Report
from wainwright_common.statuses import FINISHED, DeviceStatus

STORES_MAX = 28  # per update, the Mender client's bound: a normal one needs 8, one with a long way back about 20
STORES_FOR_THE_END = 2  # CLEANUP, and once more after an interruption of it
SUFFIX_INCONSISTENT = "_INCONSISTENT"  # of the artifact name, as Mender marks a device that may run a mix

S, E = UpdateState, Event

# fmt: off
STATUS: Mapping[UpdateState, DeviceStatus] = {
    # What entering a state makes the device's status. After a reboot an update installs again: it verifies and commits.
    S.DOWNLOAD:      DeviceStatus.DOWNLOADING,
    S.INSTALL:       DeviceStatus.INSTALLING,
    S.ENTER_REBOOT:  DeviceStatus.REBOOTING,
    S.CONFIRM:       DeviceStatus.INSTALLING,
}

INTERRUPTIONS: Mapping[Event, tuple[Code, str]] = {
    E.RESTARTED: (Code.INTERRUPTED, "The agent was restarted"),
    E.REBOOTED:  (Code.REBOOTED,    "The device was restarted"),
}
# fmt: on

FAULTS = frozenset({E.FLAWED, E.FAILED, E.ABORTED, E.LOOP})
AFTER_A_FAULT = frozenset({S.ASK, S.CHOOSE_ROLLBACK})
"""Where an interruption leads when it has broken the update; ASK, because only a finished ArtifactInstall leads on."""

MAY_BE_A_MIX = frozenset(
    {
        (S.LEAVE_COMMIT, E.FAILED),
        (S.CHOOSE_ROLLBACK, E.ROLLBACK_UNSUPPORTED),
        (S.ROLLBACK, E.FLAWED),
        (S.ROLLBACK, E.FAILED),
        (S.CHOOSE_ROLLBACK_REBOOT, E.REBOOT_UNKNOWN),
        (S.ENTER_ROLLBACK_REBOOT, E.FAILED),
        (S.VERIFY_ROLLBACK_REBOOT, E.FLAWED),
        (S.FAILURE, E.FLAWED),
        (S.FAILURE, E.FAILED),
    }
)
UNCHANGED = frozenset({S.DOWNLOAD, S.WAIT_WINDOW, S.INSTALL})
"""Where nothing has changed in front of the step."""
UNCHANGED_BY_A_LOOP = frozenset({S.DOWNLOAD, S.WAIT_WINDOW, S.LEAVE_COMMIT, S.CLEANUP})


@dataclass(frozen=True, slots=True)
class Now:
    """What the rules are told of the world: the time, this boot, and the next free report number."""

    at: datetime
    boot_id: str
    seq: int


def begin(state: State, offer: Offer, now: Now, by_hand: ByHand | None = None) -> State:
    """Return `state` with a new update of `offer`, which must be the only one, and its first report."""
    if state.update is not None:
        raise ValueError("an update is already being carried out")
    update = Update(offer=offer, state=INITIAL, status=STATUS[INITIAL], boot_id=now.boot_id, stores=1, by_hand=by_hand)
    return _with_report(replace(state, update=update), now)


def move(state: State, event: Event, now: Now, error: Reason | None = None) -> State:
    """Return `state` after `event`; `update` is None when the update is done.

    A fault (FLAWED, FAILED, ABORTED, LOOP) needs `error`. Raises IllegalTransition when the table has no row.
    """
    if state.update is None:
        raise ValueError("no update is being carried out")
    update = _advance(state.update, event, error)
    if update.state is FINAL:
        return replace(state, update=None)
    update = replace(update, boot_id=now.boot_id, stores=update.stores + _cost(state.update.state, update.state))
    if update.state is not state.update.state:
        update = replace(update, waiting=None)
    after = replace(state, update=update)
    if update.state is S.CLEANUP and state.update.state is not S.CLEANUP:
        return _settle(after, now)
    status = STATUS.get(update.state, update.status)
    if status is update.status:
        return _reserve(after, now.seq)
    return _with_report(replace(after, update=replace(update, status=status)), now)


def _cost(before: UpdateState, after: UpdateState) -> int:
    """Return how many stores of the bounded number a step from one state to another takes."""
    return 0 if before is after is S.WAIT_WINDOW else 1


def acknowledge(state: State, deployment_id: str, attempt: int, seq: int) -> State:
    """Return `state` without the reports that an Ack covers."""
    kept = tuple(
        report
        for report in state.outbox
        if (report.deployment_id, report.attempt) != (deployment_id, attempt) or report.seq > seq
    )
    return state if len(kept) == len(state.outbox) else replace(state, outbox=kept)


def unacknowledged(state: State, update: Update) -> bool:
    """Say whether a report of the running attempt still waits for its Ack."""
    return any(is_attempt(update.offer, report.deployment_id, report.attempt) for report in state.outbox)


def outcome_of(state: State, offer: Offer) -> Report | None:
    """Return the final report of an offered attempt that is done and not acknowledged; None when it is not so."""
    for report in state.outbox:
        if is_attempt(offer, report.deployment_id, report.attempt) and report.status in FINISHED:
            return report
    return None


def is_old(state: State, offer: Offer) -> bool:
    """Say whether an offer is of an attempt that has ended here, or of one before it."""
    return any(one.deployment_id == offer.deployment_id and one.attempt >= offer.attempt for one in state.done)


def is_attempt(offer: Offer, deployment_id: str, attempt: int) -> bool:
    """Say whether an offer is of this attempt of this deployment."""
    return (offer.deployment_id, offer.attempt) == (deployment_id, attempt)


def may_stop(update: Update) -> bool:
    """Say whether an update that is not wanted any more can be stopped: nothing has changed yet, or it can be undone.

    Else it goes on: to stop between the steps would make a mix of a device that is whole.
    """
    return allows(update.state, E.ABORTED) and (update.state in UNCHANGED or update.supports_rollback is True)


def report_of(update: Update, now: Now) -> Report:
    """Return a report of where the update stands; not an outcome."""
    return Report(
        deployment_id=update.offer.deployment_id,
        attempt=update.offer.attempt,
        seq=now.seq,
        status=update.status,
        boot_id=now.boot_id,
        at=now.at,
        substate=update.state,
    )


def _advance(update: Update, event: Event, error: Reason | None) -> Update:
    """Follow the table through its forks to the next state that is stored."""
    if event in FAULTS and error is None:
        raise ValueError(f"the event {event} needs a reason")
    origin = update.state
    target = next_state(origin, event)
    update = _with_facts(update, event, target, error)
    while target in CHOICES:
        update = replace(update, state=target)
        answer = _answer(target, update)
        target = next_state(target, answer)
        update = _with_facts(update, answer, target, None)
    if target is FINAL or _may_store(update, origin, target):
        return replace(update, state=target)
    return _advance(replace(update, state=origin), E.LOOP, Reason(code=Code.STATE_LOOP, text=_LOOP_TEXT))


_LOOP_TEXT = f"The update was ended because it went in circles: more than {STORES_MAX} states were stored."


def _may_store(update: Update, origin: UpdateState, target: UpdateState) -> bool:
    kept_free = 0 if target is S.CLEANUP else STORES_FOR_THE_END
    return update.stores + _cost(origin, target) + kept_free <= STORES_MAX


def _answer(choice: UpdateState, update: Update) -> Event:
    """Answer a fork of the table from the facts."""
    if choice is S.CHOOSE_ROLLBACK:
        return E.ROLLBACK_SUPPORTED if update.supports_rollback else E.ROLLBACK_UNSUPPORTED
    match update.needs_reboot:
        case "Yes":
            return E.REBOOT_BY_MODULE
        case "Automatic":
            return E.REBOOT_BY_HOST
        case "No":
            return E.REBOOT_NONE
        case _:
            return E.REBOOT_UNKNOWN


def _with_facts(update: Update, event: Event, target: UpdateState, error: Reason | None) -> Update:
    """Return the update with what `event` in its state means for the outcome."""
    state = update.state
    if event in INTERRUPTIONS and target in AFTER_A_FAULT:
        code, text = INTERRUPTIONS[event]
        error = Reason(code=code, text=f"{text} during the step {state}, which cannot be continued.")
    if error is not None:
        update = replace(update, failure=_joined(update.failure, error, state, event))
    if (state, event) in MAY_BE_A_MIX or (event is E.LOOP and state not in UNCHANGED_BY_A_LOOP):
        update = replace(update, inconsistent=True)
    if (state, event) in {(S.COMMIT, E.OK), (S.DOWNLOAD, E.NOTHING)}:
        update = replace(update, committed=True)
    if target is S.FAILURE and not update.inconsistent:
        update = replace(update, rolled_back=True)
    return update


def _joined(first: Reason | None, then: Reason, state: UpdateState, event: Event) -> Reason:
    if first is None:
        return then
    replaces = event is E.LOOP or (state is S.ROLLBACK and event is E.FAILED)
    if then.text in first.text:  # the same step failed again, as a rollback reboot may
        return replace(first, code=then.code) if replaces else first
    return Reason(code=then.code if replaces else first.code, text=clip(f"{first.text} Then: {then.text}"))


def _settle(state: State, now: Now) -> State:
    """Write the outcome into the state: what the device provides now, the final report, and `last`."""
    update = _running(state)
    is_success = update.committed and not update.inconsistent
    outcome = DeviceStatus.SUCCESS if is_success else DeviceStatus.FAILURE
    state = replace(state, update=replace(update, status=outcome), provides=_provides_after(update, state.provides))
    report = _report_in(state, now)
    state = _with_report(state, now)
    last = LastUpdate(
        deployment_id=update.offer.deployment_id,
        attempt=update.offer.attempt,
        release=update.offer.artifact.name,
        outcome=outcome,
        at=now.at,
        report=report,
        error=None if is_success else update.failure,
        inconsistent=update.inconsistent,
        rolled_back=update.rolled_back,
    )
    return replace(state, last=last, done=_with_done(state.done, update))


def _with_done(done: tuple[Done, ...], update: Update) -> tuple[Done, ...]:
    """Return the attempts that have ended with the one of `update`, of its deployment the last only."""
    if update.by_hand is not None:
        return done
    deployment_id = update.offer.deployment_id
    others = tuple(one for one in done if one.deployment_id != deployment_id)
    return (*others, Done(deployment_id=deployment_id, attempt=update.offer.attempt))[-DONE_MAX:]


def _provides_after(update: Update, before: dict[str, str]) -> dict[str, str]:
    """Return the device's provides: the new ones if it has committed; an inconsistent device's name says so."""
    after = update.new_provides if update.committed and update.new_provides is not None else before
    if update.inconsistent:
        return after | {"artifact_name": update.offer.artifact.name + SUFFIX_INCONSISTENT}
    return after


def _with_report(state: State, now: Now) -> State:
    """Append a report of the update's status to the outbox, unless it is by hand, and reserve numbers past it."""
    if _running(state).by_hand is not None:
        return state
    return _reserve(replace(state, outbox=(*state.outbox, _report_in(state, now))[-OUTBOX_MAX:]), now.seq + 1)


def _report_in(state: State, now: Now) -> Report:
    """Return the report of the update's status."""
    update = _running(state)
    report = report_of(update, now)
    if update.status is DeviceStatus.SUCCESS:
        report = replace(report, artifact_name=state.provides["artifact_name"])
    elif update.status is DeviceStatus.FAILURE:
        inconsistent = True if update.inconsistent else UNSET
        report = replace(report, error=update.failure or UNSET, inconsistent=inconsistent)
    return report


def _reserve(state: State, next_seq: int) -> State:
    update = _running(state)
    if next_seq < update.reserved_seq:
        return state
    return replace(state, update=replace(update, reserved_seq=next_seq + SEQ_BLOCK))


def reserve(state: State, next_seq: int) -> State:
    """Return `state` with report numbers from `next_seq` on reserved; the same state when they are, or nothing runs."""
    return state if state.update is None else _reserve(state, next_seq)


def _running(state: State) -> Update:
    if state.update is None:
        raise ValueError("no update is being carried out")
    return state.update


def as_plain(reason: Reason | None) -> dict[str, str] | None:
    """Return a reason as plain values, for `status`."""
    return None if reason is None else msgspec.to_builtins(reason)
