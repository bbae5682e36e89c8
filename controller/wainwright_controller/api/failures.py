"""Why the devices of a deployment failed: the same error once, with how many devices had it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, and_, func, select

from wainwright_common.statuses import DeviceStatus
from wainwright_controller.api.models import FailureOut
from wainwright_controller.rows import PART

DEVICES_NAMED = 5  # of each failure: enough to look into one, and few enough for a line

_DEVICES = func.count().label("devices")


def failures_of(
    connection: Connection, deployment_id: str, phases: Sequence[int], limit: int
) -> tuple[list[FailureOut], int]:
    """Return the most frequent failures, at most `limit` of them, and how many different ones there are.

    `phases` are those in which devices have failed: the index of (deployment, phase, status) is asked for them.
    """
    failed = and_(
        PART.c.deployment_id == deployment_id, PART.c.phase.in_(phases), PART.c.status == DeviceStatus.FAILURE
    )
    grouped = select(PART.c.error_code, PART.c.error_text, _DEVICES).where(failed)
    grouped = grouped.group_by(PART.c.error_code, PART.c.error_text)
    total = connection.execute(select(func.count()).select_from(grouped.subquery())).scalar_one()
    order = (_DEVICES.desc(), PART.c.error_code, PART.c.error_text)
    found = []
    for code, text, devices in connection.execute(grouped.order_by(*order).limit(limit)):
        same = and_(failed, PART.c.error_code.is_not_distinct_from(code), PART.c.error_text.is_not_distinct_from(text))
        named = select(PART.c.device_id).where(same).order_by(PART.c.device_id).limit(DEVICES_NAMED)
        first = list(connection.execute(named).scalars())
        found.append(FailureOut(code=code or "", text=text or "", devices=devices, first=first))
    return found, total
