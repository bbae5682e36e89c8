"""Why the devices of a deployment failed, or try again: the same error once, with how many devices had it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, func, select

from wainwright_common.statuses import DeviceStatus
from wainwright_controller.api.models import FailureOut
from wainwright_controller.rows import PART

DEVICES_NAMED = 5  # of each failure: enough to look into one, and few enough for a line

_ERROR = (PART.c.error_code, PART.c.error_text)
_Error = tuple[str | None, str | None]


class _Had(NamedTuple):
    """How many devices had an error, and the first of them."""

    devices: int = 0
    first: Sequence[str] = ()


def failures_of(
    connection: Connection, deployment_id: str, phases: Sequence[int], limit: int, *, retries: bool
) -> tuple[list[FailureOut], int]:
    """Return the most frequent failures, at most `limit` of them, and how many different ones there are.

    `phases` are those in which devices have failed, `retries` says that some may wait for another attempt: so an index
    finds both.
    """
    in_it = PART.c.deployment_id == deployment_id
    failed = and_(in_it, PART.c.phase.in_(phases), PART.c.status == DeviceStatus.FAILURE)
    again = and_(in_it, PART.c.next_attempt_at.is_not(None), PART.c.error_code.is_not(None))
    for_good = _counted(connection, failed) if phases else {}
    for_now = _counted(connection, again) if retries else {}
    none = _Had()
    errors = sorted(
        {*for_good, *for_now},
        key=lambda e: (-for_good.get(e, none).devices, -for_now.get(e, none).devices, e[0] or "", e[1] or ""),
    )
    found = []
    for error in errors[:limit]:
        good, now = for_good.get(error, none), for_now.get(error, none)
        first = [*good.first, *now.first][:DEVICES_NAMED]
        code, text = error[0] or "", error[1] or ""
        found.append(FailureOut(code=code, text=text, devices=good.devices, again=now.devices, first=first))
    return found, len(errors)


def _counted(connection: Connection, condition: ColumnElement[bool]) -> dict[_Error, _Had]:
    """Count devices by their error, and name the first ones of each, in one pass."""
    ranked = (
        select(
            *_ERROR,
            PART.c.device_id,
            func.count().over(partition_by=_ERROR).label("devices"),
            func.row_number().over(partition_by=_ERROR, order_by=PART.c.device_id).label("place"),
        )
        .where(condition)
        .subquery()
    )
    query = select(ranked).where(ranked.c.place <= DEVICES_NAMED).order_by(ranked.c.device_id)
    found: dict[_Error, _Had] = {}
    for code, text, device_id, devices, _ in connection.execute(query):
        first = found.get((code, text), _Had()).first
        found[code, text] = _Had(devices, [*first, device_id])
    return found
