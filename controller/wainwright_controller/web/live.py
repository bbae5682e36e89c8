"""Live pages: one stream for each open page, with those of its regions that changed.

1. A stream begins with all regions of its page, so that one that was away catches up by connecting again.
2. Then the regions that changed follow, as soon as something was committed, at most LOOKS_PER_S times a second; less
   often where many or large pages are open and something happens all the time (`pause_after`). What is told to nobody
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
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from typing import NamedTuple

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
from wainwright_controller.sessions import Session
from wainwright_controller.web import routing, words
from wainwright_controller.web.rendering import Viewer, release_of_pages
from wainwright_controller.web.roles import least_of_view

LOOKS_PER_S = 2  # an eye does not follow more, and each costs the controller a few milliseconds
LOOK_PART = 0.04  # of a processor's time, that the looks of all pages may take: devices come first
PAUSE_MAX_S = 5.0  # between two looks at a large page, among many, while something happens all the time
PAUSES_MAX_S: Mapping[str, float] = {
    "groups": 60.0
}  # the same, of views that cost more: each row is a query of its own
IDLE_LOOK_S = 5.0
SLICE_S = 1.0  # how soon a stream notices that the server closes
HEARTBEAT_S = 15.0  # shorter than the idle time-outs of common proxies (nginx: 60 s)
KEPT_MAX = 64  # renderings that are shared at once; each is some 50 kB

router = routing.pages()


class Region(NamedTuple):
    """A piece of a page: its HTML, and for a list its rows by their element's id, whose HTML is in it."""

    html: str
    rows: Mapping[str, str] = {}


Regions = Mapping[str, Region]
"""The regions of a page by the id of the element that each fills."""

Look = Callable[[Connection, Context, Viewer, QueryParams], Regions]
VIEWS: dict[str, Look] = {}
"""What a page's stream looks at, by the name in its address; each page's module adds its own."""


class Shared:
    """The last renderings, by what was looked at: good until the next commit, or for IDLE_LOOK_S."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: OrderedDict[object, tuple[threading.Lock, list[tuple[int, float, Regions | None]]]] = OrderedDict()

    def look(self, look: Callable[[Viewer], Regions], actor: Actor, params: str, number: int) -> Regions:
        """Return what somebody sees: what others of his role see, too, unless it turned out to be about him."""

        def for_all() -> Regions | None:
            viewer = Viewer(actor, can_sign_out=False)
            regions = look(viewer)
            return None if viewer.is_personal else regions

        regions = self.get((params, actor.role), number, for_all)
        if regions is None:
            own = (params, actor.role, actor.name)
            regions = self.get(own, number, lambda: look(Viewer(actor, can_sign_out=False)))
        return regions or {}

    def get(self, key: object, number: int, make: Callable[[], Regions | None]) -> Regions | None:
        """Return what `make` gave for a key since posting `number`, or let it give it now: one caller at a time."""
        with self._lock:
            lock, kept = self._kept.setdefault(key, (threading.Lock(), []))
            self._kept.move_to_end(key)
            while len(self._kept) > KEPT_MAX:
                self._kept.popitem(last=False)
        with lock:
            if kept and kept[0][0] >= number and time.monotonic() - kept[0][1] < IDLE_LOOK_S / 2:
                return kept[0][2]
            regions = make()
            kept[:] = [(number, time.monotonic(), regions)]
            return regions


@router.get("/live")
def live(request: Request, context: InContext, actor: InActor, view: str) -> StreamingResponse:
    """Follow a page: `view` is its name, the other parameters are those of the page."""
    if view not in VIEWS:
        raise NotFound(f"No such live page: {view}.")
    if not actor.role.includes(needed := least_of_view(view)):
        raise NotAllowed(f"{actor.name} is {words.a(actor.role)}, and this page is for {needed}s.")
    session = request.state.session
    stream = _stream(context, request.app.state.shared, actor, session, view, request.query_params)
    return Live(context.crowd.streams, actor.name, stream)


async def _stream(
    context: Context, shared: Shared, actor: Actor, session: Session | None, view: str, params: QueryParams
) -> AsyncIterator[str]:
    look, longest_s = VIEWS[view], PAUSES_MAX_S.get(view, PAUSE_MAX_S)

    def read(number: int) -> Regions | Role | None:
        """Return what there is to see; the reader's role, if it is another one now, None if he has none any more."""
        with context.store.read() as connection:
            is_over = session is not None and context.gate.has_ended(connection, session)
            role = None if is_over else context.gate.role_now(connection, actor)
            if role is not actor.role:
                return role
            return shared.look(lambda viewer: look(connection, context, viewer, params), actor, str(params), number)

    yield event("hello", {"pages": release_of_pages()})
    sent: dict[str, Region] = {}
    quiet_since = time.monotonic()
    while not context.closing.is_set():
        seen = context.bulletin.number  # before the look: what is posted during it is looked at again
        try:
            regions, look_s = await run_in_threadpool(_timed, read, seen)
        except WainwrightError as error:  # what the page is about was deleted
            yield event("gone", {"text": str(error)})
            return
        if regions is None:
            yield event("signed-out", {})
            return
        if isinstance(regions, Role):
            yield event("reload", {})
            return
        said = "".join(changes(sent, regions))
        sent = dict(regions)
        if not said and time.monotonic() - quiet_since >= HEARTBEAT_S:
            said = ": still here\n\n"
        if said:
            quiet_since = time.monotonic()
            yield said
        await asyncio.sleep(pause_after(look_s, context.crowd.streams.inside, longest_s))
        await _news(context, seen)


def _timed(read: Callable[[int], Regions | Role | None], number: int) -> tuple[Regions | Role | None, float]:
    """Return what was read, and how much of a processor's time that took; others' work beside it does not count."""
    began = time.thread_time()
    found = read(number)
    return found, time.thread_time() - began


def pause_after(look_s: float, pages: int, longest_s: float = PAUSE_MAX_S) -> float:
    """Return for how many seconds a page is not looked at after a look that took `look_s` of a processor's time.

    All `pages` that are open share LOOK_PART. What happens after a quiet time is seen at once all the same.
    """
    return min(max(1 / LOOKS_PER_S, look_s * pages / LOOK_PART), longest_s)


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
