"""The course of the running update: stores the state that follows from an event, then tells it.

The order in `_store` is the promise of this file: the state is on disk, then it is told, and only then its step begins.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from wainwright_agent import rules
from wainwright_agent.actions import Limits
from wainwright_agent.deployment_log import DeploymentLog
from wainwright_agent.journal import ByHand, Journal, JournalError, State, Waiting
from wainwright_agent.orders import Orders
from wainwright_agent.processes import Surroundings, pause
from wainwright_agent.reporter import Reporter
from wainwright_agent.states import Event, UpdateState
from wainwright_agent.worktree import WorkTree
from wainwright_common.codes import Code
from wainwright_common.messages import Offer, Reason

S, E = UpdateState, Event

GOING_FORWARD = frozenset(
    {S.DOWNLOAD, S.WAIT_WINDOW, S.INSTALL, S.ASK, S.ENTER_REBOOT, S.MODULE_REBOOT, S.VERIFY_REBOOT, S.CONFIRM}
)
"""Where a journal that cannot be written ends the update. Not COMMIT: its success is only waiting to be written."""

log = logging.getLogger(__name__)


class Course:
    """Moves one agent's updates on. `changed` is called after every change of what is stored, and must not block."""

    def __init__(
        self,
        data_dir: Path,
        journal: Journal,
        orders: Orders,
        reporter: Reporter,
        attempt_log: DeploymentLog,
        limits: Limits,
        changed: Callable[[], None],
    ) -> None:
        self._data_dir = data_dir
        self._journal = journal
        self._orders = orders
        self._reporter = reporter
        self._attempt_log = attempt_log
        self._limits = limits
        self._changed = changed
        self.stuck = ""
        """Why the update cannot go on before somebody has done something; empty when it can."""

    def begin(self, offer: Offer, facts: ByHand | None = None) -> None:
        """Store and tell that an update begins, and wake the worker; raises JournalError."""
        log.info("Updating to %s (deployment %s, attempt %d).", offer.artifact.name, offer.deployment_id, offer.attempt)
        with self._orders.said:  # the worker sees all of it, or nothing
            before, now = self._journal.state, self._reporter.first()
            after = self._journal.change(lambda state: rules.begin(state, offer, now, facts))
            self._orders.forget()
            self._reporter.tell(before, after, now)
            self._orders.said.notify_all()

    def move(self, event: Event, error: Reason | None = None, facts: Mapping[str, Any] | None = None) -> None:
        """Store what follows from `event`, then tell it. Tries for ever: no step begins that is not on disk."""
        while True:
            try:
                self._store(event, error, facts or {})
            except JournalError as problem:
                log.error("The update cannot go on: %s", problem)  # noqa: TRY400  the text says it all
                event, error = self._without_journal(event, error, problem)
                self.stuck = str(problem)
                self._changed()
                until_stop = Surroundings(self._data_dir, lambda: self._orders.is_stopping, self._orders.wake)
                pause(until_stop, self._limits.journal_retry_s)
                continue
            self.stuck = ""
            return

    def note_waiting(self, waiting: Waiting) -> None:
        """Keep that a state script waits, so that its time is bounded across restarts, too."""
        log.debug("%s has waited %.0f s.", waiting.script, waiting.waited_s)

        def note(state: State) -> State:
            return state if state.update is None else replace(state, update=replace(state.update, waiting=waiting))

        try:
            self._journal.change(note)
        except JournalError as error:
            log.warning("Should the agent restart now, the time of %s begins anew: %s", waiting.script, error)
        self._changed()

    def _without_journal(
        self, event: Event, error: Reason | None, problem: JournalError
    ) -> tuple[Event, Reason | None]:
        """Return what to store instead, once it is possible: an update that went well so far has failed."""
        state = self._journal.state.update
        if state is None or state.state not in GOING_FORWARD or event not in {E.OK, E.HELD, E.NOTHING}:
            return event, error
        if state.state is S.DOWNLOAD:
            try:
                WorkTree(self._data_dir).discard_files()  # which may be what fills the disk
            except OSError as kept:
                log.warning("What was downloaded stays until the cleanup: %s.", kept)
        return E.FAILED, Reason(code=Code.JOURNAL_FAILED, text=str(problem))

    def _store(self, event: Event, error: Reason | None, facts: Mapping[str, Any]) -> None:
        before, now = self._journal.state, self._reporter.now()

        def follow(state: State) -> State:
            update = None if state.update is None else replace(state.update, **facts)
            return rules.move(replace(state, update=update), event, now, error)

        after = self._journal.change(follow)
        if after.update is not None:
            log.info("%s: %s.", after.update.state, after.update.status)
        self._reporter.tell(before, after, now)
        if after.update is None and before.update is not None:
            self._attempt_log.end(before.update.offer)
        self._changed()
