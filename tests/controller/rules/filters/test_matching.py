"""What a filter means."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.controller.rules.filters.strategies import CALM, NAMES, TERMS, VALUES
from wainwright_controller.records import Device, DeviceState
from wainwright_controller.rules.filters import Filter, FilterIndex, Value, attributes_of, parse
from wainwright_controller.rules.filters.index import needed
from wainwright_controller.rules.filters.terms import Term

ATTRIBUTES = st.dictionaries(NAMES.map(lambda name: name.full), VALUES, max_size=6)
SHARED = [("device_type", "pi4")] * 9 + [("tags.site", "n"), ("tags.site", "s")]
PRESS = attributes_of(
    Device(
        id="press-07",
        state=DeviceState.ACCEPTED,
        online=True,
        device_type="pi4",
        artifact_name="panel-2",
        provides={"artifact_name": "panel-2", "rootfs-image.version": "2"},
    ),
    {"mem_mb": 1024, "disk_mb": "2048", "temp": -3.5, "version": "1.10", "mac": ["aa:1", "bb:2"], "none": []},
    {"site": "north", "floor": "3"},
    "plant-a",
)


@pytest.mark.parametrize(
    ("written", "is_met"),
    [
        ('device_id = "press-07" and state = "accepted" and group = "plant-a"', True),
        ('device_type = "pi4" and tags.site in ("north", "south") and mem_mb >= 512', True),
        ("online = true", True),
        ("online = false", False),
        ("agent_version exists", False),
        ('provides.rootfs-image.version = "2"', True),
        # A number compares numbers, whether they were reported as numbers or as texts; a text compares texts.
        ("mem_mb = 1024", True),
        ("mem_mb = 1024.0", True),
        ('mem_mb = "1024"', True),
        ('mem_mb = "1024.0"', False),
        ("disk_mb > 1024", True),
        ("tags.floor = 3", True),
        ("temp < 0", True),
        ("version = 1.1", True),
        ('version = "1.1"', False),
        ('version < "1.9"', True),
        ("version < 1.9", True),
        ('disk_mb < "9"', True),
        ("device_type > 0", False),
        ("device_type < 0", False),
        # Of a list any element is enough, and the opposite is that none is.
        ('mac = "bb:2"', True),
        ('mac != "bb:2"', False),
        ('mac != "cc:3"', True),
        ('mac in ("x", "aa:1")', True),
        ('mac not in ("x", "aa:1")', False),
        ('mac ~ "^b"', True),
        ("none exists", False),
        # What is missing meets nothing but opposites.
        ('nothing = "x"', False),
        ('nothing != "x"', True),
        ("nothing < 5", False),
        ("not nothing < 5", True),
        ('nothing not in ("x")', True),
        ("nothing exists", False),
        ("nothing not exists", True),
        ('nothing ~ ""', False),
        ('mem_mb ~ "^10"', True),
        ('device_type ~ "I4$"', False),
        ('device_type ~ "(?i)I4$"', True),
        ("not mem_mb = 1024 or mem_mb = 1024", True),
        ("not (mem_mb = 1024 or mem_mb = 1024)", False),
    ],
)
def test_a_filter_means_what_it_says(written: str, *, is_met: bool) -> None:
    assert parse(written).matches(PRESS) is is_met


@CALM
@given(TERMS, ATTRIBUTES)
def test_a_term_or_its_opposite_is_met_and_nothing_raises(term: Term, attributes: dict[str, Value]) -> None:
    assert Filter(term).matches(attributes) is not parse(f"not ({Filter(term).text})").matches(attributes)


@pytest.mark.parametrize(
    "value",
    ["\ud800", "x" * 5000, 10**5000, float("nan"), float("inf"), True, [], ["\ud800"]],
    ids=["surrogate", "long", "huge", "nan", "inf", "truth", "empty", "surrogate in a list"],
)
@pytest.mark.parametrize("operator", ["= 1", '= "x"', "> 1", '> "x"', '~ "x"', "exists", "in (1, 'x')"])
def test_a_strange_value_raises_nothing(value: Value, operator: str) -> None:
    attributes = {"inventory.a": value}

    assert parse(f"a {operator}").matches(attributes) is not parse(f"not a {operator}").matches(attributes)


def test_a_long_text_is_compared_as_if_all_of_it_were_seen() -> None:
    long = {"inventory.a": "x" * 300}

    assert parse(f'a > "{"x" * 255}"').matches(long)
    assert not parse(f'a = "{"x" * 255}"').matches(long)
    assert parse('a ~ "^x+$"').matches(long)


def test_no_pattern_takes_more_than_a_moment() -> None:
    """By backtracking, this one would take longer than the universe has existed."""
    assert not parse('a ~ "^(a|aa|a*)+$"').matches({"inventory.a": "a" * 255 + "!"})


@CALM
@given(st.lists(TERMS, max_size=8), ATTRIBUTES)
def test_an_index_finds_what_trying_every_filter_finds(found: list[Term], attributes: dict[str, Value]) -> None:
    filters = {number: Filter(term) for number, term in enumerate(found)}

    expected = [number for number, one in filters.items() if one.matches(attributes)]

    assert FilterIndex(filters).matching(attributes) == expected


@pytest.mark.parametrize(
    ("written", "conditions"),
    [
        ('tags.site in ("n", "s") and device_type = "pi4" and mem_mb > 5', {("tags.site", "n"), ("tags.site", "s")}),
        ("mem_mb > 5", {("inventory.mem_mb", None)}),
        ('a = "x" or b = 1', {("inventory.a", "x"), ("inventory.b", 1.0)}),
        ('a = "x" or b != 1', None),
        ('not a = "x"', None),
        ('a != "x" and b exists', {("inventory.b", None)}),
    ],
)
def test_an_index_goes_by_what_a_filter_needs_and_few_others_do(written: str, conditions: set[object] | None) -> None:
    assert needed(parse(written).root, Counter(SHARED)) == conditions


def test_names_have_scopes() -> None:
    assert set(PRESS) == {
        "device_id", "device_type", "artifact_name", "state", "online", "group", "tags.site", "tags.floor",
        "provides.artifact_name", "provides.rootfs-image.version", "inventory.mem_mb", "inventory.disk_mb",
        "inventory.temp", "inventory.version", "inventory.mac", "inventory.none",
    }  # fmt: skip
