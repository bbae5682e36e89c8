"""Reports: what each changes, and what its device is told."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.controller.rules.samples import NOW, deployment, offered, part, report
from wainwright_common.messages import Report, Verdict
from wainwright_common.statuses import FINISHED, IN_PROGRESS, DeviceStatus, may_report
from wainwright_controller.records import DeviceDeployment
from wainwright_controller.rules.reports import SEEN_BITS, Judgement, judge, was_taken


def judged(before: DeviceDeployment | None, told: Report, **changes: object) -> Judgement:
    return judge(before, told, deployment(**changes), now=NOW, jitter=0.0)


def test_a_report_moves_the_part_and_notes_its_time() -> None:
    verdict, after = judged(offered(), report("downloading", progress={"done": 5, "total": 10}, substate="mirror 2"))

    assert verdict is Verdict.ACCEPTED
    assert after is not None
    assert (after.status, after.last_seq, after.updated_at) == (DeviceStatus.DOWNLOADING, 1, NOW)
    assert (after.progress_done, after.progress_total, after.substate) == (5, 10, "mirror 2")


def test_a_success_finishes_the_part_for_good() -> None:
    _, after = judged(offered(DeviceStatus.INSTALLING, last_seq=3, seen=1), report("success", seq=4))

    assert after is not None
    assert (after.status, after.finished_at, after.deadline_at) == (DeviceStatus.SUCCESS, NOW, None)
    for status in DeviceStatus:
        verdict, same = judged(after, report(status, seq=5))
        assert verdict is Verdict.STALE
        assert same is after


@pytest.mark.parametrize(
    ("status", "verdict"),
    [(DeviceStatus.ABORTED, Verdict.ABORTED), (DeviceStatus.DECOMMISSIONED, Verdict.DECOMMISSIONED)],
)
def test_a_device_whose_part_was_ended_by_an_operator_is_told_to_stop(status: DeviceStatus, verdict: Verdict) -> None:
    for told in ("downloading", "success", "failure"):
        assert judged(offered(status), report(told, seq=9)) == Judgement(verdict, offered(status))


def test_an_unknown_part_is_answered_unknown() -> None:
    assert judged(None, report()) == Judgement(Verdict.UNKNOWN, None)


def test_a_device_cannot_report_on_what_it_was_not_offered() -> None:
    assert judged(part(), report("success")) == Judgement(Verdict.UNKNOWN, part())
    assert judged(offered(), report("success", attempt=2)) == Judgement(Verdict.UNKNOWN, offered())


def test_a_report_of_an_old_attempt_is_stale() -> None:
    now_second = offered(attempt=2)

    assert judged(now_second, report("success", attempt=1, seq=50)) == Judgement(Verdict.STALE, now_second)


def test_a_repeated_report_is_accepted_and_changes_nothing() -> None:
    _, once = judged(offered(), report("downloading", seq=1))
    assert once is not None
    _, twice = judged(once, report("installing", seq=2))

    assert judged(twice, report("downloading", seq=1)) == Judgement(Verdict.ACCEPTED, twice)
    assert judged(twice, report("installing", seq=2)) == Judgement(Verdict.ACCEPTED, twice)


def test_a_report_that_was_overtaken_is_stale() -> None:
    _, later = judged(offered(), report("installing", seq=5))

    assert judged(later, report("downloading", seq=4)) == Judgement(Verdict.STALE, later)


@pytest.mark.parametrize("before", sorted(DeviceStatus))
@pytest.mark.parametrize("after", sorted(DeviceStatus))
def test_the_table_alone_decides_which_status_may_follow(before: DeviceStatus, after: DeviceStatus) -> None:
    start = offered(before, last_seq=1, seen=1, finished_at=1.0 if before in FINISHED else None)

    verdict, changed = judged(start, report(after, seq=2))

    if may_report(before, after):
        assert verdict is Verdict.ACCEPTED
        assert changed is not start
    else:
        assert verdict is not Verdict.ACCEPTED
        assert changed is start


def test_a_failure_with_attempts_left_is_pending_again_and_says_when() -> None:
    told = report("failure", seq=2, error={"code": "download-failed", "text": "cut"})

    verdict, after = judged(offered(DeviceStatus.DOWNLOADING, last_seq=1, seen=1), told, retries=1)

    assert verdict is Verdict.ACCEPTED
    assert after is not None
    assert (after.status, after.attempt, after.offered, after.finished_at) == (DeviceStatus.PENDING, 2, False, None)
    assert (after.last_seq, after.seen, after.next_attempt_at) == (0, 0, NOW + 10)
    assert (after.error_code, after.error_text) == ("download-failed", "cut")


def test_a_failure_without_attempts_left_or_with_a_final_code_finishes() -> None:
    start = offered(DeviceStatus.DOWNLOADING)

    for retries, code in ((0, "download-failed"), (5, "verification-failed")):
        _, after = judged(start, report("failure", error={"code": code, "text": "x"}), retries=retries)
        assert after is not None
        assert (after.status, after.finished_at, after.error_code) == (DeviceStatus.FAILURE, NOW, code)


def test_a_failure_without_a_reason_gets_one() -> None:
    _, after = judged(offered(), report("failure"))

    assert after is not None
    assert after.error_code == "unknown"


@given(st.integers(0, 2**32))
def test_reports_in_any_order_and_number_leave_what_the_rules_say(seed: int) -> None:
    """However reports are lost, repeated and reordered: finished is final, seq never falls, repeats change nothing."""
    rng = random.Random(seed)
    current: DeviceDeployment | None = offered()
    taken: set[int] = set()
    for _ in range(40):
        seq = rng.randint(1, 12)
        told = report(rng.choice([*IN_PROGRESS, DeviceStatus.SUCCESS, DeviceStatus.FAILURE]), seq=seq)
        assert current is not None
        verdict, after = judged(current, told)
        assert after is not None
        assert after.last_seq >= current.last_seq
        is_outcome_of_unfinished = told.status in FINISHED and current.status not in FINISHED
        if seq in taken and not is_outcome_of_unfinished:
            assert (verdict, after) == (Verdict.ACCEPTED, current)
        elif after is not current:
            assert verdict is Verdict.ACCEPTED
            assert current.finished_at is None
            taken.add(seq)
        current = after


def test_what_was_taken_is_remembered_exactly_within_the_window() -> None:
    current: DeviceDeployment | None = offered()
    for seq in range(2, 200, 2):
        _, current = judged(current, report("downloading", seq=seq))
    assert current is not None

    window = range(current.last_seq - SEEN_BITS + 1, current.last_seq + 1)
    assert [seq for seq in window if was_taken(current, seq)] == [seq for seq in window if seq % 2 == 0]
    assert current.seen < 2**63
    assert not was_taken(current, current.last_seq + 1)


@pytest.mark.parametrize("seq", [1, 3, 5], ids=["long passed", "taken", "the last one"])
def test_an_outcome_is_taken_from_a_device_that_has_lost_its_journal_and_counts_anew(seq: int) -> None:
    far = offered(DeviceStatus.INSTALLING, last_seq=5, seen=0b111)

    judgement = judge(far, report("success", seq=seq), deployment(), now=NOW, jitter=0)

    assert judgement.verdict is Verdict.ACCEPTED
    assert judgement.part is not None
    assert (judgement.part.status, judgement.part.last_seq) == (DeviceStatus.SUCCESS, 5)
    again = judge(judgement.part, report("success", seq=seq), deployment(), now=NOW, jitter=0)
    assert again.part is judgement.part
