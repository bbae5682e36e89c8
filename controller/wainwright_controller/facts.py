"""What a filter may ask of a device besides the device itself: its inventory, its tags and its static group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, select

from wainwright_common.messages import Attributes
from wainwright_controller.attribute_store import load_tags
from wainwright_controller.rows import DEVICE, MEMBER


class Facts(NamedTuple):
    """See the module."""

    inventory: Attributes
    tags: dict[str, str]
    group: str | None


NONE = Facts({}, {}, None)
"""What is known of a device that was never heard of."""


def load_facts(connection: Connection, device_ids: Sequence[str]) -> dict[str, Facts]:
    """Return the facts of the devices that exist among `device_ids`, which are few enough for one query."""
    tags = load_tags(connection, device_ids)
    query = (
        select(DEVICE.c.id, DEVICE.c.attributes, MEMBER.c.group_name)
        .select_from(DEVICE)
        .outerjoin(MEMBER, MEMBER.c.device_id == DEVICE.c.id)
        .where(DEVICE.c.id.in_(device_ids))
    )
    return {
        row.id: Facts(msgspec.json.decode(row.attributes), tags.get(row.id, {}), row.group_name)
        for row in connection.execute(query)
    }
