"""Phases: who belongs to which, and when one opens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.controller.rules.samples import NOW, phase
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.records import Opens, Phase, Tally
from wainwright_controller.rules.phases import (
    BadPlan,
    PhaseSpec,
    advance,
    awaits_approval,
    check,
    due_at,
    lay_out,
    next_due_at,
    sizes,
)

DONE: Tally = {(1, DeviceStatus.SUCCESS): 1}
BUSY: Tally = {(1, DeviceStatus.INSTALLING): 1}


def two(**second: object) -> list[Phase]:
    return [phase(opened_at=NOW - 100, done_at=NOW - 50), phase(number=2, **second)]


@pytest.mark.parametrize(
    ("specs", "devices", "expected"),
    [
        ([PhaseSpec()], 7, [7]),
        ([PhaseSpec(percent=10), PhaseSpec()], 12, [2, 10]),
        ([PhaseSpec(percent=10), PhaseSpec()], 3, [1, 2]),
        ([PhaseSpec(percent=10), PhaseSpec(percent=40), PhaseSpec()], 100, [10, 40, 50]),
        ([PhaseSpec(count=5), PhaseSpec()], 3, [3, 0]),
        ([PhaseSpec(count=1), PhaseSpec(count=2), PhaseSpec(count=1)], 10, [1, 2, 7]),
        ([PhaseSpec(percent=33), PhaseSpec(percent=33), PhaseSpec(percent=34)], 100, [33, 33, 34]),
    ],
)
def test_counts_and_percents_become_sizes(specs: list[PhaseSpec], devices: int, expected: list[int]) -> None:
    assert sizes(specs, devices) == expected


@given(
    st.lists(
        st.one_of(st.builds(PhaseSpec, count=st.integers(1, 50)), st.builds(PhaseSpec, percent=st.floats(0.01, 100)))
    ),
    st.integers(0, 500),
)
def test_every_device_is_in_exactly_one_phase(specs: list[PhaseSpec], devices: int) -> None:
    result = sizes([*specs, PhaseSpec()], devices)

    assert sum(result) == devices
    assert min(result) >= 0
    assert len(result) == len(specs) + 1


@pytest.mark.parametrize(
    ("specs", "word"),
    [
        ([], "phases"),
        ([PhaseSpec()] * 101, "phases"),
        ([PhaseSpec(), PhaseSpec()], "no size"),
        ([PhaseSpec(count=1, percent=1)], "both"),
        ([PhaseSpec(opens=Opens.AT)], "time"),
        ([PhaseSpec(count=1, soak_s=60), PhaseSpec(soak_s=60)], "Phase 2 is the last"),
        ([PhaseSpec(percent=60), PhaseSpec(percent=60), PhaseSpec()], "100 %"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused_with_the_reason(specs: list[PhaseSpec], word: str) -> None:
    with pytest.raises(BadPlan, match=word):
        check(specs, NOW)


def test_the_first_phase_opens_at_once_or_at_its_time() -> None:
    now, later = phase(), phase(opens=Opens.AT, opens_at=NOW + 5)

    assert advance([now], {(1, DeviceStatus.PENDING): 1}, NOW)[0].opened_at == NOW
    assert advance([later], {(1, DeviceStatus.PENDING): 1}, NOW)[0].opened_at is None
    assert advance([later], {(1, DeviceStatus.PENDING): 1}, NOW + 5)[0].opened_at == NOW + 5


def test_a_delay_of_the_first_phase_is_counted_from_when_the_deployment_was_made() -> None:
    first = lay_out("d1", [PhaseSpec(opens=Opens.AFTER, delay_s=60)], 1, NOW)[0]

    assert due_at(first, None) == NOW + 60
    assert advance([first], {(1, DeviceStatus.PENDING): 1}, NOW + 59)[0].opened_at is None
    assert advance([first], {(1, DeviceStatus.PENDING): 1}, NOW + 60)[0].opened_at == NOW + 60


def test_a_later_phase_waits_until_the_one_before_is_done() -> None:
    phases = [phase(opened_at=NOW - 100), phase(number=2)]

    assert advance(phases, BUSY, NOW)[1].opened_at is None
    after = advance(phases, DONE | {(2, DeviceStatus.PENDING): 1}, NOW)
    assert (after[0].done_at, after[1].opened_at, after[1].done_at) == (NOW, NOW, None)


@pytest.mark.parametrize(
    ("first", "ailment"),
    [
        ({DeviceStatus.FAILURE: 1}, "its only device does not have the release"),
        ({DeviceStatus.DECOMMISSIONED: 1, DeviceStatus.NOARTIFACT: 2}, "none of its 3 devices has the release"),
        ({DeviceStatus.FAILURE: 2, DeviceStatus.SUCCESS: 1}, ""),
        ({DeviceStatus.FAILURE: 2, DeviceStatus.ALREADY_INSTALLED: 1}, ""),
        ({DeviceStatus.FAILURE: 0}, ""),
    ],
)
def test_a_phase_that_has_shown_nothing_is_done_and_opens_no_other(
    first: dict[DeviceStatus, int], ailment: str
) -> None:
    tally = {(1, status): n for status, n in first.items()} | {(2, DeviceStatus.PENDING): 1}
    phases = [phase(opened_at=NOW - 100), phase(number=2)]

    after = advance(phases, tally, NOW)

    assert [p.opened_at for p in after] == [NOW - 100, None if ailment else NOW]
    assert (after[0].done_at, after[0].ailment) == (NOW, ailment)
    assert advance(after, tally, NOW + 1) == after


def test_a_timed_phase_opens_whatever_the_one_before_has_shown_and_so_does_what_a_person_opens() -> None:
    tally: Tally = {(1, DeviceStatus.FAILURE): 1, (2, DeviceStatus.PENDING): 1}
    first = phase(opened_at=NOW - 9)
    opened = phase(number=2, opened_at=NOW - 1)

    assert advance([first, phase(number=2, opens=Opens.AT, opens_at=NOW)], tally, NOW)[1].opened_at == NOW
    ill = replace(first, done_at=NOW - 5, ailment="its only device does not have the release")
    assert advance([ill, opened], tally, NOW) == [replace(ill, ailment=""), opened]


def test_delay_and_soak_are_counted_from_the_end_of_the_phase_before() -> None:
    soaked = [phase(opened_at=1.0, done_at=NOW, soak_s=30), phase(number=2, opens=Opens.AFTER, delay_s=60)]

    assert due_at(soaked[1], soaked[0]) == NOW + 90
    assert advance(soaked, DONE, NOW + 89)[1].opened_at is None
    assert advance(soaked, DONE | {(2, DeviceStatus.PENDING): 1}, NOW + 90)[1].opened_at == NOW + 90


def test_a_timed_phase_does_not_wait_for_the_one_before_to_be_done_but_for_it_to_open() -> None:
    timed = phase(number=2, opens=Opens.AT, opens_at=NOW)

    assert advance([phase(opened_at=NOW - 9), timed], BUSY, NOW)[1].opened_at == NOW
    assert advance([phase(opens=Opens.APPROVAL), timed], BUSY, NOW)[1].opened_at is None


def test_a_phase_on_approval_never_opens_by_itself() -> None:
    phases = two(opens=Opens.APPROVAL)

    assert advance(phases, DONE, NOW + 10**9)[1].opened_at is None
    assert awaits_approval(phases[1], phases[0], NOW)
    assert next_due_at(phases) is None


def test_a_phase_on_approval_asks_only_when_the_one_before_is_done_and_has_soaked() -> None:
    busy = phase(opened_at=1.0)
    soaking = phase(opened_at=1.0, done_at=NOW, soak_s=10)
    asks = phase(number=2, opens=Opens.APPROVAL)

    assert not awaits_approval(asks, busy, NOW)
    assert not awaits_approval(asks, soaking, NOW)
    assert awaits_approval(asks, soaking, NOW + 10)
    assert not awaits_approval(replace(asks, opened_at=NOW), soaking, NOW + 10)


def test_empty_phases_are_passed_through_at_once() -> None:
    phases = lay_out("d1", [PhaseSpec(count=3), PhaseSpec(count=1), PhaseSpec()], 3, NOW)

    after = advance(phases, {(1, DeviceStatus.SUCCESS): 3}, NOW)

    assert [p.done_at for p in after] == [NOW, NOW, NOW]


def test_advancing_twice_changes_nothing_more() -> None:
    once = advance(two(), DONE | {(2, DeviceStatus.PENDING): 1}, NOW)

    assert advance(once, DONE | {(2, DeviceStatus.PENDING): 1}, NOW + 1) == once


def test_the_next_time_to_look_is_that_of_the_first_phase_that_has_one() -> None:
    timed = [phase(opened_at=1.0), phase(number=2, opens=Opens.AT, opens_at=NOW + 7)]

    assert next_due_at(timed) == NOW + 7
    assert next_due_at(two(opens=Opens.AFTER, delay_s=80)) == NOW + 30
