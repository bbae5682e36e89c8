"""Why the devices of a deployment failed, or try again: the same error once, with how many devices had it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, and_, false, func, select

from wainwright_common.statuses import DeviceStatus
from wainwright_controller.api.models import FailureOut
from wainwright_controller.rows import PART

DEVICES_NAMED = 5  # of each failure: enough to look into one, and few enough for a line

_DEVICES = func.count().label("devices")
_ERROR = (PART.c.error_code, PART.c.error_text)


def failures_of(
    connection: Connection, deployment_id: str, phases: Sequence[int], limit: int, *, retries: bool
) -> tuple[list[FailureOut], int]:
    """Return the most frequent failures, at most `limit` of them, and how many different ones there are.

    `phases` are those in which devices have failed, `retries` says that some may wait for another attempt: so an index
    finds both.
    """
    in_it = PART.c.deployment_id == deployment_id
    failed = and_(in_it, PART.c.phase.in_(phases), PART.c.status == DeviceStatus.FAILURE) if phases else false()
    again = and_(in_it, PART.c.next_attempt_at.is_not(None), PART.c.error_code.is_not(None)) if retries else false()
    for_good, for_now = _counted(connection, failed), _counted(connection, again)
    errors = sorted(
        {*for_good, *for_now}, key=lambda e: (-for_good.get(e, 0), -for_now.get(e, 0), e[0] or "", e[1] or "")
    )
    found = []
    for code, text in errors[:limit]:
        first: list[str] = []
        for condition in (failed, again):
            same = and_(
                condition,
                PART.c.error_code.is_not_distinct_from(code),
                PART.c.error_text.is_not_distinct_from(text),
            )
            named = select(PART.c.device_id).where(same).order_by(PART.c.device_id).limit(DEVICES_NAMED - len(first))
            first += connection.execute(named).scalars()
        devices, waiting = for_good.get((code, text), 0), for_now.get((code, text), 0)
        found.append(FailureOut(code=code or "", text=text or "", devices=devices, again=waiting, first=first))
    return found, len(errors)


def _counted(connection: Connection, condition: ColumnElement[bool]) -> dict[tuple[str | None, str | None], int]:
    """Count devices by their error."""
    query = select(*_ERROR, _DEVICES).where(condition).group_by(*_ERROR)
    return {(code, text): devices for code, text, devices in connection.execute(query)}
