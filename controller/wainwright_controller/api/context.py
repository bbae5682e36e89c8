"""What the HTTP API works with; serve.py makes one and gives it to `create_app`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from wainwright_controller.artifact_store import ArtifactStore
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.crowd import Crowd
from wainwright_controller.desk import Desk
from wainwright_controller.gate import Gate
from wainwright_controller.ingest.intake import Counts
from wainwright_controller.links import Links
from wainwright_controller.operations import Operations
from wainwright_controller.pki.keeper import Keeper
from wainwright_controller.refusals import EnrolmentsRefused, Refusals
from wainwright_controller.sessions import Sessions
from wainwright_controller.store import Store
from wainwright_controller.warden import Warden

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The parts of one controller.

    `hosts` are the names under which this controller is reached; `refusals` bounds what the audit log keeps of them,
    `crowd` how much anybody may have open. `closing` is to be set before the server shuts down: it ends the live
    streams, which would otherwise keep it waiting. Without an authority there is no `keeper` and no `warden`; where
    devices cannot enrol, there is no `desk`.
    """

    operations: Operations
    bulletin: Bulletin
    artifacts: ArtifactStore
    links: Links
    counts: Counts
    broker_is_connected: Callable[[], bool]
    gate: Gate
    sessions: Sessions
    keeper: Keeper | None = None
    desk: Desk | None = None
    warden: Warden | None = None
    refusals: Refusals = field(default_factory=Refusals)
    enrolments_refused: EnrolmentsRefused = field(default_factory=EnrolmentsRefused)
    crowd: Crowd = field(default_factory=Crowd)
    hosts: frozenset[str] = LOOPBACK_HOSTS
    closing: threading.Event = field(default_factory=threading.Event)
    clock: Callable[[], float] = time.time

    @property
    def store(self) -> Store:
        """The store that the operations write to."""
        return self.operations.store


def _context(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


InContext = Annotated[Context, Depends(_context)]
