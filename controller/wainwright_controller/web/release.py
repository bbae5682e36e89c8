"""One release: its artifacts, who runs it, which deployments need it still."""

from __future__ import annotations

from fastapi import Request, Response
from sqlalchemy import Connection, func, select
from starlette.datastructures import QueryParams

from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.models import ReleaseDetail
from wainwright_controller.api.releases import detail
from wainwright_controller.operations.artifacts import deployments_with
from wainwright_controller.records import DeviceState
from wainwright_controller.rows import DEPLOYMENT, DEVICE
from wainwright_controller.rules.filters.parser import LITERAL_MAX
from wainwright_controller.rules.filters.terms import quoted
from wainwright_controller.web import routing
from wainwright_controller.web.live import VIEWS
from wainwright_controller.web.rendering import Viewer, given_in, macro, page, query, viewer_of
from wainwright_controller.web.shared import Region, Regions

router = routing.pages()

TYPES_MAX = 20  # device types that are told apart
NEEDED_MAX = 20  # deployments that are named
_PARTS = "release_parts.html"
_head, _artifacts = macro(_PARTS, "head"), macro(_PARTS, "artifacts")
_running, _needed = macro(_PARTS, "running"), macro(_PARTS, "needed")


@router.get("/releases/{name:path}")
def show_release(request: Request, name: str, context: InContext) -> Response:
    """Show a release."""
    params = QueryParams({**request.query_params, "release": name})
    with context.store.read() as connection:
        regions = look(connection, context, viewer_of(request), params)
    live = "/live" + query(given_in(params), view="release")
    return page(request, "release.html", name=name, regions=regions, live=live)


def look(connection: Connection, _context: Context, viewer: Viewer, params: QueryParams) -> Regions:
    """Return a release as it is now."""
    name = params.get("release", "")
    release = detail(connection, name)
    needing = deployments_with(name).with_only_columns(DEPLOYMENT.c.id, DEPLOYMENT.c.name, DEPLOYMENT.c.status)
    regions = {
        "head": _head(release, viewer, in_use(release)),
        "artifacts": _artifacts(release, viewer, in_use(release)),
        "running": _running(release, where(name), _types(connection, name)),
        "needed": _needed(release, connection.execute(needing.limit(NEEDED_MAX)).all()),
    }
    return {region: Region(html) for region, html in regions.items()}


VIEWS["release"] = look


def in_use(release: ReleaseDetail) -> str:
    """Return why a release cannot be deleted now, "" if it can."""
    if not release.deployments:
        return ""
    first, more = release.deployments[0], len(release.deployments) - 1
    others = f" and {more} more" if more else ""
    need = "have" if more else "has"
    return f"{first}{others}, which {need} not finished, may need it: abort that, or wait until it has."


def _types(connection: Connection, name: str) -> list[tuple[str, int, str]]:
    """Return of which types the accepted devices are that run a release: type, devices, filter that chooses them."""
    runs = (DEVICE.c.artifact_name == name, DEVICE.c.state == DeviceState.ACCEPTED)
    counted = select(DEVICE.c.device_type, func.count()).where(*runs).group_by(DEVICE.c.device_type)
    rows = connection.execute(counted.order_by(func.count().desc(), DEVICE.c.device_type).limit(TYPES_MAX)).all()
    return [(row[0] or "", row[1], where(name, row[0] or "")) for row in rows]


def where(name: str, device_type: str = "") -> str:
    """Return the filter for the devices that run a release, "" when its name is too long for one."""
    if len(name) > LITERAL_MAX or len(device_type) > LITERAL_MAX:
        return ""
    asked = f"artifact_name = {quoted(name)}"
    return f"{asked} and device_type = {quoted(device_type)}" if device_type else asked
