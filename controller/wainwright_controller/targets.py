"""The accepted devices that meet a filter now, read from the store."""

from __future__ import annotations

from sqlalchemy import Connection, select

from wainwright_controller.attribute_store import sql_of
from wainwright_controller.records import DeviceState
from wainwright_controller.rows import DEVICE
from wainwright_controller.rules.filters import Filter


def matching_devices(connection: Connection, condition: Filter) -> list[str]:
    """Return the ids of the accepted devices that meet `condition`, in order."""
    accepted = select(DEVICE.c.id).where(DEVICE.c.state == DeviceState.ACCEPTED, sql_of(condition, connection))
    return list(connection.execute(accepted.order_by(DEVICE.c.id)).scalars())
