"""The list of devices: who is in the fleet, who is connected, who waits for a person."""

from __future__ import annotations

from fastapi import Request, Response
from sqlalchemy import Connection, func, select
from starlette.datastructures import QueryParams

from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.devices_listed import DeviceFilters, listed
from wainwright_controller.api.models import DeviceOut, Page
from wainwright_controller.records import DeviceState, KeyState
from wainwright_controller.rows import DEVICE, GROUP, KEY
from wainwright_controller.rules.filters import BadFilter
from wainwright_controller.web import routing
from wainwright_controller.web.deployments import known
from wainwright_controller.web.live import VIEWS
from wainwright_controller.web.rendering import Viewer, given_in, macro, page, query, viewer_of
from wainwright_controller.web.shared import Region, Regions

router = routing.pages()

ROWS = 50  # on one page
NAMES_MAX = 500  # of groups, that a page offers
NAMED_MAX = 5  # devices that a sentence names
_ONLINE = {"yes": True, "no": False}
_row = macro("devices_list.html", "row")
_table = macro("devices_list.html", "table")
_waiting = macro("devices_list.html", "waiting")


@router.get("/devices")
def show_devices(request: Request, context: InContext) -> Response:
    """Show all devices, or those that the filters choose."""
    params = request.query_params
    with context.store.read() as connection:
        regions = look(connection, context, viewer_of(request), params)
        groups = connection.execute(select(GROUP.c.name, GROUP.c.filter).order_by(GROUP.c.name).limit(NAMES_MAX)).all()
    filters = _filters(params)
    return page(
        request,
        "devices.html",
        regions=regions,
        live="/live" + query(given_in(params), view="devices"),
        filters=filters,
        is_filtered=_is_filtered(filters),
        states=list(DeviceState),
        groups=[group.name for group in groups],
        static_groups=[group.name for group in groups if group.filter is None],
    )


def look(connection: Connection, _context: Context, viewer: Viewer, params: QueryParams) -> Regions:
    """Return the list as it is now."""
    filters = _filters(params)
    wrong = ""
    found: Page[DeviceOut] = Page(items=[], total=0)
    try:
        found = listed(connection, filters, ROWS, params.get("cursor") or None)
    except BadFilter as error:  # told where it is typed
        wrong = error.reason
    rows = {f"device-{one.id}": _row(one) for one in found.items}
    table = _table(
        given_in(params), list(rows.values()), found.total, found.next, is_filtered=_is_filtered(filters), wrong=wrong
    )
    return {"waiting": Region(waiting(connection, viewer)), "list": Region(table, rows)}


VIEWS["devices"] = look


def waiting(connection: Connection, viewer: Viewer) -> str:
    """Return how many devices wait for a person, and what he can do about it."""
    new = connection.execute(
        select(func.count()).select_from(DEVICE).where(DEVICE.c.state == DeviceState.PENDING)
    ).scalar_one()
    # From the keys, of which few are pending: together with the above, by OR, it would read the whole fleet.
    asks = select(KEY.c.device_id).join(DEVICE, DEVICE.c.id == KEY.c.device_id).distinct()
    asks = asks.where(KEY.c.state == KeyState.PENDING, DEVICE.c.state == DeviceState.ACCEPTED)
    others = connection.execute(asks.order_by(KEY.c.device_id)).scalars().all()
    return _waiting(new, len(others), others[:NAMED_MAX], refused=viewer.lacks("POST", "/devices/accept"))


def _filters(params: QueryParams) -> DeviceFilters:
    return DeviceFilters(
        state=known(DeviceState, params.getlist("state")),
        group=params.get("group") or None,
        where=params.get("where", "").strip() or None,
        q=params.get("q", "")[:256] or None,
        online=_ONLINE.get(params.get("online", "")),
    )


def _is_filtered(filters: DeviceFilters) -> bool:
    return any((filters.state, filters.group, filters.where, filters.q, filters.online is not None))
