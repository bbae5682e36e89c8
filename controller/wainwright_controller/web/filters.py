"""What static/filter.js asks while somebody types a filter: whom it chooses now, and which names there are.

Other than in the API, a filter that cannot be read is no error here: whoever types one is not finished, and browsers
write every error of a request into their console.
"""

from __future__ import annotations

from fastapi import Response
from fastapi.responses import JSONResponse
from sqlalchemy import select

from wainwright_controller.api.context import InContext
from wainwright_controller.api.filters import explained
from wainwright_controller.attribute_store import attribute_names, sql_of
from wainwright_controller.records import DeviceState
from wainwright_controller.rows import DEVICE
from wainwright_controller.rules.filters import BadFilter, parse
from wainwright_controller.web import routing

router = routing.pages("/filters")

NAMES_MAX = 1000
SHOWN = 5  # devices


@router.get("")
def look_at_filter(context: InContext, where: str) -> Response:
    """Give {where, devices, unknown, first} as GET /api/v1/filters does, `first` being ids; or {wrong, column}."""
    try:
        wanted = parse(where)
    except BadFilter as error:
        return JSONResponse({"wrong": error.reason, "column": error.column})
    with context.store.read() as connection:
        found = explained(connection, wanted)
        query = select(DEVICE.c.id).where(DEVICE.c.state == DeviceState.ACCEPTED, sql_of(wanted, connection))
        first = connection.execute(query.order_by(DEVICE.c.id).limit(SHOWN)).scalars().all()
    return JSONResponse(found.model_dump() | {"first": list(first)})


@router.get("/names")
def list_names(context: InContext) -> Response:
    """Give the names of all attributes, as a list."""
    with context.store.read() as connection:
        return JSONResponse(attribute_names(connection, NAMES_MAX))
