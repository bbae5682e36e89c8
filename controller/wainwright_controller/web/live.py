"""Live pages: one stream for each open page, with those of its regions that changed.

1. A stream begins with all regions of its page, so that one that was away catches up by connecting again.
2. Then the regions that changed follow, as soon as something was committed, at most LOOKS_PER_S times a second; less
   often where many or large pages are open and something happens all the time (shared.py). What is told to nobody
   (that a device was heard again, or a request refused) shows after IDLE_LOOK_S at the latest.
3. A region that is a list of rows is sent as the rows that changed, as long as the same rows are in it.
4. Pages that show the same to people of the same role are looked at and rendered once for all of them; those that ask
   for a person's name are not.
5. A stream asks for the role of its page. It ends with the token that its reader signed in with, and with his session;
   when he has another role, his page loads itself again. `hello` says which release of the pages the controller has, so
   that a page of an older one does, too.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Mapping

from fastapi import Request
from fastapi.responses import StreamingResponse
from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams

from wainwright_common.errors import WainwrightError
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.events import Live
from wainwright_controller.operations import NotFound
from wainwright_controller.people import Actor, NotAllowed, Role
from wainwright_controller.web import routing, words
from wainwright_controller.web.rendering import Viewer, release_of_pages
from wainwright_controller.web.roles import least_of_view
from wainwright_controller.web.shared import LOOKS_PER_S, Region, Regions, Rendering, Shared

IDLE_LOOK_S = 5.0
SLICE_S = 1.0  # how soon a stream notices that the server closes
HEARTBEAT_S = 15.0  # shorter than the idle time-outs of common proxies (nginx: 60 s)

router = routing.pages()


Look = Callable[[Connection, Context, Viewer, QueryParams], Regions]
VIEWS: dict[str, Look] = {}
"""What a page's stream looks at, by the name in its address; each page's module adds its own."""


@router.get("/live")
def live(request: Request, context: InContext, actor: InActor, view: str) -> StreamingResponse:
    """Follow a page: `view` is its name, the other parameters are those of the page."""
    look = VIEWS.get(view)
    if look is None:
        raise NotFound(f"No such live page: {view}.")
    if not actor.role.includes(needed := least_of_view(view)):
        raise NotAllowed(f"{actor.name} is {words.a(actor.role)}, and this page is for {needed}s.")
    stream = _stream(context, request.app.state.shared, actor, look, request.query_params)
    return Live(context.crowd.streams, actor.name, stream)


async def _stream(
    context: Context, shared: Shared, actor: Actor, look: Look, params: QueryParams
) -> AsyncIterator[str]:
    def seen_by(viewer: Viewer) -> Regions:
        with context.store.read() as connection:
            return look(connection, context, viewer, params)

    def read(number: int, within_s: float) -> Rendering | Role | None:
        """Return what there is to see; the reader's role, if it is another one now, None if he has none any more."""
        with context.store.read() as connection:
            role = context.gate.role_now(connection, actor)
        return shared.look(seen_by, actor, str(params), number, within_s) if role is actor.role else role

    yield event("hello", {"pages": release_of_pages()})
    sent: dict[str, Region] = {}
    quiet_since = time.monotonic()
    pause_s = 0.0  # the page itself may be newer than what others were shown last
    while not context.closing.is_set():
        number = context.bulletin.number  # before the look: what is posted during it is looked at again
        try:
            found = await run_in_threadpool(read, number, pause_s)
        except WainwrightError as error:  # what the page is about was deleted
            yield event("gone", {"text": str(error)})
            return
        if found is None:
            yield event("signed-out", {})
            return
        if isinstance(found, Role):
            yield event("reload", {})
            return
        regions = found.regions or {}
        said = "".join(changes(sent, regions))
        sent = dict(regions)
        if not said and time.monotonic() - quiet_since >= HEARTBEAT_S:
            said = ": still here\n\n"
        if said:
            quiet_since = time.monotonic()
            yield said
        pause_s = shared.pause_s(found)
        await asyncio.sleep(max(found.at + pause_s - time.monotonic(), 1 / LOOKS_PER_S))
        await _news(context, found.number)


async def _news(context: Context, seen: int) -> None:
    until = time.monotonic() + IDLE_LOOK_S
    while not context.closing.is_set() and time.monotonic() < until:
        if await context.bulletin.wait(seen, SLICE_S) > seen:
            return


def changes(before: Regions, now: Regions) -> list[str]:
    """Return the events that bring a page from one state of its regions to another."""
    events = []
    for name, region in now.items():
        old = before.get(name)
        if old is not None and old.html == region.html:
            continue
        if old is not None and region.rows and list(old.rows) == list(region.rows):
            changed = {row: html for row, html in region.rows.items() if old.rows[row] != html}
            if changed and _replaced(old, changed) == region.html:  # nothing changed beside them
                events.append(event("rows", changed))
                continue
        events.append(event("region", {name: region.html}))
    return events


def _replaced(region: Region, rows: Mapping[str, str]) -> str:
    html = region.html
    for row, changed in rows.items():
        html = html.replace(region.rows[row], changed, 1)
    return html


def event(kind: str, data: Mapping[str, str]) -> str:
    """Return a server-sent event; JSON has no line breaks of its own, which would end it."""
    return f"event: {kind}\ndata: {json.dumps(data, ensure_ascii=False)}\n\n"
