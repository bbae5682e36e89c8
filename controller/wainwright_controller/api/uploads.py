"""Takes an artifact from a request: a worker thread examines and stores it, and pulls the body piece by piece.

Pulling bounds the memory to one piece, and a sender that is faster than the disk waits. Uploads have threads of their
own, so that slow ones cannot take the threads that answer everybody else.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.from_thread
import anyio.to_thread
from fastapi import Request
from starlette.requests import ClientDisconnect

from wainwright_common.errors import WainwrightError
from wainwright_controller.api.context import Context
from wainwright_controller.api.problems import UploadStalled
from wainwright_controller.records import Artifact

UPLOADS_MAX = 4  # at once; more wait their turn. Each keeps a disk and half a core busy.
OF_ONE_MAX = 3  # of them of one person, so that slow ones of his never keep all others from theirs
STALL_S = 60.0  # without a byte from the sender
DRAIN_S = 10.0  # see `_drain`


class Body:
    """A request's body, to be read by a worker thread as a file is."""

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self._pieces = pieces
        self._rest = memoryview(b"")
        self._is_over = False

    def read(self, n: int, /) -> bytes:
        """Return up to `n` bytes, none at the end. Raises UploadStalled, or ClientDisconnect when nobody sends."""
        while not self._rest and not self._is_over:
            self._rest = memoryview(anyio.from_thread.run(self._next))
        data, self._rest = self._rest[:n], self._rest[n:]
        return bytes(data)

    async def _next(self) -> bytes:
        try:
            with anyio.fail_after(STALL_S):
                return await anext(self._pieces)
        except StopAsyncIteration:
            self._is_over = True
            return b""
        except TimeoutError as error:
            raise UploadStalled(f"Nothing arrived for {STALL_S:.0f} s: upload the artifact again.") from error


async def receive(request: Request, context: Context, actor: str, description: str) -> Artifact:
    """Store the artifact in a request's body and record it; whatever is refused leaves nothing behind."""
    pieces = request.stream()
    body = Body(pieces)
    length = request.headers.get("content-length", "")
    expected = int(length) if length.isdecimal() else None

    def store() -> Artifact:
        with context.artifacts.receive(body, description=description, expected_bytes=expected) as received:
            return context.operations.add_artifact(received.artifact, actor, verified_by=received.verified_by)

    try:
        with context.crowd.uploads.pass_through(actor):
            async with _turns_of(request, actor):
                return await anyio.to_thread.run_sync(store, limiter=request.app.state.uploads)
    except WainwrightError:
        await _drain(pieces)
        raise


@asynccontextmanager
async def _turns_of(request: Request, actor: str) -> AsyncIterator[None]:
    """Wait until a person has fewer than OF_ONE_MAX uploads under way; they are forgotten with the last one."""
    turns: dict[str, anyio.CapacityLimiter] = request.app.state.uploads_of
    limiter = turns.setdefault(actor, anyio.CapacityLimiter(OF_ONE_MAX))
    try:
        async with limiter:
            yield
    finally:
        if not limiter.statistics().borrowed_tokens and not limiter.statistics().tasks_waiting:
            turns.pop(actor, None)


async def _drain(pieces: AsyncIterator[bytes]) -> None:
    """Read on for a while: a sender that is cut off in the middle of its body may never read why it was refused."""
    deadline = time.monotonic() + DRAIN_S
    with anyio.move_on_after(DRAIN_S):
        try:
            async for _ in pieces:
                if time.monotonic() > deadline:
                    return
        except ClientDisconnect:
            return
