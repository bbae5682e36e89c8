"""/api/v1/deployments: roll a release out, see how far it is, stop it."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated

from fastapi import Query
from sqlalchemy import ColumnElement, and_, func, or_, select, tuple_

from wainwright_common.statuses import DeploymentStatus, DeviceStatus
from wainwright_controller.api import routing
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.models import DeploymentOut, EventOut, OrderIn, Page, PartOut, PhaseIn, ReasonIn
from wainwright_controller.api.paging import LIMIT, Cursor, Limit, Search, cut, key_of
from wainwright_controller.api.views import deployment_out, deployments_out, find_deployment, part_out
from wainwright_controller.operations import Order
from wainwright_controller.records import Deployment, DeviceDeployment, Event
from wainwright_controller.rows import DEPLOYMENT, EVENT, PART, from_row
from wainwright_controller.rules.phases import PhaseSpec

router = routing.router("deployments", "/deployments")
_NO_REASON = ReasonIn()


@router.get("")
def list_deployments(
    context: InContext,
    status: Annotated[list[DeploymentStatus] | None, Query(description="Repeatable.")] = None,
    q: Search = None,
    name: Annotated[str | None, Query(description="Exactly this name.")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Page[DeploymentOut]:
    """List deployments, newest first; `q` looks into names and releases."""
    matching: list[ColumnElement[bool]] = []
    if status:
        matching.append(DEPLOYMENT.c.status.in_(status))
    if q:
        fields = (DEPLOYMENT.c.name, DEPLOYMENT.c.artifact_name)
        matching.append(or_(*(field.icontains(q, autoescape=True) for field in fields)))
    if name is not None:
        matching.append(DEPLOYMENT.c.name == name)
    where = and_(True, *matching)  # noqa: FBT003  SQL's TRUE
    piece = select(DEPLOYMENT).where(where).order_by(DEPLOYMENT.c.sequence.desc()).limit(limit + 1)
    if cursor is not None:
        piece = piece.where(DEPLOYMENT.c.sequence < key_of(cursor, tuple[int])[0])
    with context.store.read() as connection:
        total = connection.execute(select(func.count()).select_from(DEPLOYMENT).where(where)).scalar_one()
        rows, following = cut(connection.execute(piece).mappings().all(), limit, lambda row: (row["sequence"],))
        items = deployments_out(connection, [from_row(Deployment, row) for row in rows])
    return Page(items=items, total=total, next=following)


@router.post("", status_code=HTTPStatus.CREATED)
def create_deployment(body: OrderIn, context: InContext, actor: InActor) -> DeploymentOut:
    """Make a deployment. Its devices are fixed now, and those of a phase that is open are woken."""
    fields = {name: getattr(body, name) for name in OrderIn.model_fields}
    order = Order(**fields | {"phases": [_spec(phase) for phase in body.phases]})
    return _shown(context, context.operations.create_deployment(order, actor.name).id)


@router.get("/{deployment_id}")
def show_deployment(deployment_id: str, context: InContext) -> DeploymentOut:
    """Show a deployment, by its id, the beginning of one (4 characters or more), or its name."""
    return _shown(context, deployment_id)


@router.delete("/{deployment_id}", status_code=HTTPStatus.NO_CONTENT)
def delete_deployment(deployment_id: str, context: InContext, actor: InActor) -> None:
    """Delete a finished deployment with its logs."""
    context.operations.delete(_find(context, deployment_id).id, actor.name)


@router.get("/{deployment_id}/devices")
def deployment_devices(
    deployment_id: str,
    context: InContext,
    status: Annotated[list[DeviceStatus] | None, Query(description="Repeatable.")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Page[PartOut]:
    """List the devices of a deployment, by phase and id."""
    key = (PART.c.phase, PART.c.device_id)
    with context.store.read() as connection:
        deployment = find_deployment(connection, deployment_id)
        where = PART.c.deployment_id == deployment.id
        if status:
            where = and_(where, PART.c.status.in_(status))
        total = connection.execute(select(func.count()).select_from(PART).where(where)).scalar_one()
        piece = select(PART).where(where).order_by(*key).limit(limit + 1)
        if cursor is not None:
            piece = piece.where(tuple_(*key) > key_of(cursor, tuple[int, str]))
        rows = connection.execute(piece).mappings().all()
    rows, following = cut(rows, limit, lambda row: (row["phase"], row["device_id"]))
    return Page(items=[part_out(from_row(DeviceDeployment, row)) for row in rows], total=total, next=following)


@router.get("/{deployment_id}/timeline")
def deployment_timeline(
    deployment_id: str, context: InContext, limit: Limit = LIMIT, cursor: Cursor = None
) -> Page[EventOut]:
    """List what happened in a deployment, oldest first."""
    with context.store.read() as connection:
        deployment = find_deployment(connection, deployment_id)
        query = select(EVENT).where(EVENT.c.deployment_id == deployment.id).order_by(EVENT.c.id).limit(limit + 1)
        if cursor is not None:
            query = query.where(EVENT.c.id > key_of(cursor, tuple[int])[0])
        rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: (row["id"],))
    return Page(items=[EventOut.of(row["id"], from_row(Event, row)) for row in rows], next=following)


@router.post("/{deployment_id}/start")
def start_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """Start a deployment that awaits its start."""
    return _act(context, actor.name, deployment_id, context.operations.start, body)


@router.post("/{deployment_id}/promote")
def promote_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """Open the next phase, which waits for a person."""
    return _act(context, actor.name, deployment_id, context.operations.promote, body)


@router.post("/{deployment_id}/abort")
def abort_deployment(
    deployment_id: str, context: InContext, actor: InActor, body: ReasonIn = _NO_REASON
) -> DeploymentOut:
    """End a deployment: devices under way stop, and roll back what they have not committed."""
    return _act(context, actor.name, deployment_id, context.operations.abort, body)


def _spec(phase: PhaseIn) -> PhaseSpec:
    return PhaseSpec(
        count=phase.count,
        percent=phase.percent,
        opens=phase.opens,
        opens_at=phase.opens_at.timestamp() if phase.opens_at else None,
        delay_s=phase.delay_s,
        soak_s=phase.soak_s,
    )


def _find(context: Context, reference: str) -> Deployment:
    with context.store.read() as connection:
        return find_deployment(connection, reference)


def _shown(context: Context, reference: str) -> DeploymentOut:
    with context.store.read() as connection:
        return deployment_out(connection, find_deployment(connection, reference))


def _act(
    context: Context, actor: str, reference: str, act: Callable[[str, str, str], Deployment], body: ReasonIn
) -> DeploymentOut:
    deployment = act(_find(context, reference).id, actor, body.reason)
    return _shown(context, deployment.id)
