"""The accepted devices that meet a filter now, read from the store."""

from __future__ import annotations

from sqlalchemy import Connection, select

from wainwright_controller.facts import load_facts
from wainwright_controller.records import Device, DeviceState
from wainwright_controller.rows import DEVICE, from_row
from wainwright_controller.rules.filters import Filter, attributes_of


def matching_devices(connection: Connection, condition: Filter) -> list[str]:
    """Return the ids of the accepted devices that meet `condition`, in order."""
    found = []
    query = select(DEVICE).where(DEVICE.c.state == DeviceState.ACCEPTED).order_by(DEVICE.c.id)
    for row in connection.execute(query).mappings().all():
        device = from_row(Device, row)
        facts = load_facts(connection, [device.id])[device.id]
        if condition.matches(attributes_of(device, facts.inventory, facts.tags, facts.group)):
            found.append(device.id)
    return found
