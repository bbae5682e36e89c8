"""The list of deployments."""

from __future__ import annotations

from enum import StrEnum
from typing import TypeVar

from fastapi import Request, Response
from sqlalchemy import Connection
from starlette.datastructures import QueryParams

from wainwright_common.statuses import DeploymentStatus
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.deployments import listed
from wainwright_controller.api.deployments_listed import DeploymentFilters, DeploymentSort
from wainwright_controller.records import Strategy
from wainwright_controller.web import routing
from wainwright_controller.web.live import VIEWS
from wainwright_controller.web.rendering import Viewer, given_in, macro, page, query, viewer_of
from wainwright_controller.web.shared import Region, Regions

router = routing.pages()

ROWS = 25  # on one page: with their bars about 25 kB
_E = TypeVar("_E", bound=StrEnum)
_row = macro("deployments_list.html", "row")
_table = macro("deployments_list.html", "table")


@router.get("/deployments")
def show_deployments(request: Request, context: InContext) -> Response:
    """Show all deployments, or those that the filters choose."""
    params = request.query_params
    with context.store.read() as connection:
        regions = look(connection, context, viewer_of(request), params)
    filters = _filters(params)
    return page(
        request,
        "deployments.html",
        regions=regions,
        live="/live" + query(given_in(params), view="deployments"),
        filters=filters,
        sort=_sort(params),
        is_filtered=_is_filtered(filters),
        statuses=list(DeploymentStatus),
        strategies=list(Strategy),
    )


def look(connection: Connection, context: Context, viewer: Viewer, params: QueryParams) -> Regions:
    """Return the list as it is now."""
    filters, sort = _filters(params), _sort(params)
    found = listed(connection, context.clock(), filters, sort, ROWS, params.get("cursor") or None)
    rows = {f"d-{one.id}": _row(one) for one in found.items}
    html = _table(
        given_in(params),
        str(sort),
        list(rows.values()),
        found.total,
        found.next,
        is_filtered=_is_filtered(filters),
        may_create=viewer.may("POST", "/deployments"),
    )
    return {"list": Region(html, rows)}


VIEWS["deployments"] = look


def _filters(params: QueryParams) -> DeploymentFilters:
    return DeploymentFilters(
        status=known(DeploymentStatus, params.getlist("status")),
        strategy=known(Strategy, params.getlist("strategy")),
        q=params.get("q", "")[:256] or None,
        release=params.get("release") or None,
        creator=params.get("creator") or None,
    )


def known(kind: type[_E], given: list[str]) -> list[_E] | None:
    """Return the values of an address that there are; an old bookmark shows more, not an error."""
    return [one for one in kind if one in given] or None


def _sort(params: QueryParams) -> DeploymentSort:
    given = params.get("sort")
    return DeploymentSort(given) if given in list(DeploymentSort) else DeploymentSort.CREATED_LAST


def _is_filtered(filters: DeploymentFilters) -> bool:
    return any((filters.status, filters.strategy, filters.q, filters.release, filters.creator))
