"""What a device may send: the budgets, and what becomes of what is over them."""

from __future__ import annotations

import pytest

from wainwright_agent import checkin, log_sender
from wainwright_agent.journal import OUTBOX_MAX
from wainwright_common.topics import Kind, Topic
from wainwright_controller.ingest.budgets import BUDGETS, FORGET_AFTER_S, RUBBISH, Budgets
from wainwright_controller.ingest.intake import Arrival, Counts, Delivery
from wainwright_controller.ingest.pipeline import SHARE_MAX, shares
from wainwright_controller.ingest.throttle import KEPT_BYTES_MAX, LOG_EVERY_S, Throttle

KINDS = list(BUDGETS)
LATEST = [kind for kind in KINDS if BUDGETS[kind].keeps_latest]
STEP_S = 0.01


def names(kinds: list[Kind]) -> list[str]:
    return [kind.name.lower() for kind in kinds]


def topic(kind: Kind, device: str = "press-07") -> str:
    return Topic(device, kind).text()


def delivery(kind: Kind, number: int = 1, device: str = "press-07", size: int = 0) -> Delivery:
    return Delivery(topic(kind, device), b"%d" % number + b" " * size, (0, number, 1))


def taken(budgets: Budgets, text: str, n: int, now: float) -> int:
    return sum(budgets.take(text, now).may_take for _ in range(n))


def test_every_kind_that_a_device_sends_has_a_budget() -> None:
    assert set(BUDGETS) == {kind for kind in Kind if kind.is_up}


def test_an_agent_that_keeps_the_protocol_stays_within_its_budgets() -> None:
    assert BUDGETS[Kind.CHECK_IN].per_s >= 1 / checkin.GAP_S
    assert BUDGETS[Kind.LOG].per_s > 1 / log_sender.PACE_S
    assert BUDGETS[Kind.REPORT].burst > OUTBOX_MAX


@pytest.mark.parametrize("kind", KINDS, ids=names(KINDS))
def test_a_burst_is_taken_at_once_and_no_message_more(kind: Kind) -> None:
    budgets = Budgets()
    assert taken(budgets, topic(kind), 2 * BUDGETS[kind].burst, 1000.0) == BUDGETS[kind].burst


@pytest.mark.parametrize("kind", KINDS, ids=names(KINDS))
def test_a_flood_is_taken_at_the_rate_for_ever(kind: Kind) -> None:
    budgets, budget = Budgets(), BUDGETS[kind]
    taken(budgets, topic(kind), budget.burst, 0.0)
    seconds = 3 * FORGET_AFTER_S
    n = sum(taken(budgets, topic(kind), 3, step * STEP_S) for step in range(int(seconds / STEP_S)))
    assert n == pytest.approx(seconds * budget.per_s, abs=2)


@pytest.mark.parametrize("kind", KINDS, ids=names(KINDS))
def test_a_message_is_free_when_the_refusal_said_and_not_before(kind: Kind) -> None:
    budgets = Budgets()
    taken(budgets, topic(kind), BUDGETS[kind].burst, 50.0)
    free_at = budgets.take(topic(kind), 50.0).free_at
    assert not budgets.take(topic(kind), free_at - STEP_S).may_take
    assert budgets.take(topic(kind), free_at).may_take
    assert not budgets.take(topic(kind), free_at).may_take


def test_budgets_of_devices_and_of_kinds_are_their_own() -> None:
    budgets = Budgets()
    taken(budgets, topic(Kind.REPORT), 10_000, 0.0)
    assert budgets.take(topic(Kind.CHECK_IN), 0.0).may_take
    assert budgets.take(topic(Kind.REPORT, "press-08"), 0.0).may_take


def test_what_is_on_no_topic_of_ours_shares_one_budget() -> None:
    budgets = Budgets()
    assert (
        sum(budgets.take(f"wain/v1/press-07/up/{n}", 0.0).may_take for n in range(2 * RUBBISH.burst)) == RUBBISH.burst
    )
    assert len(budgets) == 1


def test_memory_is_bounded_however_many_topics_there_are() -> None:
    budgets = Budgets(topics_max=100)
    for number in range(10_000):
        assert budgets.take(topic(Kind.REPORT, f"d{number}"), 0.0).may_take
        assert len(budgets) <= 200


def test_a_topic_is_forgotten_when_its_budget_has_filled_again_and_not_before() -> None:
    budgets = Budgets()
    taken(budgets, topic(Kind.REPORT), 10_000, 0.0)
    budgets.take(topic(Kind.REPORT, "other"), FORGET_AFTER_S + 1)  # a new generation
    budgets.take(topic(Kind.REPORT, "another"), 2 * FORGET_AFTER_S + 3)
    assert len(budgets) == 2


@pytest.mark.parametrize("kind", LATEST, ids=names(LATEST))
def test_of_what_is_over_the_newest_is_taken_when_there_is_room(kind: Kind) -> None:
    throttle, burst = Throttle(Counts()), BUDGETS[kind].burst
    passed = [throttle.lets_through(delivery(kind, n), 0.0) for n in range(burst + 5)]
    assert passed == [True] * burst + [False] * 5
    assert throttle.due(0.5 / BUDGETS[kind].per_s) == []
    assert [d.payload for d in throttle.due(1.5 / BUDGETS[kind].per_s)] == [b"%d" % (burst + 4)]
    assert throttle.due(1000.0) == []


def test_pieces_of_a_log_that_are_over_are_dropped() -> None:
    counts = Counts()
    throttle = Throttle(counts)
    for number in range(BUDGETS[Kind.LOG].burst + 5):
        throttle.lets_through(delivery(Kind.LOG, number), 0.0)
    assert throttle.due(1000.0) == []
    assert counts.throttled == {"log": 5}


def test_a_newer_message_that_is_taken_makes_the_kept_one_worthless() -> None:
    throttle = Throttle(Counts())
    for number in range(BUDGETS[Kind.PRESENCE].burst + 1):
        throttle.lets_through(delivery(Kind.PRESENCE, number), 0.0)
    assert throttle.lets_through(delivery(Kind.PRESENCE, 999), 1.5)
    assert throttle.due(1000.0) == []


def test_kept_messages_are_bounded_in_bytes() -> None:
    throttle, size = Throttle(Counts()), 256 * 1024
    devices = 2 * KEPT_BYTES_MAX // size
    for number in range(devices):
        for _ in range(BUDGETS[Kind.INVENTORY].burst + 1):
            throttle.lets_through(delivery(Kind.INVENTORY, 1, f"d{number}", size), 0.0)
    kept = throttle.due(1000.0)
    assert 0 < sum(len(d.payload) for d in kept) <= KEPT_BYTES_MAX


def test_who_is_over_is_logged_at_once_and_then_once_in_a_while(caplog: pytest.LogCaptureFixture) -> None:
    throttle = Throttle(Counts())
    for step in range(int(2.5 * LOG_EVERY_S)):
        for _ in range(1000):
            throttle.lets_through(delivery(Kind.LOG), float(step))
        throttle.due(float(step))
    told = [record.getMessage() for record in caplog.records]
    assert len(told) == 3
    assert all("'press-07/up/log'" in text for text in told)


def arrivals(*devices: str) -> list[Arrival]:
    return [Arrival(device, Kind.REPORT, None) for device in devices]  # type: ignore[arg-type]  # what it says is not looked at


def test_one_device_has_at_most_its_share_before_all_others() -> None:
    batch = arrivals(*["loud"] * 400, *[f"d{n}" for n in range(100)])
    first, second = shares(batch)
    assert [a.device for a in first].count("loud") == SHARE_MAX
    assert {a.device for a in first} == {"loud"} | {f"d{n}" for n in range(100)}
    assert {a.device for a in second} == {"loud"}
    assert len(first) + len(second) == len(batch)


@pytest.mark.parametrize("n", [0, 1, SHARE_MAX, 500], ids=str)
def test_a_batch_in_which_nobody_is_loud_is_one(n: int) -> None:
    batch = arrivals(*[f"d{i}" for i in range(n)])
    assert shares(batch) == ([batch] if n else [])
