"""The audit log, for admins: who changed what, who was refused, and whether the log is whole."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec
from fastapi import Request, Response
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection
from starlette.datastructures import QueryParams

from wainwright_controller.api.audit import AuditFilters, listed
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.models import AuditOut
from wainwright_controller.api.paging import LIMIT_MAX
from wainwright_controller.cli.audit import CSV
from wainwright_controller.cli.output import csv_lines
from wainwright_controller.web import routing
from wainwright_controller.web.live import VIEWS
from wainwright_controller.web.rendering import Viewer, given_in, macro, page, query, viewer_of
from wainwright_controller.web.shared import Region, Regions

router = routing.pages()

ROWS = 30  # entries on one page: each may name twenty things
_row = macro("audit_list.html", "row")
_table = macro("audit_list.html", "table")


class Field(NamedTuple):
    """One value that differs; "" stands for none."""

    name: str
    before: str
    after: str


class Change(NamedTuple):
    """What an entry says of one thing: that it was made, removed or changed, and its fields."""

    thing: str
    verb: str
    fields: list[Field]


@router.get("/audit")
def show_audit(request: Request, context: InContext) -> Response:
    """Show the newest entries, or those that the filters choose."""
    params = request.query_params
    with context.store.read() as connection:
        regions = look(connection, context, viewer_of(request), params)
    live = "/live" + query(given_in(params), view="audit")
    filters = {name: params.get(name, "") for name in ("who", "action", "object", "verdict", "since", "until")}
    return page(
        request,
        "audit.html",
        regions=regions,
        live=live,
        filters=filters,
        is_filtered=_filters(params) != AuditFilters(),
    )


@router.get("/audit.csv")
def download_audit(request: Request, context: InContext) -> Response:
    """Give all entries that the filters choose, as `wainwright audit list -o csv` does."""
    headers = {"Content-Disposition": 'attachment; filename="audit.csv"', "Cache-Control": "no-store"}
    entries = _entries(context, _filters(request.query_params))
    return StreamingResponse(csv_lines(entries, CSV), media_type="text/csv; charset=utf-8", headers=headers)


def _entries(context: Context, filters: AuditFilters) -> Iterator[dict[str, Any]]:
    """Yield entries as the API gives them, newest first, a piece at a time: nobody holds a long log in memory."""
    cursor: str | None = None
    while True:
        with context.store.read() as connection:
            found = listed(connection, filters, LIMIT_MAX, cursor)
        for entry in found.items:
            yield entry.model_dump(mode="json", exclude_none=True)
        if (cursor := found.next) is None:
            return


def look(connection: Connection, _context: Context, _viewer: Viewer, params: QueryParams) -> Regions:
    """Return the list as it is now."""
    filters = _filters(params)
    found = listed(connection, filters, ROWS, params.get("cursor") or None)
    rows = {f"entry-{one.number}": _row(one, changes_of(one)) for one in found.items}
    html = _table(given_in(params), list(rows.values()), found.next, is_filtered=filters != AuditFilters())
    return {"list": Region(html, rows)}


VIEWS["audit"] = look


def changes_of(entry: AuditOut) -> list[Change]:
    """Return what an entry says, thing by thing."""
    changes = []
    for thing in dict.fromkeys([*entry.before, *entry.after]):
        before, after = entry.before.get(thing), entry.after.get(thing)
        if thing == "and more":
            changes.append(Change(f"and {after} more", "", []))
            continue
        verb = "changed" if before is not None and after is not None else "made" if before is None else "removed"
        old, new = (one if isinstance(one, dict) else {} if one is None else {"": one} for one in (before, after))
        differing = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
        fields = [Field(name, _told(old.get(name)), _told(new.get(name))) for name in differing]
        changes.append(Change(thing, verb, fields))
    return changes


def _told(value: object) -> str:
    """Return a value as a person reads it."""
    if value is None or value in ("", [], {}):
        return ""
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _filters(params: QueryParams) -> AuditFilters:
    verdict = params.get("verdict")
    until = _day(params.get("until", ""))
    return AuditFilters(
        who=params.get("who") or None,
        action=params.get("action") or None,
        object=params.get("object") or None,
        verdict="allowed" if verdict == "allowed" else "refused" if verdict == "refused" else None,
        since=_day(params.get("since", "")),
        until=until + timedelta(days=1) if until is not None else None,
    )


def _day(text: str) -> datetime | None:
    """Return the beginning of a day in UTC, which is the log's time; None for what is no day of a likely year."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        return None
    return day if 1970 <= day.year < 9000 else None  # noqa: PLR2004  years
