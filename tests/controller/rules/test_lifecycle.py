"""Lifecycle, retries and why: where a deployment stands, and what is said about it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.controller.rules.samples import NOW, artifact, candidate, deployment, device, offered, part, phase
from wainwright_common.statuses import DeploymentStatus, DeviceStatus, Hold, Outcome
from wainwright_controller.records import Device, DeviceState, Opens, Phase, Tally
from wainwright_controller.rules.actions import Act, Refused, check_allowed
from wainwright_controller.rules.lifecycle import advance, outcome_of, promote
from wainwright_controller.rules.retries import BACKOFF_MAX_S, BACKOFF_SPREAD, failed, pause_before
from wainwright_controller.rules.selection import Candidate
from wainwright_controller.rules.spans import span
from wainwright_controller.rules.why import why

S = DeviceStatus


def test_a_deployment_is_pending_until_the_first_offer_and_finished_when_all_are() -> None:
    waiting: Tally = {(1, S.PENDING): 2}
    opened = [phase(size=2, opened_at=1.0)]
    two = deployment(device_count=2)

    assert advance(two, opened, waiting, NOW, begun=False)[0].status is DeploymentStatus.PENDING
    assert advance(two, opened, waiting, NOW, begun=True)[0].status is DeploymentStatus.INPROGRESS
    half = advance(two, opened, {(1, S.PENDING): 1, (1, S.SUCCESS): 1}, NOW, begun=False)[0]
    assert (half.status, half.started_at, half.finished_at) == (DeploymentStatus.INPROGRESS, NOW, None)
    over = advance(half, opened, {(1, S.FAILURE): 1, (1, S.SUCCESS): 1}, NOW + 9, begun=False)[0]
    assert (over.status, over.outcome, over.finished_at) == (DeploymentStatus.FINISHED, Outcome.PARTIAL, NOW + 9)


def test_a_retry_does_not_make_a_deployment_pending_again() -> None:
    running = deployment(status=DeploymentStatus.INPROGRESS, started_at=1.0)

    assert advance(running, [phase(opened_at=1.0)], {(1, S.PENDING): 1}, NOW, begun=False)[0].status is (
        DeploymentStatus.INPROGRESS
    )


@pytest.mark.parametrize(
    ("tally", "outcome"),
    [
        ({(1, S.SUCCESS): 2, (2, S.ALREADY_INSTALLED): 1}, Outcome.SUCCESS),
        ({(1, S.SUCCESS): 2, (1, S.NOARTIFACT): 1}, Outcome.PARTIAL),
        ({(1, S.NOARTIFACT): 5}, Outcome.FAILURE),
        ({(1, S.SUCCESS): 1, (1, S.FAILURE): 1}, Outcome.PARTIAL),
        ({(1, S.FAILURE): 2, (2, S.DECOMMISSIONED): 1}, Outcome.FAILURE),
    ],
)
def test_the_outcome_says_whether_all_some_or_none_ended_well(tally: Tally, outcome: Outcome) -> None:
    assert outcome_of(tally) is outcome


@pytest.mark.parametrize(
    ("tally", "outcome"),
    [
        ({(1, S.SUCCESS): 2, (1, S.ABORTED): 1}, Outcome.SUCCESS),
        ({(1, S.SUCCESS): 2, (1, S.ABORTED): 1, (1, S.FAILURE): 1}, Outcome.PARTIAL),
        ({(1, S.FAILURE): 1, (1, S.ABORTED): 5}, Outcome.FAILURE),
        ({(1, S.ABORTED): 5}, Outcome.ABORTED),
        ({}, Outcome.SUCCESS),
    ],
)
def test_devices_that_a_finish_lets_go_leave_the_outcome_to_the_others(tally: Tally, outcome: Outcome) -> None:
    assert outcome_of(tally, without_aborted=True) is outcome


def test_the_hold_says_what_a_deployment_waits_for() -> None:
    tally: Tally = {(1, S.PENDING): 1}
    holds = [
        advance(deployment(), phases, tally, NOW, begun=False)[0].hold
        for phases in (
            [phase()],
            [phase(opens=Opens.AT, opens_at=NOW + 5)],
            [phase(opens=Opens.APPROVAL)],
            [phase(opened_at=1.0), phase(number=2, opens=Opens.APPROVAL)],
            [phase(opened_at=1.0, done_at=2.0), phase(number=2, opens=Opens.APPROVAL)],
        )
    ]

    assert holds == [None, Hold.SCHEDULED, Hold.AWAITING_START, None, Hold.AWAITING_PROMOTION]


def test_time_opens_nothing_while_a_person_holds_the_deployment() -> None:
    paused = deployment(hold=Hold.PAUSED)
    phases = [phase(opened_at=1.0, done_at=2.0), phase(number=2)]

    after, same = advance(paused, phases, {(2, S.PENDING): 1}, NOW, begun=False)

    assert after.hold is Hold.PAUSED
    assert same == phases


def test_a_finished_deployment_does_not_move() -> None:
    over = deployment(status=DeploymentStatus.FINISHED, outcome=Outcome.ABORTED)

    assert advance(over, [phase()], {(1, S.PENDING): 1}, NOW, begun=True) == (over, [phase()])


def test_promoting_opens_the_next_phase_before_its_turn() -> None:
    automatic = [phase(opened_at=1.0), phase(number=2)]

    assert [p.opened_at for p in promote(deployment(), automatic, NOW)] == [1.0, NOW]


def test_promoting_opens_the_phase_that_waits_for_a_person_and_no_other() -> None:
    asks = [phase(opened_at=1.0), phase(number=2, opens=Opens.APPROVAL), phase(number=3, opens=Opens.APPROVAL)]

    assert [p.opened_at for p in promote(deployment(), asks, NOW)] == [1.0, NOW, None]


@pytest.mark.parametrize(("wanted", "code"), [(1, "phase-open"), (2, "phase-open"), (3, None), (4, "phase-not-next")])
def test_a_promotion_opens_the_phase_that_it_names_or_none(wanted: int, code: str | None) -> None:
    plan = [phase(opened_at=1.0), phase(number=2, opened_at=2.0), phase(number=3), phase(number=4)]

    if code is None:
        assert [p.opened_at for p in promote(deployment(), plan, NOW, wanted)] == [1.0, 2.0, NOW, None]
    else:
        with pytest.raises(Refused, match=f"[Pp]hase {wanted}") as refused:
            promote(deployment(), plan, NOW, wanted)
        assert refused.value.code == code
    with pytest.raises(Refused) as refused:
        promote(deployment(), [phase(opened_at=1.0), phase(number=2, opened_at=NOW)], NOW, 2)
    assert refused.value.code == "phase-open"


@pytest.mark.parametrize("phases", [[phase(opened_at=1.0)], [phase(), phase(number=2)]])
def test_promoting_is_refused_when_all_phases_are_open_or_none_is(phases: list[Phase]) -> None:
    with pytest.raises(Refused):
        promote(deployment(), phases, NOW)


def test_starting_is_refused_when_the_deployment_does_not_wait_for_it() -> None:
    with pytest.raises(Refused, match="does not wait"):
        check_allowed(Act.START, deployment())


@given(st.integers(2, 200), st.floats(-1, 1))
def test_the_pause_between_attempts_is_bounded_and_grows(attempt: int, jitter: float) -> None:
    pause = pause_before(attempt, jitter)

    assert 10 * (1 - BACKOFF_SPREAD) <= pause <= BACKOFF_MAX_S * (1 + BACKOFF_SPREAD)
    assert pause_before(attempt + 1, 0) >= pause_before(attempt, 0)


def test_a_device_gets_exactly_as_many_attempts_as_it_was_given() -> None:
    current, attempts = offered(), 1
    while (current := failed(current, "timeout", "late", retries=3, now=NOW, jitter=0)).status is S.PENDING:
        attempts += 1

    assert (attempts, current.attempt, current.status) == (4, 4, S.FAILURE)


FAILED = part(status=S.FAILURE, attempt=2, error_code="timeout", error_text="late", finished_at=2.0)


@pytest.mark.parametrize(
    ("who", "candidates", "last", "code", "words"),
    [
        (None, [], None, "unknown-device", "ever been heard of"),
        (device(state=DeviceState.PENDING), [], None, "not-accepted", "waiting to be accepted"),
        (device(state=DeviceState.REJECTED), [], None, "not-accepted", "rejected"),
        (device(), [], None, "no-deployment", "runs panel-1"),
        (device(), [], (FAILED, deployment()), "failed", "after 2 attempts (timeout: late)"),
        (device(), [], (part(status=S.NOARTIFACT), deployment()), "incompatible", "fits no artifact"),
        (device(), [], (part(status=S.ALREADY_INSTALLED), deployment()), "already-installed", "already had panel-2"),
        (device(), [], (part(status=S.SUCCESS), deployment()), "up-to-date", "installed panel-2"),
        (device(), [], (part(status=S.ABORTED), deployment()), "aborted", "aborted"),
        (device(), [candidate(phases=[phase()])], None, "phase-closed", "phase 1 of 1"),
        (
            device(),
            [candidate(part=part(phase=2), phases=[phase(opened_at=1.0), phase(number=2)])],
            None,
            "phase-closed",
            "waits for phase 1 to finish",
        ),
        (
            device(),
            [candidate(part=part(attempt=2, next_attempt_at=NOW + 20, error_code="timeout", error_text="late"))],
            None,
            "retry-later",
            "Attempt 2 in spring starts in 20 s. Last attempt: timeout: late",
        ),
        (device(), [candidate(deployment=deployment(hold=Hold.PAUSED))], None, "paused", "paused"),
        (device(online=False, online_since=NOW - 7200), [candidate()], None, "offline", "offline since 2 h"),
        (
            device(),
            [candidate(artifacts=[artifact(depends={"device_type": ("pi5",)})])],
            None,
            "incompatible",
            "needs device_type pi5, has pi4",
        ),
        (device(artifact_name="panel-2"), [candidate()], None, "already-installed", "already"),
        (device(), [candidate()], None, "due", "next check-in"),
        (device(), [candidate(part=offered())], None, "offered", "was offered"),
        (
            device(),
            [candidate(part=offered(S.DOWNLOADING, progress_done=62, progress_total=100))],
            None,
            "in-progress",
            "downloading (62 %) panel-2 in spring, attempt 1.",
        ),
        (
            device(),
            [candidate(part=offered(S.DOWNLOADING, substate="download"))],
            None,
            "in-progress",
            "downloading panel-2 in spring, attempt 1.",
        ),
        (
            device(),
            [candidate(part=offered(S.DOWNLOADING, substate="wait-window", progress_done=9, progress_total=9))],
            None,
            "in-progress",
            "downloading (100 %) panel-2 in spring, attempt 1 (wait-window).",
        ),
        (
            device(online=False, online_since=NOW - 600),
            [candidate(part=offered(S.REBOOTING))],
            None,
            "in-progress",
            "offline since 10 min",
        ),
    ],
)
def test_why_answers_in_one_sentence_with_the_facts(
    who: Device | None, candidates: list[Candidate], last: object, code: str, words: str
) -> None:
    answer = why(who, candidates, last, NOW)  # type: ignore[arg-type]  # rows of different shapes

    assert answer.code == code
    assert words in answer.text


def test_spans_of_time_are_printed_for_people() -> None:
    assert [span(s) for s in (-1, 8, 119, 120, 7199, 7200, 172_799, 172_800)] == [
        "0 s",
        "8 s",
        "119 s",
        "2 min",
        "120 min",
        "2 h",
        "48 h",
        "2 days",
    ]
