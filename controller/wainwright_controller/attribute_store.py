"""The table of attributes: what filters are asked of when they are asked of the whole fleet.

Its rows follow from the inventory, the tags and what a device says at check-ins, and are written in the transaction
that changes those. `sql_of` says in SQL what rules/filters/matching.py says of one device.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

import msgspec
from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    cast,
    delete,
    false,
    func,
    insert,
    literal,
    not_,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB

from wainwright_controller.records import DeviceState
from wainwright_controller.rows import ATTRIBUTE, DEVICE, GROUP, MEMBER, TAG, in_chunks
from wainwright_controller.rules.filters import Attributes, Filter, parse
from wainwright_controller.rules.filters.attributes import REPORTED, rows
from wainwright_controller.rules.filters.matching import COMPARED, is_true
from wainwright_controller.rules.filters.terms import (
    OPERATORS,
    SYSTEM_NAMES,
    And,
    Comparison,
    Literal,
    Name,
    Not,
    Operator,
    Or,
    Scope,
    Term,
    names_in,
)

_DELETE = delete(ATTRIBUTE).where(
    ATTRIBUTE.c.device_id == bindparam("key"),
    ATTRIBUTE.c.name == bindparam("key_name"),
    ATTRIBUTE.c.text == bindparam("key_text"),
)
_EQUAL = {Operator.EQUAL, Operator.IN}


class Source(StrEnum):
    """What some of a device's rows follow from; each source replaces its own."""

    CHECK_IN = "check-in"
    INVENTORY = "inventory"
    TAGS = "tags"


def source_of(name: str) -> Source:
    """Return where an attribute comes from, by its full name."""
    scope, dot, _ = name.partition(".")
    return Source(scope) if dot and scope in {Scope.INVENTORY, Scope.TAGS} else Source.CHECK_IN


# ---- writing ----------------------------------------------------------------------------------------------------


def put_attributes(connection: Connection, source: Source, devices: Mapping[str, Attributes]) -> None:
    """Have devices, by their ids, these attributes of one source and no others of it; writes what differs only."""
    for chunk in in_chunks(sorted(devices)):
        query = select(ATTRIBUTE).where(ATTRIBUTE.c.device_id.in_(chunk))
        before = {tuple(row) for row in connection.execute(query) if source_of(row.name) is source}
        after = {(i, *row) for i in chunk for row in rows(devices[i])}
        gone = [{"key": i, "key_name": name, "key_text": text} for i, name, text, _ in before - after]
        if gone:
            connection.execute(_DELETE, gone)
        new = [dict(zip(ATTRIBUTE.c.keys(), row, strict=True)) for row in sorted(after - before, key=lambda r: r[:3])]
        if new:
            connection.execute(insert(ATTRIBUTE), new)


# ---- some devices ------------------------------------------------------------------------------------------------


def load_tags(connection: Connection, device_ids: Collection[str]) -> dict[str, dict[str, str]]:
    """Return the tags of those of these devices that have any, by id."""
    found: dict[str, dict[str, str]] = defaultdict(dict)
    for chunk in in_chunks(list(device_ids)):
        query = select(TAG).where(TAG.c.device_id.in_(chunk)).order_by(TAG.c.device_id, TAG.c.name)
        for row in connection.execute(query):
            found[row.device_id][row.name] = row.value
    return dict(found)


# ---- all devices ------------------------------------------------------------------------------------------------


def members_of(connection: Connection, group: str) -> ColumnElement[bool]:
    """Return the condition on DEVICE that selects a group's members now: of its list, or by its filter."""
    stored = connection.execute(select(GROUP.c.filter).where(GROUP.c.name == group)).first()
    if stored is None:
        return false()
    if stored.filter is not None:
        return sql_of(parse(stored.filter), connection)
    return DEVICE.c.id.in_(select(MEMBER.c.device_id).where(MEMBER.c.group_name == group))


def names_without_devices(connection: Connection, wanted: Filter) -> list[str]:
    """Return the names in a filter that no device has an attribute of: mistakes, as a rule."""
    names = {name.full: name.text for name in names_in(wanted.root) if name.scope is not Scope.SYSTEM}
    found = []
    for full, text in sorted(names.items()):
        if connection.execute(select(ATTRIBUTE.c.name).where(ATTRIBUTE.c.name == full).limit(1)).first() is None:
            found.append(text)
    return found


def attribute_names(connection: Connection, limit: int) -> list[str]:
    """Return the names of the attributes that devices have, as a filter writes them, in order; at most so many.

    One jump in the index of names for each, where DISTINCT would read an entry for each device.
    """
    smallest = select(func.min(ATTRIBUTE.c.name).label("name")).cte("names", recursive=True)
    following = select(func.min(ATTRIBUTE.c.name)).where(ATTRIBUTE.c.name > smallest.c.name).correlate(smallest)
    names = smallest.union_all(select(following.scalar_subquery()).where(smallest.c.name.is_not(None)))
    found = connection.execute(select(names.c.name).where(names.c.name.is_not(None)).limit(limit)).scalars()
    return sorted({*map(_written, found), *SYSTEM_NAMES})


def _written(full: str) -> str:
    """Return an attribute's full name as it is written in a filter, as short as it can be."""
    scope, dot, key = full.partition(".")
    return Name(Scope(scope), key).text if dot and scope in set(Scope) else full


def sql_of(wanted: Filter, connection: Connection) -> ColumnElement[bool]:
    """Return the condition on DEVICE that selects exactly the devices that meet a filter; for this transaction.

    What no database does as the rule does (patterns, numbers in ids) is tried here, once for each distinct value.
    """
    return _Query(connection).condition(wanted.root)


class _Query:
    """The conditions of one filter."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def condition(self, term: Term) -> ColumnElement[bool]:
        match term:
            case And(terms):
                return and_(*map(self.condition, terms))
            case Or(terms):
                return or_(*map(self.condition, terms))
            case Not(one):
                return not_(self.condition(one))
            case Comparison(name, op, literals):
                opposite_of = OPERATORS[op].opposite_of
                if opposite_of is not None:
                    return not_(self._positive(name, opposite_of, literals))
                return self._positive(name, op, literals)

    def _positive(self, name: Name, op: Operator, literals: tuple[Literal, ...]) -> ColumnElement[bool]:
        if name.scope is not Scope.SYSTEM or name.key in REPORTED:
            return DEVICE.c.id.in_(select(ATTRIBUTE.c.device_id).where(self._stored(name.full, op, literals)))
        match name.key:
            case "device_id":
                if op in _EQUAL and not any(isinstance(one, float) for one in literals):
                    return DEVICE.c.id.in_(literals)
                ids = self._connection.execute(select(DEVICE.c.id)).scalars()
                return DEVICE.c.id.in_(self._among(ids.all(), op, literals))
            case "state":
                return DEVICE.c.state.in_([state for state in DeviceState if is_true(state.value, op, literals)])
            case "online":
                return or_(false(), *(DEVICE.c.online.is_(one) for one in (True, False) if is_true(one, op, literals)))
            case "group":
                groups = self._connection.execute(select(GROUP.c.name).where(GROUP.c.filter.is_(None))).scalars()
                chosen = self._among(groups.all(), op, literals)
                return DEVICE.c.id.in_(select(MEMBER.c.device_id).where(MEMBER.c.group_name.in_(chosen)))
            case other:
                raise TypeError(f"the system attribute {other} is not known here")

    def _stored(self, name: str, op: Operator, literals: tuple[Literal, ...]) -> ColumnElement[bool]:
        """Return the condition on ATTRIBUTE that a row of this name meets the operator."""
        has_name = ATTRIBUTE.c.name == name
        if op is Operator.EXISTS:
            return has_name
        if op is Operator.FOUND:
            distinct = select(ATTRIBUTE.c.text).where(has_name).distinct()
            texts = self._connection.execute(distinct).scalars()
            return and_(has_name, ATTRIBUTE.c.text.in_(self._among(texts.all(), op, literals)))
        texts_, numbers = [o for o in literals if isinstance(o, str)], [o for o in literals if isinstance(o, float)]
        if op in _EQUAL:
            met = [ATTRIBUTE.c.text.in_(texts_)] if texts_ else []
            met += [ATTRIBUTE.c.number.in_(numbers)] if numbers else []
        else:
            met = [COMPARED[op](ATTRIBUTE.c.text, one) for one in texts_]
            met += [COMPARED[op](ATTRIBUTE.c.number, one) for one in numbers]
        return and_(has_name, or_(*met))

    def _among(self, values: Sequence[str], op: Operator, literals: tuple[Literal, ...]) -> Select[tuple[str]]:
        """Return a query of those of `values` that meet the operator: one parameter, however many there are."""
        chosen = literal(msgspec.json.encode([v for v in values if is_true(v, op, literals)]).decode())
        if self._connection.dialect.name == "sqlite":
            return select(func.json_each(chosen).table_valued("value").c.value)
        rows_ = func.jsonb_array_elements_text(cast(chosen, JSONB)).table_valued("value")
        return select(rows_.c.value)
