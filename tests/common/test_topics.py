"""Topics: parsing and printing are inverses, and nothing else is a topic."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wainwright_common import topics
from wainwright_common.errors import BadTopic
from wainwright_common.topics import Kind, Topic, check_device_id, check_prefix, client_id, downlinks, parse, uplinks

IDS = st.from_regex(topics.DEVICE_ID, fullmatch=True)


@given(IDS, st.sampled_from(Kind))
def test_parsing_is_the_inverse_of_printing(device: str, kind: Kind) -> None:
    assert Topic(device, kind) == parse(Topic(device, kind).text())
    assert Topic(device, kind) == parse(Topic(device, kind).text("fleet/a"), "fleet/a")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "wain/v1",
        "wain/v1/",
        "wain/v1/press-07",
        "wain/v1/press-07/up",
        "wain/v1/press-07/up/",
        "wain/v1/press-07/up/reports",
        "wain/v1/press-07/up/report/x",
        "wain/v1/press-07/down/report",
        "wain/v1//up/report",
        "wain/v1/a/b/up/report",
        "wain/v1/+/up/report",
        "wain/v1/press 07/up/report",
        "wain/v1/préss/up/report",
        "wain/v1/" + "x" * 129 + "/up/report",
        "wain/v2/press-07/up/report",
        "/wain/v1/press-07/up/report",
        "xwain/v1/press-07/up/report",
        "wain/v1/press-07\n/up/report",
        "wain/v1/press-07/up/report\n",
        "$share/g/wain/v1/press-07/up/report",
    ],
)
def test_what_no_topic_prints_is_refused(text: str) -> None:
    with pytest.raises(BadTopic):
        parse(text)


@pytest.mark.parametrize("text", ["", "a/b", "a b", "ä", "x" * 129, "a\n", "#", "+"])
def test_what_is_no_device_id_is_refused(text: str) -> None:
    with pytest.raises(BadTopic):
        check_device_id(text)


@pytest.mark.parametrize("text", ["", "/", "a/", "/a", "a//b", "a/#", "+", "a b", "/".join("a" * 9)])
def test_what_is_no_prefix_is_refused(text: str) -> None:
    with pytest.raises(BadTopic):
        check_prefix(text)


def test_good_ids_and_prefixes_are_returned_as_they_are() -> None:
    assert check_device_id("Press_07.a:b@c-d") == "Press_07.a:b@c-d"
    assert check_prefix("wain/v1") == "wain/v1"


def test_filters_cover_one_direction() -> None:
    assert downlinks("press-07") == "wain/v1/press-07/down/#"
    assert uplinks() == "wain/v1/+/up/#"
    assert uplinks(share="controllers") == "$share/controllers/wain/v1/+/up/#"


@given(IDS, IDS)
def test_client_ids_differ_when_device_ids_differ_and_have_no_dot(one: str, other: str) -> None:
    assert (client_id(one) == client_id(other)) == (one == other)
    assert "." not in client_id(one)


def test_the_examples_in_the_docstrings_are_true() -> None:
    assert doctest.testmod(topics).failed == 0
