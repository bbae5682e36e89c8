"""What the store answers to a filter is what the rule says of each device, whatever was written before."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from alembic import command
from alembic.config import Config as AlembicConfig
from hypothesis import example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from sqlalchemy import Connection, delete, event, insert, select, update

from tests.controller.rules.filters.strategies import CALM, KEYS, TERMS, TEXTS, VALUES
from tests.support.postgresql import Postgresql
from wainwright_controller import store as store_module
from wainwright_controller.attribute_store import (
    Source,
    attribute_names,
    members_of,
    put_attributes,
    sql_of,
)
from wainwright_controller.facts import load_facts
from wainwright_controller.ledger import Ledger
from wainwright_controller.records import Device, DeviceState
from wainwright_controller.rows import ATTRIBUTE, DEVICE, GROUP, MEMBER, TAG
from wainwright_controller.rules.filters import Filter, Value, attributes_of, parse
from wainwright_controller.rules.filters.attributes import rows, scoped
from wainwright_controller.rules.filters.matching import COMPARED
from wainwright_controller.rules.filters.terms import SYSTEM_NAMES, Comparison, Literal, Name, Scope, Term
from wainwright_controller.store import Store


class Known(NamedTuple):
    """A device and all that filters can ask of it."""

    device: Device
    inventory: Mapping[str, Value]
    tags: Mapping[str, str]
    group: str | None


FIELDS = st.sampled_from(["", "pi4", "a", "10", "north-1"])
KNOWN = st.builds(
    Known,
    st.builds(
        Device,
        id=st.just(""),
        state=st.sampled_from(DeviceState),
        online=st.booleans(),
        device_type=FIELDS,
        artifact_name=FIELDS,
        agent_version=FIELDS,
        provides=st.dictionaries(st.sampled_from(KEYS), TEXTS, max_size=2),
    ),
    st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4),
    st.dictionaries(st.sampled_from(KEYS), TEXTS, max_size=3),
    st.sampled_from([None, "a", "10"]),
)
FLEETS = st.lists(KNOWN, min_size=1, max_size=6)
LITERALS: list[tuple[Literal, ...]] = [(9.0,), ("10",)]
EVERY = [
    Comparison(Name(scope, key), operator, literals)
    for scope, key in [(Scope.INVENTORY, "site"), (Scope.TAGS, "mem_mb"), (Scope.SYSTEM, "device_id")]
    for operator in COMPARED
    for literals in LITERALS
]
"""Every comparison with a number and with a text, of an attribute that a few devices of a fleet have."""
VARIED: list[tuple[str, Value, str | None]] = [
    ("a", 9, None),
    ("10", "10", "a"),
    ("", 100, "10"),
    ("b", "9x", None),
    ("a", -1.5, "a"),
]
MIXED = [
    Known(Device(id="", device_type=kind), {"site": value}, {"mem_mb": str(value)}, group)
    for kind, value, group in VARIED
]
IDS = ["a", "b", "10", "pi4", "north-1", "007"]


def named(fleet: list[Known]) -> list[Known]:
    """Return a fleet whose devices have ids."""
    return [one._replace(device=replace(one.device, id=i)) for i, one in zip(IDS, fleet, strict=False)]


def write(connection: Connection, fleet: list[Known]) -> None:
    """Have the store know these devices, those that it knows already included, as device traffic would."""
    ledger = Ledger(connection, 1.0)
    ledger.load_devices([one.device.id for one in fleet])
    for one in fleet:
        ledger.put_device(one.device)
    ledger.flush()
    for one in fleet:
        stored = msgspec.json.encode(one.inventory).decode()
        connection.execute(update(DEVICE).where(DEVICE.c.id == one.device.id).values(attributes=stored))
        for table in (TAG, MEMBER):
            connection.execute(delete(table).where(table.c.device_id == one.device.id))
        tags = [{"device_id": one.device.id, "name": key, "value": value} for key, value in one.tags.items()]
        if tags:
            connection.execute(insert(TAG), tags)
        if one.group is not None:
            connection.execute(insert(MEMBER), {"device_id": one.device.id, "group_name": one.group})
    inventories = {one.device.id: scoped(Scope.INVENTORY, one.inventory) for one in fleet}
    put_attributes(connection, Source.INVENTORY, inventories)
    put_attributes(connection, Source.TAGS, {one.device.id: scoped(Scope.TAGS, one.tags) for one in fleet})


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store with two static groups, on which every example undoes what it has written."""
    if request.param == "sqlite":
        store = Store(f"sqlite:///{tmp_path_factory.mktemp('store') / 'store.db'}")
    else:
        server: Postgresql = request.getfixturevalue("postgresql")
        store = Store(server.database())
    store.upgrade()
    with store.write() as connection:
        connection.execute(insert(GROUP), [{"name": name, "created_at": 1.0} for name in ("a", "10")])
    yield store
    store.close()


class Undone(Exception):  # noqa: N818  ends a transaction on purpose
    """Undoes what a transaction has written."""


@settings(CALM, max_examples=20)
@given(wanted=st.lists(TERMS, min_size=8, max_size=8), before=FLEETS, after=FLEETS)
@example(wanted=[], before=[], after=MIXED)
@example(wanted=[], before=MIXED[::-1], after=MIXED)
def test_sql_selects_the_devices_that_the_rule_selects(
    shared: Store, wanted: list[Term], before: list[Known], after: list[Known]
) -> None:
    fleet = named(after)
    attributes = {one.device.id: attributes_of(*one) for one in fleet}
    expected = [{i for i, known in attributes.items() if Filter(term).matches(known)} for term in [*wanted, *EVERY]]
    found = []
    ids = list(attributes)

    with suppress(Undone), shared.write() as connection:
        write(connection, named(before))
        write(connection, fleet)
        for term in [*wanted, *EVERY]:
            query = select(DEVICE.c.id).where(DEVICE.c.id.in_(ids), sql_of(Filter(term), connection))
            found.append(set(connection.execute(query).scalars()))
        facts = load_facts(connection, ids)
        loaded = {one.device.id: attributes_of(one.device, *facts[one.device.id]) for one in fleet}
        raise Undone

    assert found == expected
    assert {i: set(rows(known)) for i, known in loaded.items()} == {
        i: set(rows(known)) for i, known in attributes.items()
    }


def test_an_attribute_that_did_not_change_is_not_written_again(store: Store) -> None:
    with store.write() as connection:
        write(connection, [Known(Device(id="d1"), {"a": 1, "b": ["x", "y"]}, {"a": "1"}, None)])
        written: list[tuple[str, object]] = []
        event.listen(connection, "before_cursor_execute", lambda *a: written.append((a[2].split()[0], a[3])))
        put_attributes(connection, Source.INVENTORY, {"d1": {"inventory.a": 1, "inventory.b": ["y", "z"]}})
        assert [verb for verb, _ in written] == ["SELECT", "DELETE", "INSERT"]
        assert all("z" in str(values) or "x" in str(values) for _, values in written[1:])
        assert all("inventory.a" not in str(values) for _, values in written[1:])
        found = connection.execute(select(ATTRIBUTE.c.name, ATTRIBUTE.c.text).order_by(*ATTRIBUTE.primary_key)).all()

    assert found == [("inventory.a", "1"), ("inventory.b", "y"), ("inventory.b", "z"), ("tags.a", "1")]


def test_every_name_is_known_once_as_a_filter_writes_it(store: Store) -> None:
    with store.write() as connection:
        assert set(attribute_names(connection, 10)) == set(SYSTEM_NAMES)
        tags = {"site": "north", "odd name": "x"}
        fleet = [Known(Device(id=i, device_type="pi4"), {"group": "a", "mem_mb": 9}, tags, None) for i in ("a", "b")]
        write(connection, fleet)
    with store.read() as connection:
        found = attribute_names(connection, 100)
        assert set(found) - set(SYSTEM_NAMES) == {"inventory.group", "mem_mb", "tags.site", 'tags."odd name"'}
        assert found == sorted(set(found))
        assert all(parse(f"{name} exists") for name in found)
        assert len(set(attribute_names(connection, 2)) - set(SYSTEM_NAMES)) <= 2


def test_a_group_is_a_list_or_what_its_filter_selects_now(store: Store) -> None:
    with store.write() as connection:
        groups = [{"name": "list", "created_at": 1.0, "filter": None}]
        groups += [{"name": "rule", "created_at": 1.0, "filter": parse("tags.site = 'n'").text}]
        connection.execute(insert(GROUP), groups)
        write(connection, [Known(Device(id=i), {}, {"site": site}, group) for i, site, group in (
            ("d1", "n", "list"), ("d2", "n", None), ("d3", "s", "list"),
        )])  # fmt: skip
        found = {
            name: connection.execute(select(DEVICE.c.id).where(members_of(connection, name)).order_by(DEVICE.c.id))
            .scalars()
            .all()
            for name in ("list", "rule", "none")
        }

    assert found == {"list": ["d1", "d3"], "rule": ["d1", "d2"], "none": []}


def test_a_fleet_of_the_former_version_gets_its_attributes_with_the_migration(store_url: str) -> None:
    store = Store(store_url)
    config = AlembicConfig()
    config.set_main_option("script_location", str(Path(store_module.__file__).parent / "migrations"))
    old = {"state": "accepted", "created_at": 1.0, "last_seen_at": 1.0, "online": False, "boot_id": "", "last_why": ""}
    old |= {"device_type": "pi4", "artifact_name": "panel-1", "agent_version": "", "inventory_digest": ""}
    old |= {"id": "d1", "provides": '{"artifact_name": "panel-1"}', "attributes": '{"mem_mb": 512, "ip": ["x", "y"]}'}
    with store.write() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(insert(DEVICE), [old])
        connection.exec_driver_sql("INSERT INTO device_group (name, created_at) VALUES ('g', 1.0)")
        connection.exec_driver_sql("INSERT INTO group_member (device_id, group_name) VALUES ('d1', 'g')")
        command.upgrade(config, "0002")
        condition = sql_of(parse("mem_mb = 512 and ip = 'y' and device_type = 'pi4' and group = 'g'"), connection)
        assert connection.execute(select(DEVICE.c.id).where(condition)).scalars().all() == ["d1"]
        written = {tuple(row[1:]) for row in connection.execute(select(ATTRIBUTE))}
        assert written == {
            ("device_type", "pi4", None), ("artifact_name", "panel-1", None),
            ("provides.artifact_name", "panel-1", None),
            ("inventory.mem_mb", "512", 512.0), ("inventory.ip", "x", None), ("inventory.ip", "y", None),
        }  # fmt: skip
        command.downgrade(config, "0001")
        assert connection.exec_driver_sql("SELECT device_id FROM group_member").scalars().all() == ["d1"]
    store.close()
