"""State scripts of the time without an update: Idle while the agent waits, Sync around a check-in.

    Idle_Enter ... Idle_Leave, Sync_Enter, [check-in, reply,] Sync_Leave ... Idle_Enter, or the update that was offered

1. They run only while no update is carried out, and one at a time, in a thread: the service's loop does not wait.
2. Idle scripts cannot stop anything: their failures are logged.
3. If Sync_Enter fails, nothing is asked; if Sync_Leave fails, an offer in the reply is dropped, untold: it comes again.
   Either way Sync_Error runs, and the agent is idle. So it does when the link is lost before the reply.
4. A check-in that is repeated, because nobody answered or because somebody asks meanwhile, is the same Sync.

A device that has no such scripts pays for all this with one look into a folder for each check-in.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from threading import Thread

from wainwright_agent.config import Config
from wainwright_agent.events import EventQueue, ScriptsRan, spawn
from wainwright_agent.failure import Interrupted, UpdateError
from wainwright_agent.groups import end_leftovers
from wainwright_agent.processes import Surroundings, Wake
from wainwright_agent.scripts import Scripts

RECORDS = "processes-idle"  # of the data folder; apart from the updater's, which ends what it finds in its own
STOP_S = 15.0  # more than a script's process group gets to end
OURS = ("Idle_", "Sync_")

Then = Callable[[bool], None]
"""Called in the service's loop when scripts have run; with whether all that matter were right."""

log = logging.getLogger(__name__)


class Rounds:
    """The idle and sync scripts of one device. All methods are called from the service's loop."""

    def __init__(self, config: Config, events: EventQueue) -> None:
        self._folder = config.update.scripts
        self._events = events
        self._stopping = False
        self._wake = Wake()
        self._records = config.data_dir / RECORDS
        around = Surroundings(self._records, lambda: self._stopping, self._wake)
        self._scripts = Scripts(config, around, lambda _: None)
        self._waiting: deque[tuple[Callable[[], bool], Then]] = deque()
        self._thread: Thread | None = None
        self._is_syncing = False

    @property
    def is_busy(self) -> bool:
        """Whether scripts run; nothing may be asked of the controller meanwhile."""
        return self._thread is not None

    def start(self) -> None:
        """End what an agent before has left running; call `rest` next, unless an update goes on."""
        end_leftovers(self._records)

    def stop(self) -> None:
        """End the scripts that run."""
        self._stopping = True
        self._waiting.clear()
        self._wake.poke()
        if self._thread is not None:
            self._thread.join(STOP_S)

    def rest(self) -> None:
        """Be idle: run Idle_Enter."""
        self._run(lambda: self._ignoring("Idle_Enter"), lambda _: None)

    def enter(self, then: Then) -> None:
        """Run what comes before a check-in."""
        if self._is_syncing:
            then(True)  # noqa: FBT003  a callback's only argument
            return

        def done(is_right: bool) -> None:  # noqa: FBT001  as Then
            self._is_syncing = is_right
            then(is_right)

        self._run(self._enter, done)

    def leave(self, then: Then) -> None:
        """Run what comes after its reply; not `rest`, which depends on what was offered."""
        if not self._is_syncing:
            then(True)  # noqa: FBT003  a callback's only argument
            return
        self._is_syncing = False
        self._run(lambda: self._guarded("Sync_Leave"), then)

    def give_up(self) -> None:
        """Take note that there will be no reply."""
        if self._is_syncing:
            self._is_syncing = False
            self._run(self._fail, lambda _: None)

    def ran(self, event: ScriptsRan) -> None:
        """Take the event of a thread that has ended, and go on with what waits."""
        self._thread = None
        event.then(event.is_right)
        if self._waiting and self._thread is None:
            self._start(*self._waiting.popleft())

    def _run(self, work: Callable[[], bool], then: Then) -> None:
        if self._thread is not None:
            self._waiting.append((work, then))
        elif self._has_scripts():
            self._start(work, then)
        else:
            then(True)  # noqa: FBT003  a callback's only argument

    def _start(self, work: Callable[[], bool], then: Then) -> None:
        def run() -> None:
            try:
                is_right = work()
            except Interrupted:
                return  # the service ends
            self._events.put(ScriptsRan(then, is_right))

        self._thread = spawn(self._events, "idle-scripts", run)

    def _has_scripts(self) -> bool:
        try:
            return any(file.name.startswith(OURS) for file in self._folder.iterdir())
        except OSError:
            return False

    def _enter(self) -> bool:
        self._ignoring("Idle_Leave")
        return self._guarded("Sync_Enter")

    def _guarded(self, group: str) -> bool:
        try:
            self._scripts.run(group)
        except UpdateError as error:
            log.error("%s So this check-in has failed.", error)  # noqa: TRY400  the text says it all
            return self._fail()
        return True

    def _fail(self) -> bool:
        self._scripts.run_after_a_failure("Sync_Error")
        self._ignoring("Idle_Enter")
        return False

    def _ignoring(self, group: str) -> bool:
        try:
            self._scripts.run(group)
        except UpdateError as error:
            log.warning("%s That changes nothing.", error)
        return True
