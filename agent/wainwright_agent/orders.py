"""What other threads have said to the one that carries the update out: to stop, to take it back, to use a fresh link.

They say it here and return at once; the worker looks here in front of each step, and wherever it waits.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping

from msgspec import UNSET
from msgspec.structs import replace

from wainwright_agent import rules
from wainwright_agent.failure import Interrupted
from wainwright_agent.journal import Journal, JournalError, State
from wainwright_agent.processes import Wake
from wainwright_agent.states import Event, UpdateState, allows
from wainwright_common.messages import Ack, Verdict
from wainwright_common.statuses import ACTIVE

S, E = UpdateState, Event

# fmt: off
TAKEN_BACK: Mapping[Verdict, str] = {
    Verdict.ABORTED:        "The deployment was aborted.",
    Verdict.DECOMMISSIONED: "The device was decommissioned.",
    Verdict.UNKNOWN:        "The controller does not know the deployment.",
    Verdict.STALE:          "The controller has given this attempt up.",
}
# fmt: on
BACK_BY_HAND = "A technician has asked for the rollback."
TOO_LATE = "It is too late for that: what is installed cannot be undone, so the update goes on."

log = logging.getLogger(__name__)


class Orders:
    """The orders of one agent's updates. Whoever waits for one holds `said`, which is notified of each."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self.said = threading.Condition()
        self.wake = Wake()
        self.is_stopping = False
        self.taken_back: str | None = None
        """Why the running update is not wanted any more."""
        update = journal.state.update
        self._needs_link = update is not None and update.state is S.DOWNLOAD and update.by_hand is None

    @property
    def needs_link(self) -> bool:
        """Whether the running update waits for a fresh offer of itself."""
        update = self._journal.state.update
        return self._needs_link and update is not None and update.state is S.DOWNLOAD

    @needs_link.setter
    def needs_link(self, needs: bool) -> None:
        self._needs_link = needs

    def forget(self) -> None:
        """Start with a new update: nothing has been said of it."""
        self.taken_back = None
        self._needs_link = False

    def stop(self) -> None:
        """End the worker; what it does is broken off."""
        self.is_stopping = True
        self.notify()

    def take_back(self, why: str) -> None:
        """Note that the update is not wanted any more; the worker acts on it where the table has a row for it."""
        update = self._journal.state.update
        if update is None or not (allows(update.state, E.ABORTED) or update.state is S.ASK):
            return
        if update.state is not S.ASK and not rules.may_stop(update):
            log.warning("%s %s", why, TOO_LATE)
            return
        self.taken_back = why
        log.warning("The update to %s is to stop: %s", update.offer.artifact.name, why)  # it holds from here on

        def note(state: State) -> State:
            return state if state.update is None else replace(state, update=replace(state.update, aborted=True))

        try:
            self._journal.change(note)
        except JournalError as error:
            log.warning("Should the agent restart now, the controller must say so again: %s", error)
        self.notify()

    def recall(self) -> None:
        """Know again what was said before a restart."""
        update = self._journal.state.update
        if update is not None and update.aborted and self.taken_back is None:
            self.taken_back = TAKEN_BACK[Verdict.ABORTED] if update.by_hand is None else BACK_BY_HAND

    def is_interrupted(self) -> bool:
        """Say whether the running step is to be broken off: by `stop`, or a download that is not wanted any more."""
        if self.is_stopping:
            return True
        update = self._journal.state.update
        return self.taken_back is not None and update is not None and update.state is S.DOWNLOAD

    def unwanted(self) -> str | None:
        """Return why nobody need wait any longer for what goes forward; None on the way back, which must be gone."""
        update = self._journal.state.update
        return self.taken_back if update is not None and rules.may_stop(update) else None

    def check_stopping(self) -> None:
        """Raise Interrupted when the worker is to end."""
        if self.is_stopping:
            raise Interrupted

    def notify(self) -> None:
        """Wake the worker, wherever it waits."""
        with self.said:
            self.said.notify_all()
        self.wake.poke()


def takes_back(ack: Ack) -> bool:
    """Say whether an Ack ends the attempt. A stale report alone does not: an older one may have been overtaken."""
    if ack.verdict is Verdict.STALE:
        return ack.status is not UNSET and ack.status not in ACTIVE
    return ack.verdict in TAKEN_BACK
