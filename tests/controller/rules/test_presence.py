"""Who is online: the last word about a connection, and who asks although his word was lost."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.controller.rules.samples import NOW, device
from wainwright_common.messages import Presence
from wainwright_controller.records import Device
from wainwright_controller.rules.presence import LATE_MAX_S, asked, told


def says(device: Device, since: float, now: float, *, online: bool) -> Device:
    presence = Presence(online=online, since=datetime.fromtimestamp(since, UTC), agent_version="1")
    return told(device, presence, now, is_retained=False)


def test_who_asks_and_was_never_said_to_be_there_is_online() -> None:
    stranger = device(online=False, online_since=None)

    assert asked(stranger, NOW).online


@pytest.mark.parametrize(
    ("after_s", "online"),
    [(-LATE_MAX_S, True), (1 - LATE_MAX_S, False), (0.0, False), (LATE_MAX_S - 1, False), (LATE_MAX_S, True)],
)
def test_who_asks_after_his_last_will_is_online_once_the_question_cannot_be_older(
    after_s: float, *, online: bool
) -> None:
    gone = device(online=False, online_since=NOW)

    assert asked(gone, NOW + after_s).online is online


def test_asking_changes_nothing_about_who_is_online() -> None:
    there = device(online=True, online_since=NOW - 60)

    assert asked(there, NOW) == there


def test_the_last_will_of_a_connection_that_began_before_its_first_question_ends_it() -> None:
    """By the device's clock, which may be behind: what is lost of the presence is when the connection began."""
    found = asked(device(online=False, online_since=None), NOW)

    assert not says(found, NOW - 3600, NOW + 1, online=False).online


def test_a_presence_that_comes_late_says_when_the_connection_began() -> None:
    found = says(asked(device(online=False, online_since=None), NOW), NOW - 5, NOW + 1, online=True)

    assert (found.online, found.online_since) == (True, NOW - 5)
    assert says(found, NOW - 60, NOW + 2, online=False).online  # an older connection's will
    assert not says(found, NOW - 5, NOW + 2, online=False).online


@given(st.lists(st.floats(0, LATE_MAX_S - 1), max_size=4))
def test_no_question_that_waited_brings_back_who_has_gone(waited_s: list[float]) -> None:
    gone = says(device(), NOW - 60, NOW, online=False)

    for seconds in waited_s:
        gone = asked(gone, NOW + seconds)

    assert not gone.online
