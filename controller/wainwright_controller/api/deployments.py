"""/api/v1/deployments: roll a release out, say before what that would do, see how far it is."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated, NamedTuple

import msgspec
from fastapi import Depends, Query
from sqlalchemy import ColumnElement, Connection, and_, func, select, tuple_

from wainwright_common.statuses import DeviceStatus
from wainwright_controller.api import routing
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.deployments_listed import (
    DeploymentFilters,
    DeploymentSort,
    in_order,
    key_column,
    place_of,
)
from wainwright_controller.api.models import (
    DeploymentOut,
    EventOut,
    FailureOut,
    OrderIn,
    Page,
    PartOut,
    PlanOut,
    moment,
)
from wainwright_controller.api.paging import LIMIT, Cursor, Limit, Search, cut, key_of
from wainwright_controller.api.views import (
    PARTS,
    deployment_out,
    deployments_out,
    failures,
    find_deployment,
    part_out,
    undoing_of,
)
from wainwright_controller.records import Deployment, DeviceDeployment, Event
from wainwright_controller.rows import DEPLOYMENT, EVENT, PART, TALLY, from_row
from wainwright_controller.texts_within import within

router = routing.router("deployments", "/deployments")


@router.get("")
def list_deployments(
    context: InContext,
    filters: Annotated[DeploymentFilters, Depends()],
    sort: DeploymentSort = DeploymentSort.CREATED_LAST,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Page[DeploymentOut]:
    """List deployments, newest first unless `sort` says otherwise; `-` sorts downwards."""
    with context.store.read() as connection:
        return listed(connection, context.clock(), filters, sort, limit, cursor)


def listed(
    connection: Connection,
    now: float,
    filters: DeploymentFilters,
    sort: DeploymentSort,
    limit: int,
    cursor: str | None,
) -> Page[DeploymentOut]:
    """Return a piece of the list of deployments."""
    where = filters.condition()
    query = select(DEPLOYMENT, key_column(sort).label("sort_key")).where(where).limit(limit + 1)
    query = in_order(query, sort, after=cursor)
    total = connection.execute(select(func.count()).select_from(DEPLOYMENT).where(where)).scalar_one()
    rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: place_of(row, sort))
    items = deployments_out(connection, [from_row(Deployment, row) for row in rows], now)
    return Page(items=items, total=total, next=following)


@router.post("", status_code=HTTPStatus.CREATED, max_body_size=routing.FLEET_BODY)
def create_deployment(body: OrderIn, context: InContext, actor: InActor) -> DeploymentOut:
    """Make a deployment, and wake those whose phase is open.

    The devices of a static one are fixed now; those of a dynamic one join as they check in.
    """
    return shown(context, context.operations.create_deployment(body.order(), actor.name).id)


@router.post("/plan", max_body_size=routing.FLEET_BODY)
def plan_deployment(body: OrderIn, context: InContext) -> PlanOut:
    """Say what an order would do, and do nothing: who would get which artifact, who not and why, in which phases."""
    plan = msgspec.to_builtins(context.operations.plan_deployment(body.order()))
    plan["phases"] = [phase | {"opens_at": moment(phase["opens_at"])} for phase in plan["phases"]]
    return PlanOut(**plan)


@router.get("/{deployment_id}")
def show_deployment(deployment_id: str, context: InContext) -> DeploymentOut:
    """Show a deployment, by its id, the beginning of one (4 characters or more), or its name."""
    return shown(context, deployment_id)


@router.delete("/{deployment_id}", status_code=HTTPStatus.NO_CONTENT)
def delete_deployment(deployment_id: str, context: InContext, actor: InActor) -> None:
    """Delete a finished deployment with its logs."""
    context.operations.delete(found(context, deployment_id).id, actor.name)


@router.get("/{deployment_id}/devices")
def deployment_devices(
    deployment_id: str,
    context: InContext,
    status: Annotated[list[DeviceStatus] | None, Query(description="Repeatable.")] = None,
    regressed: Annotated[bool, Query(description="Only those that fell back after their success.")] = False,  # noqa: FBT002  a query parameter is always named
    q: Search = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Page[PartOut]:
    """List the devices of a deployment, by phase and id; `q` is a part of an id."""
    with context.store.read() as connection:
        deployment = find_deployment(connection, deployment_id)
        chosen = PartFilters(status or (), q or "", is_regressed=regressed)
        return parts_listed(connection, deployment.id, chosen, limit, cursor)


class PartFilters(NamedTuple):
    """Which devices of a deployment; what is empty restricts nothing."""

    status: Sequence[DeviceStatus] = ()
    q: str = ""
    is_regressed: bool = False


def parts_listed(
    connection: Connection, deployment_id: str, chosen: PartFilters, limit: int, cursor: str | None
) -> Page[PartOut]:
    """Return a piece of the list of a deployment's devices, by phase and id."""
    key = (PART.c.phase, PART.c.device_id)
    where = PART.c.deployment_id == deployment_id
    if chosen.status:
        where = and_(where, PART.c.status.in_(chosen.status))
    if chosen.is_regressed:
        where = and_(where, PART.c.regressed_at.is_not(None))
    if chosen.q:
        where = and_(where, within(PART.c.device_id, chosen.q))
    chosen_ids = select(PART.c.device_id).where(where).order_by(*key).limit(limit + 1)
    if cursor is not None:
        chosen_ids = chosen_ids.where(tuple_(*key) > key_of(cursor, tuple[int, str]))
    # Chosen first: a database that sorts would look for the rollbacks of all others as well.
    piece = PARTS.where(PART.c.deployment_id == deployment_id, PART.c.device_id.in_(chosen_ids)).order_by(*key)
    rows, following = cut(
        connection.execute(piece).mappings().all(), limit, lambda row: (row["phase"], row["device_id"])
    )
    items = [part_out(from_row(DeviceDeployment, row), undoing_of(row)) for row in rows]
    return Page(items=items, total=_parts_total(connection, deployment_id, chosen, where), next=following)


def _parts_total(connection: Connection, deployment_id: str, chosen: PartFilters, where: ColumnElement[bool]) -> int:
    """Return how many devices are chosen; where only their status is asked for, they have been counted already."""
    if chosen.q or chosen.is_regressed:
        return connection.execute(select(func.count()).select_from(PART).where(where)).scalar_one()
    counted = select(func.coalesce(func.sum(TALLY.c.n), 0)).where(TALLY.c.deployment_id == deployment_id)
    if chosen.status:
        counted = counted.where(TALLY.c.status.in_(chosen.status))
    return int(connection.execute(counted).scalar_one())


@router.get("/{deployment_id}/failures")
def deployment_failures(deployment_id: str, context: InContext, limit: Limit = LIMIT) -> Page[FailureOut]:
    """List why devices failed or try again, the most frequent error first; `total` counts the different ones."""
    with context.store.read() as connection:
        shown = deployment_out(connection, find_deployment(connection, deployment_id), context.clock())
        items, total = failures(connection, shown, limit)
    return Page(items=items, total=total)


@router.get("/{deployment_id}/timeline")
def deployment_timeline(
    deployment_id: str,
    context: InContext,
    devices: Annotated[bool, Query(description="Also lines about single devices.")] = True,  # noqa: FBT002  as above
    device: Annotated[str | None, Query(max_length=128, description="Only lines about this device.")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Page[EventOut]:
    """List what happened in a deployment, oldest first."""
    with context.store.read() as connection:
        deployment = find_deployment(connection, deployment_id)
        query = select(EVENT).where(EVENT.c.deployment_id == deployment.id).order_by(EVENT.c.id).limit(limit + 1)
        if not devices:
            query = query.where(EVENT.c.device_id.is_(None))
        if device is not None:
            query = query.where(EVENT.c.device_id == device)
        if cursor is not None:
            query = query.where(EVENT.c.id > key_of(cursor, tuple[int])[0])
        rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: (row["id"],))
    return Page(items=[EventOut.of(row["id"], from_row(Event, row)) for row in rows], next=following)


def found(context: Context, reference: str) -> Deployment:
    """Return the deployment that a path names; raises NotFound and Ambiguous."""
    with context.store.read() as connection:
        return find_deployment(connection, reference)


def shown(context: Context, reference: str) -> DeploymentOut:
    """Return the view of the deployment that a path names."""
    with context.store.read() as connection:
        return deployment_out(connection, find_deployment(connection, reference), context.clock())
