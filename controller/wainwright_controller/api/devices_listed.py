"""Which devices a list has, and how many wait for a person."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Query
from sqlalchemy import ColumnElement, Connection, RowMapping, Select, and_, func, or_, select

from wainwright_controller.api.models import DeviceOut, Page, known_moment, moment
from wainwright_controller.api.paging import Search, cut, key_of
from wainwright_controller.attribute_store import members_of, sql_of
from wainwright_controller.records import Device, DeviceState, KeyState
from wainwright_controller.rows import DEVICE, KEY, MEMBER, from_row
from wainwright_controller.rules.filters import parse
from wainwright_controller.texts_within import within

WITH_GROUP = select(DEVICE, MEMBER.c.group_name).join(MEMBER, MEMBER.c.device_id == DEVICE.c.id, isouter=True)
# A list has no use for inventories, which are most of a device's row.
_LISTED = WITH_GROUP.with_only_columns(
    *(column for column in DEVICE.c if column.name not in {"provides", "attributes"}), MEMBER.c.group_name
)


@dataclass
class DeviceFilters:
    """The parameters that choose devices; what is not given restricts nothing."""

    state: Annotated[list[DeviceState] | None, Query(description="Repeatable.")] = None
    group: str | None = None
    where: Annotated[str | None, Query(description="A filter: docs/filters.md.")] = None
    q: Search = None
    online: bool | None = None

    def condition(self, connection: Connection) -> ColumnElement[bool]:
        """Return what a device must meet; `q` looks into ids, types and artifact names. Raises BadFilter."""
        matching: list[ColumnElement[bool]] = []
        wanted = parse(self.where) if self.where is not None else None
        if self.state:
            matching.append(DEVICE.c.state.in_(self.state))
        if self.q:
            fields = (DEVICE.c.id, DEVICE.c.device_type, DEVICE.c.artifact_name)
            matching.append(or_(*(within(field, self.q) for field in fields)))
        if self.online is not None:
            matching.append(DEVICE.c.online.is_(self.online))
        if self.group is not None:
            matching.append(members_of(connection, self.group))
        if wanted is not None:
            matching.append(sql_of(wanted, connection))
        return and_(True, *matching)  # noqa: FBT003  SQL's TRUE


def listed(connection: Connection, filters: DeviceFilters, limit: int, cursor: str | None) -> Page[DeviceOut]:
    """Return a piece of the list of devices, by id."""
    where = filters.condition(connection)
    piece = _LISTED.where(where).order_by(DEVICE.c.id).limit(limit + 1)
    if cursor is not None:
        piece = piece.where(DEVICE.c.id > key_of(cursor, tuple[str])[0])
    rows, following = cut(connection.execute(piece).mappings().all(), limit, lambda row: (row["id"],))
    total = len(rows)
    if cursor is not None or following is not None:  # else these are all: a search is not made twice
        total = connection.execute(select(func.count()).select_from(DEVICE).where(where)).scalar_one()
    return Page(items=[DeviceOut(**device_fields(row)) for row in rows], total=total, next=following)


def pending() -> Select[Any]:
    """Return the query of the devices about which nobody has decided, by id.

    Whether they take part, or whether a first key is theirs.
    """
    asks = select(KEY.c.device_id).where(KEY.c.state == KeyState.PENDING)
    waits = (DEVICE.c.state == DeviceState.ACCEPTED) & DEVICE.c.id.in_(asks)
    return select(DEVICE.c.id).where((DEVICE.c.state == DeviceState.PENDING) | waits).order_by(DEVICE.c.id)


def device_fields(row: RowMapping) -> dict[str, Any]:
    """Return what DeviceOut has, of a row of WITH_GROUP."""
    device = from_row(Device, row)
    return {
        "id": device.id,
        "state": device.state,
        "online": device.online,
        "online_since": moment(device.online_since),
        "last_seen_at": moment(device.last_seen_at or None),
        "last_check_in_at": moment(device.last_check_in_at),
        "last_why": device.last_why or None,
        "device_type": device.device_type or None,
        "artifact_name": device.artifact_name or None,
        "agent_version": device.agent_version or None,
        "group": row["group_name"],
        "created_at": known_moment(device.created_at),
    }
