"""The accepted devices that meet a filter now, or may join a dynamic deployment, read from the store."""

from __future__ import annotations

from sqlalchemy import Connection, select

from wainwright_controller.attribute_store import sql_of
from wainwright_controller.records import Deployment, DeviceState
from wainwright_controller.rows import DEVICE, PART
from wainwright_controller.rules import lifecycle
from wainwright_controller.rules.filters import Filter, parse


def matching_devices(connection: Connection, condition: Filter) -> list[str]:
    """Return the ids of the accepted devices that meet `condition`, in order."""
    accepted = select(DEVICE.c.id).where(DEVICE.c.state == DeviceState.ACCEPTED, sql_of(condition, connection))
    return list(connection.execute(accepted.order_by(DEVICE.c.id)).scalars())


def joining_devices(connection: Connection, deployment: Deployment) -> list[str]:
    """Return the ids of the devices that may join a deployment and have not; of a static one, none."""
    if deployment.filter is None or not lifecycle.grows(deployment):
        return []
    joined = set(connection.execute(select(PART.c.device_id).where(PART.c.deployment_id == deployment.id)).scalars())
    return [i for i in matching_devices(connection, parse(deployment.filter)) if i not in joined]
