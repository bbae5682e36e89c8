"""One deployment, live: what may be done with it, how far it is, its phases, devices, failures and timeline."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from fastapi import Request, Response
from sqlalchemy import Connection, select
from starlette.datastructures import QueryParams

from wainwright_common.statuses import DeploymentStatus, DeviceStatus
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.deployments import PartFilters, parts_listed
from wainwright_controller.api.models import DeploymentOut, EventOut
from wainwright_controller.api.views import deployment_out, failures, find_deployment
from wainwright_controller.cli.deployment_show import conditions, detail_of
from wainwright_controller.records import Deployment, Event, Strategy
from wainwright_controller.rows import EVENT, from_row
from wainwright_controller.rules.actions import Act, Refused, check_allowed
from wainwright_controller.web import routing, words
from wainwright_controller.web.curve import curve_of
from wainwright_controller.web.deployments import known
from wainwright_controller.web.live import VIEWS
from wainwright_controller.web.rendering import Viewer, given_in, macro, page, query, viewer_of
from wainwright_controller.web.shared import Region, Regions

router = routing.pages()

DEVICES = 25  # on one page
FAILURES = 10
LINES = 20  # of the timeline; `?lines=` shows more
LINES_MAX = 200  # some 50 kB
LIVE_PARAMS = ("status", "q", "regressed", "cursor", "lines", "about")

_TEMPLATE = "deployment_parts.html"
_head, _progress, _phases = (macro(_TEMPLATE, name) for name in ("head", "progress", "phases"))
_failures, _curve, _timeline = (macro(_TEMPLATE, name) for name in ("failures", "curve", "timeline"))
_configuration = macro(_TEMPLATE, "configuration")
_devices, _device = macro(_TEMPLATE, "devices"), macro(_TEMPLATE, "device")


class Button(NamedTuple):
    """What a person can do with a deployment, and how he is asked whether he means it; `refused` is why he cannot.

    `sets` is a field that opening the question fills with what the page shows at that moment, as NAME=VALUE.
    """

    act: Act
    label: str
    call: str
    title: str
    text: str
    tone: str
    refused: str
    is_typed: bool
    sets: str


_TEXTS: Mapping[Act, tuple[str, str]] = {
    Act.APPROVE: ("", "It may go on then, as its plan says."),
    Act.DENY: ("bad", "It ends, and no device gets anything from it."),
    Act.START: ("primary", "Its first phase opens now."),
    Act.PROMOTE: ("primary", "The next phase opens now, whether or not its turn has come."),
    Act.PAUSE: ("", "No more offers are made until it is resumed; devices under way go on."),
    Act.RESUME: ("primary", "It goes on. What has failed by now is acknowledged, and counts for no limit again."),
    Act.INSTALL: ("primary", "Devices install what they were told to download only."),
    Act.RETRY: ("", "The devices that failed get it again, in a deployment of their own if this one has finished."),
    Act.ROLLBACK: ("bad", "Devices that have the release get back what they ran before; the others get nothing more."),
    Act.FINISH: ("", "No more devices join; those that wait are let go, those under way go on."),
    Act.ABORT: ("bad", "Devices under way stop and go back; those that have the release keep it. It cannot go on."),
    Act.DELETE: ("bad", "It goes away, with its devices' history of it and their logs."),
}
_IN_VAIN: Mapping[Act, str] = {
    Act.PROMOTE: "No later phase waits to be opened.",
    Act.RETRY: "No device has failed that could be tried again, or they run something newer.",
    Act.ROLLBACK: "No device has got the release from it, or can be brought back now.",
}
"""Why lifecycle.possible leaves out what the stage allows."""
_TYPED = frozenset({Act.ROLLBACK, Act.ABORT, Act.DELETE})  # what cannot be undone


@router.get("/deployments/{deployment_id}")
def show_deployment(request: Request, deployment_id: str, context: InContext) -> Response:
    """Show a deployment by its id, the beginning of one, or its name."""
    with context.store.read() as connection:
        found = find_deployment(connection, deployment_id)
        params = QueryParams([*request.query_params.multi_items(), ("id", found.id)])
        viewer = viewer_of(request)
        regions = look(connection, context, viewer, params)
        shown = deployment_out(connection, found, context.clock())
    kept = {name: params.getlist(name) for name in LIVE_PARAMS if name in params}
    return page(
        request,
        "deployment.html",
        regions=regions,
        live="/live" + query(kept, view="deployment", id=found.id),
        d=shown,
        buttons=buttons_of(shown, found, viewer),
        chosen=_chosen(params),
        statuses=list(DeviceStatus),
    )


def look(connection: Connection, context: Context, viewer: Viewer, params: QueryParams) -> Regions:
    """Return a deployment's regions as they are now; raises NotFound when it was deleted."""
    now = context.clock()
    found = find_deployment(connection, params.get("id", ""))
    d = deployment_out(connection, found, now)
    given = {name: value for name, value in given_in(params).items() if name != "id"}
    errors, different = failures(connection, d, FAILURES)
    begin, end = found.started_at or found.created_at, found.finished_at or now
    opened = [(phase.number, phase.opened_at.timestamp()) for phase in d.phases if phase.opened_at]
    drawn = curve_of(connection, found.id, (begin, end), d.device_count, opened)
    moments = [datetime.fromtimestamp(at, UTC) for at in (begin, end)]
    return {
        "head": Region(_head(d, shown_of(d, buttons_of(d, found, viewer)))),
        "progress": Region(_progress(d, given)),
        "phases": Region(_phases(d)),
        "failures": Region(_failures(d, errors, different)),
        "curve": Region(_curve(drawn, moments, is_over=d.status is DeploymentStatus.FINISHED)),
        "devices": _devices_region(connection, d, params, given),
        "timeline": Region(_timeline_html(connection, found.id, params, given)),
        "configuration": Region(_configuration(d, list(conditions(words.as_json(d))))),
    }


VIEWS["deployment"] = look


def _devices_region(
    connection: Connection, d: DeploymentOut, params: QueryParams, given: Mapping[str, list[str]]
) -> Region:
    chosen = _chosen(params)
    found = parts_listed(connection, d.id, chosen, DEVICES, params.get("cursor") or None)
    rows = {
        f"p-{part.device_id}": _device(part, detail_of(part.model_dump(mode="json", exclude_none=True)))
        for part in found.items
    }
    is_filtered = bool(chosen.status or chosen.q or chosen.is_regressed)
    html = _devices(d, given, list(rows.values()), found.total, found.next, is_filtered=is_filtered)
    return Region(html, rows)


def _timeline_html(
    connection: Connection, deployment_id: str, params: QueryParams, given: Mapping[str, list[str]]
) -> str:
    lines = params.get("lines", "")
    limit = min(int(lines), LINES_MAX) if lines.isascii() and lines.isdecimal() and len(lines) < len("10000") else LINES
    with_devices = params.get("about") == "devices"
    wanted = select(EVENT).where(EVENT.c.deployment_id == deployment_id).order_by(EVENT.c.id.desc()).limit(limit + 1)
    if not with_devices:
        wanted = wanted.where(EVENT.c.device_id.is_(None))
    rows = connection.execute(wanted).mappings().all()
    events = [EventOut.of(row["id"], from_row(Event, row)) for row in rows[:limit]]
    more = min(limit * 5, LINES_MAX) if len(rows) > limit and limit < LINES_MAX else 0
    return _timeline(given, events, more, with_devices=with_devices)


def _chosen(params: QueryParams) -> PartFilters:
    status = known(DeviceStatus, params.getlist("status")) or ()
    return PartFilters(status, params.get("q", "")[:128], is_regressed=params.get("regressed") == "true")


def buttons_of(d: DeploymentOut, found: Deployment, viewer: Viewer) -> list[Button]:
    """Return everything that can be done with a deployment, or could be in another state, in the order of its life."""
    buttons = []
    for act in Act:
        method, path = ("DELETE", "") if act is Act.DELETE else ("POST", f"/{act}")
        lacks = viewer.lacks(method, f"/deployments/{{deployment_id}}{path}")
        refused = "" if act in d.allowed else _refusal(act, found)
        if act is Act.APPROVE and not (refused or lacks) and viewer.name == d.created_by:
            refused = "You made it: another admin has to approve it."  # lifecycle.approve refuses it, too
        tone, text = _TEXTS[act]
        label = label_of(act, d.strategy)
        call = f"{method} /api/v1/deployments/{d.id}{path}"
        refused = refused or lacks
        sets = _next_phase(d) if act is Act.PROMOTE and not refused else ""
        buttons.append(Button(act, label, call, f"{label}: {d.name}", text, tone, refused, act in _TYPED, sets))
    return buttons


def _next_phase(d: DeploymentOut) -> str:
    """Return which phase a promotion is to open: not also the one after it, should somebody else be faster."""
    closed = next((phase.number for phase in d.phases if phase.opened_at is None), None)
    return f"phase={closed}" if closed else ""


def _refusal(act: Act, found: Deployment) -> str:
    """Return why something is not possible, in the API's words where it is the stage that does not allow it."""
    try:
        check_allowed(act, found)
    except Refused as refusal:
        return str(refusal)
    return _IN_VAIN.get(act, "This is not possible now.")


def shown_of(d: DeploymentOut, buttons: list[Button]) -> list[Button]:
    """Return the buttons to show: what is possible, and what somebody may look for, with the reason why it is not."""
    looked_for = {Act.ROLLBACK, Act.ABORT, Act.DELETE} | ({Act.PAUSE} if Act.RESUME not in d.allowed else set())
    return [button for button in buttons if button.act in d.allowed or button.act in looked_for]


def label_of(act: Act, strategy: Strategy) -> str:
    """Return what a button says; a promotion is called by what it opens."""
    if act is Act.PROMOTE:
        return {Strategy.CANARY: "Promote canary", Strategy.ROLLING: "Approve batch"}.get(strategy, "Open next phase")
    return words.ACTIONS[act]
