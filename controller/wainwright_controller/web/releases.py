"""The list of releases: what there is, for which devices, how many run it; artifacts are uploaded here."""

from __future__ import annotations

from fastapi import Request, Response
from sqlalchemy import Connection, func, select
from starlette.datastructures import QueryParams

from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.releases import listed
from wainwright_controller.rows import ARTIFACT
from wainwright_controller.web import routing
from wainwright_controller.web.live import VIEWS
from wainwright_controller.web.rendering import Viewer, given_in, macro, page, query, row_id, viewer_of
from wainwright_controller.web.shared import Region, Regions

router = routing.pages()

ROWS = 50  # on one page
Q_MAX = 256  # characters, as in the API
_row = macro("releases_list.html", "row")
_table = macro("releases_list.html", "table")


@router.get("/releases")
def show_releases(request: Request, context: InContext) -> Response:
    """Show all releases, or those whose names have a part."""
    params = request.query_params
    with context.store.read() as connection:
        regions = look(connection, context, viewer_of(request), params)
    live = "/live" + query(given_in(params), view="releases")
    return page(request, "releases.html", regions=regions, live=live, q=_q(params))


def look(connection: Connection, _context: Context, viewer: Viewer, params: QueryParams) -> Regions:
    """Return the list as it is now."""
    q = _q(params)
    found = listed(connection, q or None, ROWS, params.get("cursor") or None)
    total = select(func.count(ARTIFACT.c.name.distinct()))
    if q:
        total = total.where(ARTIFACT.c.name.icontains(q, autoescape=True))
    rows = {(place := row_id("release", one.name)): _row(place, one) for one in found.items}
    html = _table(
        given_in(params),
        list(rows.values()),
        connection.execute(total).scalar_one(),
        found.next,
        is_filtered=bool(q),
        may_upload=viewer.may("POST", "/artifacts"),
    )
    return {"list": Region(html, rows)}


VIEWS["releases"] = look


def _q(params: QueryParams) -> str:
    return params.get("q", "").strip()[:Q_MAX]
