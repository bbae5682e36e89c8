"""One device: what it is, what runs, why it is or is not being updated, what it logged."""

from __future__ import annotations

from fastapi import Request, Response
from sqlalchemy import Connection
from starlette.datastructures import QueryParams

from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.devices import detail, history, timeline
from wainwright_controller.api.enrolment import certificates_listed
from wainwright_controller.api.logs import log_end
from wainwright_controller.api.models import CertificateOut, DeviceDetail
from wainwright_controller.api.problems import Ambiguous
from wainwright_controller.api.views import find_deployment
from wainwright_controller.operations import NotFound
from wainwright_controller.records import CertificateKind, DeviceState
from wainwright_controller.web import routing
from wainwright_controller.web.live import VIEWS
from wainwright_controller.web.rendering import Viewer, given_in, macro, page, query, viewer_of
from wainwright_controller.web.shared import Region, Regions

router = routing.pages()

HISTORY_ROWS = 15
TIMELINE_ROWS = 25
CERTIFICATE_ROWS = 10
LOG_ROWS = 300  # lines, the last ones: some 60 kB
_PARTS = "device_parts.html"
_head, _why, _facts = macro(_PARTS, "head"), macro(_PARTS, "why"), macro(_PARTS, "facts")
_tags, _inventory, _history = macro(_PARTS, "tags"), macro(_PARTS, "inventory"), macro(_PARTS, "history")
_keys, _timeline = macro(_PARTS, "keys"), macro(_PARTS, "timeline")
_log, _no_log = macro(_PARTS, "log"), macro(_PARTS, "no_log")


@router.get("/devices/{device_id}")
def show_device(request: Request, device_id: str, context: InContext) -> Response:
    """Show a device; with `log`, the id of a deployment, what it logged there, too."""
    params = QueryParams({**request.query_params, "device": device_id})
    with context.store.read() as connection:
        regions = look(connection, context, viewer_of(request), params)
    live = "/live" + query(given_in(params), view="device")
    return page(request, "device.html", device_id=device_id, regions=regions, live=live)


def look(connection: Connection, context: Context, viewer: Viewer, params: QueryParams) -> Regions:
    """Return a device as it is now."""
    device_id, given = params.get("device", ""), given_in(params)
    given.pop("device", None)
    device = detail(connection, device_id)
    lists = {
        "history": history(connection, device_id, HISTORY_ROWS, params.get("history") or None),
        "timeline": timeline(connection, device_id, None, TIMELINE_ROWS, params.get("events") or None),
    }
    found = certificates_listed(connection, device_id, CertificateKind.DEVICE, CERTIFICATE_ROWS, None)
    certificates = [(one, _validity(one, context.clock())) for one in found.items]
    regions = {
        "head": _head(device, viewer, _refusals(device, viewer)),
        "why": _why(context.operations.why_in(connection, device_id)),
        "facts": _facts(device),
        "tags": _tags(device, viewer),
        "inventory": _inventory(device),
        "history": _history(given, lists["history"], bool(params.get("history"))),
        "keys": _keys(device, viewer, certificates),
        "timeline": _timeline(given, lists["timeline"], bool(params.get("events"))),
        "log": _logged(connection, device_id, given, params),
    }
    return {name: Region(html) for name, html in regions.items()}


VIEWS["device"] = look


def _logged(connection: Connection, device_id: str, given: dict[str, list[str]], params: QueryParams) -> str:
    """Return what the device logged in the deployment that the address names, if it names one."""
    if not params.get("log"):
        return ""
    try:
        deployment = find_deployment(connection, params["log"])
    except (NotFound, Ambiguous) as error:  # the rest of the page is right all the same
        return _no_log(str(error))
    before = params.get("before") or None
    return _log(given, deployment, log_end(connection, device_id, deployment.id, LOG_ROWS, before), bool(before))


def _validity(one: CertificateOut, now: float) -> str:
    """Return whether a certificate is good for anything, in one word."""
    if one.revoked_at is not None:
        return "revoked"
    if now >= one.ends_at.timestamp():
        return "expired"
    return "valid" if now >= one.begins_at.timestamp() else "not valid yet"


def _refusals(device: DeviceDetail, viewer: Viewer) -> dict[str, str]:
    """Return why what a person could do with a device is not possible now, "" where it is."""
    is_gone = device.state is DeviceState.DECOMMISSIONED
    gone = "It is decommissioned." if is_gone else ""
    return {
        "accept": viewer.lacks("POST", "/devices/accept"),
        "reject": viewer.lacks("POST", "/devices/reject"),
        "check-in": viewer.lacks("POST", "/devices/check-in") or gone,
        "revoke": viewer.lacks("POST", "/devices/{device_id}/revoke") or ("" if device.keys else "It has no key."),
        "recommission": viewer.lacks("POST", "/devices/{device_id}/recommission"),
        "decommission": viewer.lacks("POST", "/devices/{device_id}/decommission") or gone,
    }
