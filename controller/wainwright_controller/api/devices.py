"""/api/v1/devices: who is in the fleet, what they run, and why."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from fastapi import Query
from sqlalchemy import ColumnElement, Connection, RowMapping, and_, func, or_, select

from wainwright_controller.api import routing
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.enrolment import key_out
from wainwright_controller.api.models import (
    AcceptIn,
    Changed,
    DeviceDetail,
    DeviceOut,
    EventOut,
    HistoryOut,
    IdsIn,
    Page,
    PreauthorizeIn,
    TagsIn,
    Why,
    known_moment,
    moment,
)
from wainwright_controller.api.paging import LIMIT, Cursor, Limit, Search, cut, key_of
from wainwright_controller.api.problems import BadRequest
from wainwright_controller.api.views import PARTS, part_fields, undoing_of
from wainwright_controller.attribute_store import load_tags, members_of, sql_of
from wainwright_controller.enrolment_store import load_keys
from wainwright_controller.operations import NotFound
from wainwright_controller.records import Device, DeviceDeployment, DeviceState, Event, KeyState
from wainwright_controller.rows import DEPLOYMENT, DEVICE, EVENT, KEY, MEMBER, PART, from_row
from wainwright_controller.rules.filters import parse

router = routing.router("devices", "/devices")

Kind = Annotated[str | None, Query(max_length=32, description="Only lines of this kind.")]

_WITH_GROUP = select(DEVICE, MEMBER.c.group_name).join(MEMBER, MEMBER.c.device_id == DEVICE.c.id, isouter=True)


@router.get("")
def list_devices(
    context: InContext,
    state: Annotated[list[DeviceState] | None, Query(description="Repeatable.")] = None,
    group: str | None = None,
    where: Annotated[str | None, Query(description="A filter: docs/filters.md.")] = None,
    q: Search = None,
    online: bool | None = None,  # noqa: FBT001  a query parameter is always named
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Page[DeviceOut]:
    """List devices by id; `q` looks into ids, device types and artifact names."""
    matching: list[ColumnElement[bool]] = []
    if state:
        matching.append(DEVICE.c.state.in_(state))
    if q:
        fields = (DEVICE.c.id, DEVICE.c.device_type, DEVICE.c.artifact_name)
        matching.append(or_(*(field.icontains(q, autoescape=True) for field in fields)))
    if online is not None:
        matching.append(DEVICE.c.online.is_(online))
    wanted = parse(where) if where is not None else None
    with context.store.read() as connection:
        if group is not None:
            matching.append(members_of(connection, group))
        if wanted is not None:
            matching.append(sql_of(wanted, connection))
        everything = _WITH_GROUP.where(and_(True, *matching))  # noqa: FBT003  SQL's TRUE
        total = connection.execute(everything.with_only_columns(func.count())).scalar_one()
        piece = everything.order_by(DEVICE.c.id).limit(limit + 1)
        if cursor is not None:
            piece = piece.where(DEVICE.c.id > key_of(cursor, tuple[str])[0])
        rows, following = cut(connection.execute(piece).mappings().all(), limit, lambda row: (row["id"],))
    return Page(items=[DeviceOut(**_device_fields(row)) for row in rows], total=total, next=following)


@router.post("/accept", max_body_size=routing.FLEET_BODY)
def accept_devices(body: AcceptIn, context: InContext, actor: InActor) -> Changed:
    """Let devices take part, with the keys that ask for their names; they are asked to check in.

    409 which-key: several keys ask for one name, so somebody has to choose; with `all_pending` such are left out.
    409 decommissioned: one was taken out of the fleet, which `recommission` takes back.
    """
    ids = list(body.ids)
    if body.all_pending:
        ids += _pending(context)
    changed = context.operations.decide_devices(ids, DeviceState.ACCEPTED, actor.name, skips_disputed=body.all_pending)
    return Changed(changed=changed)


def _pending(context: Context) -> list[str]:
    """Return the devices about which nobody has decided: whether they take part, or whether a first key is theirs."""
    asks = select(KEY.c.device_id).where(KEY.c.state == KeyState.PENDING)
    waits = (DEVICE.c.state == DeviceState.ACCEPTED) & DEVICE.c.id.in_(asks)
    query = select(DEVICE.c.id).where((DEVICE.c.state == DeviceState.PENDING) | waits).order_by(DEVICE.c.id)
    with context.store.read() as connection:
        return list(connection.execute(query).scalars())


@router.post("/reject", max_body_size=routing.FLEET_BODY)
def reject_devices(body: IdsIn, context: InContext, actor: InActor) -> Changed:
    """Keep devices out. 409 decommissioned: one was taken out of the fleet."""
    return Changed(changed=context.operations.decide_devices(body.ids, DeviceState.REJECTED, actor.name))


@router.post("/preauthorize", max_body_size=routing.FLEET_BODY)
def preauthorize_devices(body: PreauthorizeIn, context: InContext, actor: InActor) -> Changed:
    """Accept devices before they are heard of; one whose key is given gets a certificate without asking anybody.

    409 decommissioned: one was taken out of the fleet. 409 has-a-key: the device has another. 409 key-in-use: the key
    is another device's.
    """
    ids = list(dict.fromkeys([*body.ids, *body.keys]))
    return Changed(changed=context.operations.preauthorize(ids, actor.name, body.keys))


@router.post("/check-in", max_body_size=routing.FLEET_BODY)
def ask_to_check_in(body: IdsIn, context: InContext, actor: InActor) -> Changed:
    """Ask devices to check in now; one that is offline does so when it comes back."""
    context.operations.check_in_now(body.ids, actor.name)
    return Changed(changed=body.ids)


@router.post("/tags", max_body_size=routing.FLEET_BODY)
def change_tags(body: TagsIn, context: InContext, actor: InActor) -> Changed:
    """Give and remove tags; the devices that this changes are asked to check in."""
    if (body.ids is None) is (body.where is None):
        raise BadRequest("Tags are for devices by ids, or by a filter: give `ids` or `where`.")
    chosen = parse(body.where) if body.where is not None else body.ids or []
    return Changed(changed=context.operations.change_tags(chosen, body.given, body.removed, actor.name))


@router.post("/{device_id}/decommission")
def decommission_device(device_id: str, context: InContext, actor: InActor) -> Changed:
    """Take a device out of the fleet for good; its unfinished deployments end as `decommissioned`."""
    changed = context.operations.decommission(device_id, actor.name)
    return Changed(changed=[device_id] if changed else [])


@router.post("/{device_id}/recommission")
def recommission_device(device_id: str, context: InContext, actor: InActor) -> Changed:
    """Let a device that was decommissioned ask again; then it is accepted or rejected as a new one is."""
    context.operations.recommission(device_id, actor.name)
    return Changed(changed=[device_id])


@router.get("/{device_id}")
def show_device(device_id: str, context: InContext) -> DeviceDetail:
    """Show a device with its tags, its keys and its inventory."""
    with context.store.read() as connection:
        tags = load_tags(connection, [device_id])
        keys = load_keys(connection, [device_id])
        row = connection.execute(_WITH_GROUP.where(DEVICE.c.id == device_id)).mappings().first()
    if row is None:
        raise NotFound(f"No such device: {device_id}. `wainwright device list` shows all.")
    return DeviceDetail(
        **_device_fields(row),
        boot_id=row["boot_id"] or None,
        provides=msgspec.json.decode(row["provides"] or "{}"),
        attributes=msgspec.json.decode(row["attributes"] or "{}"),
        tags=tags.get(device_id, {}),
        keys=[key_out(key) for key in keys[device_id]],
    )


@router.get("/{device_id}/history")
def device_history(device_id: str, context: InContext, limit: Limit = LIMIT, cursor: Cursor = None) -> Page[HistoryOut]:
    """List the deployments of a device, newest first."""
    query = (
        PARTS.add_columns(DEPLOYMENT.c.name.label("deployment_name"), DEPLOYMENT.c.artifact_name)
        .where(PART.c.device_id == device_id)
        .order_by(PART.c.sequence.desc())
        .limit(limit + 1)
    )
    if cursor is not None:
        query = query.where(PART.c.sequence < key_of(cursor, tuple[int])[0])
    with context.store.read() as connection:
        check_exists(connection, device_id)
        rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: (row["sequence"],))
    return Page(items=[_history_out(row) for row in rows], next=following)


@router.get("/{device_id}/timeline")
def device_timeline(
    device_id: str, context: InContext, kind: Kind = None, limit: Limit = LIMIT, cursor: Cursor = None
) -> Page[EventOut]:
    """List what happened to a device, newest first; what a technician installed has the kind `by-hand`."""
    query = select(EVENT).where(EVENT.c.device_id == device_id).order_by(EVENT.c.id.desc()).limit(limit + 1)
    if kind is not None:
        query = query.where(EVENT.c.kind == kind)
    if cursor is not None:
        query = query.where(EVENT.c.id < key_of(cursor, tuple[int])[0])
    with context.store.read() as connection:
        check_exists(connection, device_id)
        rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: (row["id"],))
    return Page(items=[EventOut.of(row["id"], from_row(Event, row)) for row in rows], next=following)


@router.get("/{device_id}/why")
def why_device(device_id: str, context: InContext) -> Why:
    """Say in one sentence why a device is, or is not, being updated."""
    return Why(**context.operations.why(device_id)._asdict())


def check_exists(connection: Connection, device_id: str) -> None:
    """Raise NotFound for a device that nobody has heard of."""
    if connection.execute(select(DEVICE.c.id).where(DEVICE.c.id == device_id)).first() is None:
        raise NotFound(f"No such device: {device_id}. `wainwright device list` shows all.")


def _device_fields(row: RowMapping) -> dict[str, Any]:
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


def _history_out(row: RowMapping) -> HistoryOut:
    names = {"deployment_name": row["deployment_name"], "artifact_name": row["artifact_name"]}
    return HistoryOut(**part_fields(from_row(DeviceDeployment, row), undoing_of(row)), **names)
