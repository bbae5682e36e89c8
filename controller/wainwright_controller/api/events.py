"""Live news as server-sent events: timelines line by line, and a deployment's state whenever it changed.

1. A stream has the numbers of timeline lines as its ids, so `Last-Event-ID` (or `after`) resumes it without a gap.
2. A deployment's stream begins with its timeline and its state; states come at most STATES_PER_S times a second, and
   only when something in them changed. It ends after the state in which the deployment is finished.
3. The stream of everything begins with what happens next, and never ends.
4. A stream ends as soon as its reader's token is revoked or has expired. A person has STREAMS_EACH at once (crowd.py).
5. HEARTBEAT_S without news brings a comment, so that proxies and readers can tell quiet from dead.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import Header, Query
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, Field
from sqlalchemy import Connection, func, select
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from wainwright_common.statuses import DeploymentStatus
from wainwright_controller.api import routing
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.models import DeploymentState, EventOut
from wainwright_controller.api.paging import INT_MAX
from wainwright_controller.api.problems import tell
from wainwright_controller.api.views import find_deployment, state_of
from wainwright_controller.operations import NotFound
from wainwright_controller.people import Actor
from wainwright_controller.records import Event
from wainwright_controller.rows import EVENT, from_row
from wainwright_controller.turnstile import TooManyAtOnce, Turnstile

router = routing.router("live")

STATES_PER_S = 5
HEARTBEAT_S = 15.0  # shorter than the idle time-outs of common proxies (nginx: 60 s)
LOOK_S = 1.0  # how late news of another controller may be, and how soon a stream notices that the server closes
LINES_AT_ONCE = 500  # read at once; more follow at once

_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"description": "Server-sent events", "content": {"text/event-stream": {}}}
}
HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
_LineId = Annotated[int, Field(ge=0, le=INT_MAX)]
After = Annotated[_LineId | Literal["now"] | None, Query(description="A line's id, or `now`: begin after it.")]
LastId = Annotated[_LineId | None, Header(alias="Last-Event-ID", description="As `after`, and stronger.")]


class _Look(NamedTuple):
    """What one look into the store found; `is_over` says that nothing will follow."""

    lines: Sequence[EventOut]
    state: DeploymentState | None
    is_over: bool


@router.get("/deployments/{deployment_id}/events", response_class=StreamingResponse, responses=_STREAM)
def deployment_events(
    deployment_id: str, context: InContext, actor: InActor, after: After = None, last_event_id: LastId = None
) -> StreamingResponse:
    """Follow a deployment, from its first line on: `timeline` events, and `state` events with the whole of it."""
    with context.store.read() as connection:
        deployment = find_deployment(connection, deployment_id)
        begin = _begin(connection, last_event_id if last_event_id is not None else after or 0)

    def look(connection: Connection, last: int) -> _Look:
        lines = _lines(connection, last, deployment.id)
        try:
            state = state_of(connection, find_deployment(connection, deployment.id), context.clock())
        except NotFound:  # it was deleted
            return _Look(lines, None, is_over=True)
        is_finished = state.status is DeploymentStatus.FINISHED
        return _Look(lines, state, is_over=is_finished and len(lines) < LINES_AT_ONCE)

    return _response(context, actor, look, begin)


@router.get("/events", response_class=StreamingResponse, responses=_STREAM)
def all_events(
    context: InContext, actor: InActor, after: After = None, last_event_id: LastId = None
) -> StreamingResponse:
    """Follow all timelines, from now on: `timeline` events."""
    with context.store.read() as connection:
        begin = _begin(connection, last_event_id if last_event_id is not None else "now" if after is None else after)

    def look(connection: Connection, last: int) -> _Look:
        return _Look(_lines(connection, last, None), None, is_over=False)

    return _response(context, actor, look, begin)


def _begin(connection: Connection, after: int | Literal["now"]) -> int:
    if after != "now":
        return after
    return connection.execute(select(func.max(EVENT.c.id))).scalar() or 0


def _lines(connection: Connection, last: int, deployment_id: str | None) -> list[EventOut]:
    query = select(EVENT).where(EVENT.c.id > last).order_by(EVENT.c.id).limit(LINES_AT_ONCE)
    if deployment_id is not None:
        query = query.where(EVENT.c.deployment_id == deployment_id)
    return [EventOut.of(row["id"], from_row(Event, row)) for row in connection.execute(query).mappings()]


def _response(
    context: Context, actor: Actor, look: Callable[[Connection, int], _Look], begin: int
) -> StreamingResponse:
    return Live(context.crowd.streams, actor.name, _stream(context, actor, look, begin))


class Live(StreamingResponse):
    """A stream of one person; it counts from its first byte to its end, however that comes."""

    def __init__(self, streams: Turnstile, who: str, events: AsyncIterator[str]) -> None:
        super().__init__(events, media_type="text/event-stream", headers=HEADERS)
        self._streams = streams
        self._who = who

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with self._streams.pass_through(self._who):
                await super().__call__(scope, receive, send)
        except TooManyAtOnce as error:
            await tell(error)(scope, receive, send)


async def _stream(
    context: Context, actor: Actor, look: Callable[[Connection, int], _Look], last: int
) -> AsyncIterator[str]:
    def read(last: int) -> _Look:
        with context.store.read() as connection:
            if not context.gate.is_valid(connection, actor):
                return _Look([], None, is_over=True)
            return look(connection, last)

    told: str | None = None
    quiet_since = time.monotonic()
    while not context.closing.is_set():
        seen = context.bulletin.number  # before the look: what is posted during it is looked at again
        found = await run_in_threadpool(read, last)
        said = "".join(_event("timeline", _json(line), line.id) for line in found.lines)
        last = found.lines[-1].id if found.lines else last
        is_behind = len(found.lines) == LINES_AT_ONCE
        if found.state is not None and not is_behind and (state := _json(found.state)) != told:
            told = state
            said += _event("state", state, last)
        now = time.monotonic()
        if not said and now - quiet_since >= HEARTBEAT_S:
            said = ": still here\n\n"
        if said:
            quiet_since = now
            yield said
        if found.is_over:
            return
        if not is_behind:
            await asyncio.sleep(1 / STATES_PER_S)
            await context.bulletin.wait(seen, LOOK_S)


def _json(data: BaseModel) -> str:
    return data.model_dump_json(exclude_none=True)


def _event(kind: str, data: str, number: int) -> str:
    return f"event: {kind}\nid: {number}\ndata: {data}\n\n"
