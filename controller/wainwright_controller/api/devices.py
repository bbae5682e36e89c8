"""/api/v1/devices: who is in the fleet, what they run, and why."""

from __future__ import annotations

from typing import Annotated

import msgspec
from fastapi import Depends, Query
from sqlalchemy import Connection, RowMapping, select

from wainwright_controller.api import routing
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import InContext
from wainwright_controller.api.devices_listed import WITH_GROUP, DeviceFilters, device_fields, listed, pending
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
)
from wainwright_controller.api.paging import LIMIT, Cursor, Limit, cut, key_of
from wainwright_controller.api.problems import BadRequest
from wainwright_controller.api.views import PARTS, part_fields, undoing_of
from wainwright_controller.attribute_store import load_tags
from wainwright_controller.enrolment_store import load_keys
from wainwright_controller.operations import NotFound
from wainwright_controller.records import DeviceDeployment, DeviceState, Event
from wainwright_controller.rows import DEPLOYMENT, DEVICE, EVENT, PART, from_row
from wainwright_controller.rules.filters import parse

router = routing.router("devices", "/devices")

Kind = Annotated[str | None, Query(max_length=32, description="Only lines of this kind.")]


@router.get("")
def list_devices(
    context: InContext, filters: Annotated[DeviceFilters, Depends()], limit: Limit = LIMIT, cursor: Cursor = None
) -> Page[DeviceOut]:
    """List devices by id; `q` looks into ids, device types and artifact names."""
    with context.store.read() as connection:
        return listed(connection, filters, limit, cursor)


@router.post("/accept", max_body_size=routing.FLEET_BODY)
def accept_devices(body: AcceptIn, context: InContext, actor: InActor) -> Changed:
    """Let devices take part, with the keys that ask for their names; they are asked to check in.

    409 which-key: several keys ask for one name, so somebody has to choose; with `all_pending` such are left out.
    409 decommissioned: one was taken out of the fleet, which `recommission` takes back.
    """
    ids = list(body.ids)
    if body.all_pending:
        with context.store.read() as connection:
            ids += connection.execute(pending()).scalars()
    changed = context.operations.decide_devices(ids, DeviceState.ACCEPTED, actor.name, skips_disputed=body.all_pending)
    return Changed(changed=changed)


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
        return detail(connection, device_id)


def detail(connection: Connection, device_id: str) -> DeviceDetail:
    """Return all of a device; raises NotFound."""
    tags = load_tags(connection, [device_id])
    keys = load_keys(connection, [device_id])
    row = connection.execute(WITH_GROUP.where(DEVICE.c.id == device_id)).mappings().first()
    if row is None:
        raise NotFound(f"No such device: {device_id}. `wainwright device list` shows all.")
    return DeviceDetail(
        **device_fields(row),
        boot_id=row["boot_id"] or None,
        provides=msgspec.json.decode(row["provides"] or "{}"),
        attributes=msgspec.json.decode(row["attributes"] or "{}"),
        tags=tags.get(device_id, {}),
        keys=[key_out(key) for key in keys[device_id]],
    )


@router.get("/{device_id}/history")
def device_history(device_id: str, context: InContext, limit: Limit = LIMIT, cursor: Cursor = None) -> Page[HistoryOut]:
    """List the deployments of a device, newest first."""
    with context.store.read() as connection:
        check_exists(connection, device_id)
        return history(connection, device_id, limit, cursor)


def history(connection: Connection, device_id: str, limit: int, cursor: str | None) -> Page[HistoryOut]:
    """Return a piece of the list of a device's deployments."""
    query = (
        PARTS.add_columns(DEPLOYMENT.c.name.label("deployment_name"), DEPLOYMENT.c.artifact_name)
        .where(PART.c.device_id == device_id)
        .order_by(PART.c.sequence.desc())
        .limit(limit + 1)
    )
    if cursor is not None:
        query = query.where(PART.c.sequence < key_of(cursor, tuple[int])[0])
    rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: (row["sequence"],))
    return Page(items=[_history_out(row) for row in rows], next=following)


@router.get("/{device_id}/timeline")
def device_timeline(
    device_id: str, context: InContext, kind: Kind = None, limit: Limit = LIMIT, cursor: Cursor = None
) -> Page[EventOut]:
    """List what happened to a device, newest first; what a technician installed has the kind `by-hand`."""
    with context.store.read() as connection:
        check_exists(connection, device_id)
        return timeline(connection, device_id, kind, limit, cursor)


def timeline(
    connection: Connection, device_id: str, kind: str | None, limit: int, cursor: str | None
) -> Page[EventOut]:
    """Return a piece of a device's timeline."""
    query = select(EVENT).where(EVENT.c.device_id == device_id).order_by(EVENT.c.id.desc()).limit(limit + 1)
    if kind is not None:
        query = query.where(EVENT.c.kind == kind)
    if cursor is not None:
        query = query.where(EVENT.c.id < key_of(cursor, tuple[int])[0])
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


def _history_out(row: RowMapping) -> HistoryOut:
    names = {"deployment_name": row["deployment_name"], "artifact_name": row["artifact_name"]}
    return HistoryOut(**part_fields(from_row(DeviceDeployment, row), undoing_of(row)), **names)
