"""/api/v1/filters: what a filter means, before something is given to whom it chooses."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query
from sqlalchemy import Connection, func, select

from wainwright_controller.api import routing
from wainwright_controller.api.context import InContext
from wainwright_controller.api.models import FilterOut
from wainwright_controller.attribute_store import names_without_devices, sql_of
from wainwright_controller.records import DeviceState
from wainwright_controller.rows import DEVICE
from wainwright_controller.rules.filters import Filter, parse

router = routing.router("filters", "/filters")


@router.get("")
def explain_filter(
    context: InContext, where: Annotated[str, Query(description="A filter: docs/filters.md.")]
) -> FilterOut:
    """Say how a filter is understood, how many accepted devices meet it now, and which of its names no device has."""
    wanted = parse(where)
    with context.store.read() as connection:
        return explained(connection, wanted)


def explained(connection: Connection, wanted: Filter) -> FilterOut:
    """Return what there is to say of a filter."""
    accepted = select(func.count()).select_from(DEVICE).where(DEVICE.c.state == DeviceState.ACCEPTED)
    return FilterOut(
        where=wanted.text,
        devices=connection.execute(accepted.where(sql_of(wanted, connection))).scalar_one(),
        unknown=names_without_devices(connection, wanted),
    )
