"""When the agent asks, waits and repeats: the plans without a clock."""

from __future__ import annotations

import math
from random import Random

import pytest

from wainwright_agent.checkin import AFTER_MAX_S, GAP_S, REPLY_FIRST_S, CheckIns
from wainwright_agent.pace import backoff, jittered, spread
from wainwright_common.messages import CheckInReason, Reply

INTERVAL_S = 1800.0


def reply(check_in_id: str, after_s: int = 0) -> Reply:
    return Reply(check_in_id=check_in_id, check_in_after_s=after_s, send_inventory=False)


@pytest.fixture
def plan() -> CheckIns:
    """A plan whose link came up at 100 s."""
    plan = CheckIns(INTERVAL_S, Random(1))
    plan.link_up(100.0)
    return plan


def test_nothing_is_asked_while_the_link_is_down() -> None:
    plan = CheckIns(INTERVAL_S, Random(1))

    plan.ask(CheckInReason.COMMAND)

    assert plan.due_at == math.inf
    assert plan.take(10.0, "a") is None


def test_a_link_that_comes_up_leads_to_a_check_in_at_once(plan: CheckIns) -> None:
    assert plan.take(100.0, "a") is CheckInReason.START

    plan.link_down()
    assert plan.due_at == math.inf
    plan.link_up(200.0)

    assert plan.take(200.0, "b") is CheckInReason.START


def test_after_an_answer_the_next_check_in_comes_after_the_interval_give_or_take_ten_percent(plan: CheckIns) -> None:
    plan.take(100.0, "a")
    assert plan.accept(reply("a"), 101.0)

    assert 101 + 0.9 * INTERVAL_S <= plan.due_at <= 101 + 1.1 * INTERVAL_S
    assert plan.take(plan.due_at, "b") is CheckInReason.TIMER


def test_the_controller_may_name_another_time_within_a_day(plan: CheckIns) -> None:
    plan.take(100.0, "a")
    plan.accept(reply("a", after_s=40), 101.0)
    assert 101 + 36 <= plan.due_at <= 101 + 44

    plan.take(plan.due_at, "b")
    plan.accept(reply("b", after_s=10**9), 200.0)
    assert plan.due_at <= 200 + 1.1 * AFTER_MAX_S


def test_only_the_answer_to_the_latest_check_in_counts(plan: CheckIns) -> None:
    plan.take(100.0, "a")
    plan.ask(CheckInReason.COMMAND)
    plan.take(101.0, "b")

    assert not plan.accept(reply("a"), 102.0)
    assert plan.accept(reply("b"), 102.0)
    assert not plan.accept(reply("b"), 103.0)


def test_an_unanswered_check_in_is_repeated_after_pauses_that_double(plan: CheckIns) -> None:
    plan.take(100.0, "0")
    now, pauses = 100.0, []
    for number in range(1, 9):
        pauses.append(plan.due_at - now)
        now = plan.due_at
        assert plan.take(now, str(number)) is CheckInReason.START

    for number, pause in enumerate(pauses):
        assert pause == pytest.approx(min(600, REPLY_FIRST_S * 2**number), rel=0.11)


def test_a_wake_leads_to_a_check_in_within_the_gap_and_a_flood_of_wakes_to_one(plan: CheckIns) -> None:
    plan.take(100.0, "a")
    for _ in range(1000):
        plan.ask(CheckInReason.COMMAND)

    assert plan.take(100.1, "b") is None
    assert plan.due_at == 100.0 + GAP_S
    assert plan.take(100.0 + GAP_S, "b") is CheckInReason.COMMAND
    assert plan.due_at > 100.0 + 5


def test_what_was_wanted_while_an_answer_was_under_way_is_asked_after_it(plan: CheckIns) -> None:
    plan.take(100.0, "a")
    plan.ask(CheckInReason.FINISHED)
    plan.accept(reply("a", after_s=1000), 100.1)

    assert plan.take(100.0 + GAP_S, "b") is CheckInReason.FINISHED


def test_the_first_check_in_can_wait_for_the_inventory_and_be_hastened() -> None:
    plan = CheckIns(INTERVAL_S, Random(1))
    plan.link_up(103.0)
    assert plan.take(101.0, "a") is None

    plan.hasten(101.5)

    assert plan.take(101.5, "a") is CheckInReason.START


def test_the_retries_of_ten_thousand_devices_are_spread_over_the_whole_range() -> None:
    random = Random(7)
    first = sorted(spread(0, 2.0, 60.0, random) for _ in range(10_000))
    late = [spread(20, 2.0, 60.0, random) for _ in range(10_000)]

    busiest = max(sum(low <= pause < low + 0.1 for pause in first) for low in (n / 10 for n in range(20)))
    assert busiest < 650  # in each tenth of a second; 500 if they were perfectly even
    assert first[-1] <= 2.0
    assert 55 < max(late) <= 60


@pytest.mark.parametrize("failures", [0, 3, 10**6])
def test_pauses_are_bounded_however_often_something_failed(failures: int) -> None:
    assert backoff(failures, 10.0, 600.0, Random(1)) <= 660
    assert spread(failures, 2.0, 60.0, Random(1)) <= 60


def test_jitter_is_a_tenth_to_both_sides() -> None:
    values = [jittered(100.0, Random(seed)) for seed in range(500)]

    assert 90 <= min(values) < 91
    assert 109 < max(values) <= 110
