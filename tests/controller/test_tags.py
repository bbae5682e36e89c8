"""Tags and groups by filters, on a real store: what they change, whom they wake, what is refused."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from tests.controller.test_operations import IDS, Fleet
from wainwright_common.errors import WainwrightError
from wainwright_controller.attribute_store import load_tags, members_of
from wainwright_controller.operations import NotFound
from wainwright_controller.rows import ATTRIBUTE, DEVICE, EVENT
from wainwright_controller.rules.actions import Refused
from wainwright_controller.rules.filters import parse
from wainwright_controller.rules.tags import NAME_MAX, TAGS_MAX, VALUE_MAX, BadTag
from wainwright_controller.store import Store


@pytest.fixture
def fleet(store: Store) -> Fleet:
    return Fleet(store)


def tags(fleet: Fleet, device_id: str) -> dict[str, str]:
    with fleet.store.read() as connection:
        return load_tags(connection, [device_id]).get(device_id, {})


def members(fleet: Fleet, group: str) -> list[str]:
    with fleet.store.read() as connection:
        query = select(DEVICE.c.id).where(members_of(connection, group)).order_by(DEVICE.c.id)
        return list(connection.execute(query).scalars())


def test_a_tag_is_given_changed_and_removed_and_wakes_whom_it_changes(fleet: Fleet) -> None:
    change = fleet.operations.change_tags

    assert change(["d00", "d01"], {"site": "north", "floor": "3"}, [], "eve") == ["d00", "d01"]
    assert fleet.woken() == ["d00", "d01"]
    assert change(["d00", "d01", "d01", "d02"], {"site": "north"}, [], "eve") == ["d02"]
    assert fleet.woken() == ["d02"]
    assert change(parse('tags.site = "north" and tags.floor exists'), {"site": "south"}, ["floor"], "eve") == [
        "d00",
        "d01",
    ]
    assert change(["d00"], {}, ["nothing"], "eve") == []

    assert [tags(fleet, i) for i in ("d00", "d01", "d02", "d03")] == [
        {"site": "south"}, {"site": "south"}, {"site": "north"}, {}
    ]  # fmt: skip
    with fleet.store.read() as connection:
        texts = select(EVENT.c.text).where(EVENT.c.device_id == "d00", EVENT.c.kind == "tags").order_by(EVENT.c.id)
        assert connection.execute(texts).scalars().all() == [
            "tags: floor=3, site=north",
            "tags: site=south, floor removed",
        ]
        names = select(ATTRIBUTE.c.name).where(ATTRIBUTE.c.device_id == "d00", ATTRIBUTE.c.name.startswith("tags."))
        assert connection.execute(names).scalars().all() == ["tags.site"]


@pytest.mark.parametrize(
    ("given", "removed", "words"),
    [
        ({"": "x"}, [], "name of a tag"),
        ({"a b": "x"}, [], "name of a tag"),
        ({"a.": "x"}, [], "name of a tag"),
        ({"-a": "x"}, [], "name of a tag"),
        ({"a" * (NAME_MAX + 1): "x"}, [], "name of a tag"),
        ({}, ["größe"], "name of a tag"),
        ({"a": ""}, [], f"1 to {VALUE_MAX}"),
        ({"a": "x" * (VALUE_MAX + 1)}, [], f"1 to {VALUE_MAX}"),
        ({"a": "x\ny"}, [], "printable"),
        ({"a": "x"}, ["a"], "both given and removed"),
        ({f"t{n}": "x" for n in range(TAGS_MAX)}, [], f"{TAGS_MAX + 1} tags"),
    ],
    ids=lambda value: ascii(value)[:24],
)
def test_a_tag_that_is_not_allowed_is_refused_and_nothing_changes(
    fleet: Fleet, given: dict[str, str], removed: list[str], words: str
) -> None:
    fleet.operations.change_tags(["d00"], {"own": "1"}, [], "eve")
    fleet.woken()

    with pytest.raises(BadTag, match=words):
        fleet.operations.change_tags(["d01", "d00"], given, removed, "eve")

    assert (tags(fleet, "d00"), tags(fleet, "d01"), fleet.woken()) == ({"own": "1"}, {}, [])


def test_every_name_that_a_tag_may_have_is_a_name_in_a_filter(fleet: Fleet) -> None:
    names = ["a", "_", "9", "4g.modem", "in", "a-b:c", "a" * NAME_MAX]
    fleet.operations.change_tags(["d00"], dict.fromkeys(names, "x" * VALUE_MAX), [], "eve")

    for name in names:
        wanted = parse(f'tags.{name} = "{"x" * VALUE_MAX}"')
        assert fleet.operations.change_tags(wanted, {"found": name}, [], "eve") == ["d00"]


def test_an_unknown_device_gets_no_tag_and_neither_does_any_other(fleet: Fleet) -> None:
    with pytest.raises(NotFound, match="nobody"):
        fleet.operations.change_tags(["d00", "nobody"], {"a": "1"}, [], "eve")

    assert tags(fleet, "d00") == {}


def test_the_members_of_a_dynamic_group_are_those_that_meet_its_filter_now(fleet: Fleet) -> None:
    fleet.operations.create_group("north", [], "eve", parse("tags.site = 'north'"))
    assert members(fleet, "north") == []

    fleet.operations.change_tags(IDS[:3], {"site": "north"}, [], "eve")
    assert members(fleet, "north") == IDS[:3]
    fleet.operations.change_tags(["d00"], {}, ["site"], "eve")
    assert members(fleet, "north") == IDS[1:3]

    fleet.operations.change_group("north", parse("tags.site not exists"), "eve")
    assert members(fleet, "north") == ["d00", *IDS[3:]]
    fleet.operations.create_group("static", ["d00"], "eve")
    assert (members(fleet, "static"), members(fleet, "north")) == (["d00"], ["d00", *IDS[3:]])
    fleet.operations.delete_group("north", "eve")
    assert members(fleet, "north") == []


@pytest.mark.parametrize(
    ("action", "code"),
    [
        (lambda fleet: fleet.operations.add_to_group("dynamic", ["d00"], "eve"), "group-dynamic"),
        (lambda fleet: fleet.operations.remove_from_group("dynamic", ["d00"], "eve"), "group-dynamic"),
        (lambda fleet: fleet.operations.change_group("static", parse("a exists"), "eve"), "group-static"),
        (lambda fleet: fleet.operations.create_group("static", [], "eve", parse("a exists")), "group-exists"),
        (lambda fleet: fleet.operations.create_group("dynamic", ["d01"], "eve"), "group-exists"),
    ],
    ids=["add", "remove", "change", "create a dynamic one", "create a static one"],
)
def test_a_group_stays_what_it_is(fleet: Fleet, action: object, code: str) -> None:
    fleet.operations.create_group("static", ["d00"], "eve")
    fleet.operations.create_group("dynamic", [], "eve", parse("device_id = 'd05'"))

    with pytest.raises(Refused) as caught:
        action(fleet)  # type: ignore[operator]  # one of the above

    assert isinstance(caught.value, WainwrightError)
    assert caught.value.code == code
    assert (members(fleet, "static"), members(fleet, "dynamic")) == (["d00"], ["d05"])
