"""The list of groups, and one group with its members."""

from __future__ import annotations

from fastapi import Request, Response
from sqlalchemy import Connection
from starlette.datastructures import QueryParams

from wainwright_controller.api import groups
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.devices_listed import DeviceFilters
from wainwright_controller.api.devices_listed import listed as devices_listed
from wainwright_controller.api.models import GroupKind, GroupOut
from wainwright_controller.web import routing
from wainwright_controller.web.devices import ROWS as MEMBER_ROWS
from wainwright_controller.web.live import VIEWS
from wainwright_controller.web.rendering import Viewer, given_in, macro, page, query, row_id, viewer_of
from wainwright_controller.web.shared import Region, Regions

router = routing.pages("/groups")

ROWS = 25  # groups on one page: each dynamic one is a query over the fleet
_PARTS = "groups_list.html"
_row, _table, _about = macro(_PARTS, "row"), macro(_PARTS, "table"), macro(_PARTS, "about")
_member, _members = macro(_PARTS, "member"), macro(_PARTS, "members")


@router.get("")
def show_groups(request: Request, context: InContext) -> Response:
    """Show all groups, or those whose names have a text."""
    params = request.query_params
    with context.store.read() as connection:
        regions = look_at_all(connection, context, viewer_of(request), params)
    live = "/live" + query(given_in(params), view="groups")
    return page(request, "groups.html", regions=regions, live=live, q=_q(params))


def look_at_all(connection: Connection, _context: Context, viewer: Viewer, params: QueryParams) -> Regions:
    """Return the list as it is now."""
    found = groups.listed(connection, _q(params), ROWS, params.get("cursor") or None)
    rows = {(place := row_id("group", one.name)): _row(place, one, viewer) for one in found.items}
    html = _table(
        given_in(params),
        list(rows.values()),
        found.next,
        is_filtered=_q(params) is not None,
        may_create=viewer.may("POST", "/groups"),
    )
    return {"list": Region(html, rows)}


VIEWS["groups"] = look_at_all


@router.get("/{name}")
def show_group(request: Request, name: str, context: InContext) -> Response:
    """Show a group with its members."""
    params = QueryParams({**request.query_params, "group": name})
    with context.store.read() as connection:
        group = groups.shown(connection, name)
        regions = look(connection, context, viewer_of(request), params)
    live = "/live" + query(given_in(params), view="group")
    return page(
        request,
        "group.html",
        regions=regions,
        live=live,
        group=group,
        is_static=group.kind is GroupKind.STATIC,
        refused=_refusals(group, viewer_of(request)),
    )


def look(connection: Connection, _context: Context, viewer: Viewer, params: QueryParams) -> Regions:
    """Return a group as it is now; raises NotFound when it was deleted."""
    name, given = params.get("group", ""), given_in(params)
    given.pop("group", None)
    group = groups.shown(connection, name)
    filters = DeviceFilters(group=name, q=_q(params))
    found = devices_listed(connection, filters, MEMBER_ROWS, params.get("cursor") or None)
    rows = {f"device-{one.id}": _member(one, may_choose=group.kind is GroupKind.STATIC) for one in found.items}
    members = _members(
        given, group, list(rows.values()), found.total, found.next, is_filtered=filters.q is not None, viewer=viewer
    )
    return {"about": Region(_about(group)), "list": Region(members, rows)}


VIEWS["group"] = look


def _q(params: QueryParams) -> str | None:
    return params.get("q", "")[:256] or None


def _refusals(group: GroupOut, viewer: Viewer) -> dict[str, str]:
    """Return why what a person could do with a group is not possible, "" where it is."""
    wrong_kind = {
        GroupKind.STATIC: {"filter": "It is a list: it has no filter."},
        GroupKind.DYNAMIC: dict.fromkeys(("add", "remove"), "Its members follow from its filter: change that."),
    }[group.kind]
    routes = {
        "add": ("POST", "/groups/{name}/add"),
        "remove": ("POST", "/groups/{name}/remove"),
        "filter": ("PUT", "/groups/{name}/filter"),
        "delete": ("DELETE", "/groups/{name}"),
        "deploy": ("POST", "/deployments"),
    }
    return {name: viewer.lacks(*route) or wrong_kind.get(name, "") for name, route in routes.items()}
