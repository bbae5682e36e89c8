"""What devices logged in a deployment: one of them, or all."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from sqlalchemy import Connection, and_, select, tuple_

from wainwright_common.statuses import DeviceStatus
from wainwright_controller.api import routing
from wainwright_controller.api.context import InContext
from wainwright_controller.api.devices import check_exists
from wainwright_controller.api.models import LoggedOut, LogLineOut, Page, known_moment
from wainwright_controller.api.paging import LIMIT, Cursor, Limit, cut, key_of
from wainwright_controller.api.views import find_deployment
from wainwright_controller.rows import LOG_LINE, PART

router = routing.router("logs")


@router.get("/devices/{device_id}/logs/{deployment_id}")
def device_log(
    device_id: str, deployment_id: str, context: InContext, limit: Limit = LIMIT, cursor: Cursor = None
) -> Page[LogLineOut]:
    """Read what a device logged in a deployment, all its attempts, oldest line first."""
    key = (LOG_LINE.c.attempt, LOG_LINE.c.number)
    with context.store.read() as connection:
        check_exists(connection, device_id)
        deployment = find_deployment(connection, deployment_id)
        query = select(LOG_LINE).where(LOG_LINE.c.device_id == device_id, LOG_LINE.c.deployment_id == deployment.id)
        if cursor is not None:
            query = query.where(tuple_(*key) > key_of(cursor, tuple[int, int]))
        rows = connection.execute(query.order_by(*key).limit(limit + 1)).mappings().all()
    rows, following = cut(rows, limit, lambda row: (row["attempt"], row["number"]))
    return Page(items=[LogLineOut(**dict(row) | {"at": known_moment(row["at"])}) for row in rows], next=following)


def log_end(
    connection: Connection, device_id: str, deployment_id: str, limit: int, before: str | None
) -> Page[LogLineOut]:
    """Return the last lines of a log, oldest first; `next` is the cursor `before` of the lines before those."""
    key = (LOG_LINE.c.attempt, LOG_LINE.c.number)
    query = select(LOG_LINE).where(LOG_LINE.c.device_id == device_id, LOG_LINE.c.deployment_id == deployment_id)
    if before is not None:
        query = query.where(tuple_(*key) < key_of(before, tuple[int, int]))
    rows = connection.execute(query.order_by(*(one.desc() for one in key)).limit(limit + 1)).mappings().all()
    rows, earlier = cut(rows, limit, lambda row: (row["attempt"], row["number"]))
    lines = [LogLineOut(**dict(row) | {"at": known_moment(row["at"])}) for row in reversed(rows)]
    return Page(items=lines, next=earlier)


@router.get("/deployments/{deployment_id}/logs")
def deployment_logs(
    deployment_id: str,
    context: InContext,
    device: Annotated[list[str] | None, Query(description="Only this device's. Repeatable.")] = None,
    status: Annotated[list[DeviceStatus] | None, Query(description="Only of devices that stand there.")] = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Page[LoggedOut]:
    """Read what the devices of a deployment logged, by device; of each, all its attempts, oldest line first."""
    key = (LOG_LINE.c.device_id, LOG_LINE.c.attempt, LOG_LINE.c.number)
    with context.store.read() as connection:
        deployment = find_deployment(connection, deployment_id)
        query = select(LOG_LINE).where(LOG_LINE.c.deployment_id == deployment.id)
        if device:
            query = query.where(LOG_LINE.c.device_id.in_(device))
        if status:
            same = and_(PART.c.deployment_id == LOG_LINE.c.deployment_id, PART.c.device_id == LOG_LINE.c.device_id)
            query = query.join(PART, same).where(PART.c.status.in_(status))
        if cursor is not None:
            query = query.where(tuple_(*key) > key_of(cursor, tuple[str, int, int]))
        rows = connection.execute(query.order_by(*key).limit(limit + 1)).mappings().all()
    rows, following = cut(rows, limit, lambda row: (row["device_id"], row["attempt"], row["number"]))
    return Page(items=[LoggedOut(**dict(row) | {"at": known_moment(row["at"])}) for row in rows], next=following)
