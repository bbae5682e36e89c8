"""What the worker waits for between steps: an update, a fresh link, a maintenance window, the controller's word.

None of this changes the device, so after a restart a wait just begins anew. Every wait heeds the orders; all raise
Interrupted when the worker is to end.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime

from wainwright_agent import by_hand, clock, rules
from wainwright_agent.actions import Ending, Limits
from wainwright_agent.config import Config
from wainwright_agent.failure import Interrupted
from wainwright_agent.hold import Hold, hold
from wainwright_agent.journal import Journal, Update
from wainwright_agent.orders import Orders
from wainwright_agent.reporter import Reporter
from wainwright_agent.states import Event
from wainwright_common.codes import Code
from wainwright_common.messages import Reason

E = Event

CLOCK_S = 60.0  # a clock that was set while an update waits for a window is seen within this
SIGN_S = 1800.0  # between two reports of an update that waits: a controller gives up those that are silent, in a day

log = logging.getLogger(__name__)


class Waits:
    """The waits of one agent's updates."""

    def __init__(
        self,
        config: Config,
        journal: Journal,
        orders: Orders,
        reporter: Reporter,
        limits: Limits,
        boot_id: str,
    ) -> None:
        self._written = _written_before(config, journal, boot_id)
        self._booted = clock.booted()
        self._config = config
        self._journal = journal
        self._orders = orders
        self._reporter = reporter
        self._limits = limits

    def hold(self) -> Hold | None:
        """Return why the update must not be installed yet. One by hand may: who asks for it knows what time it is."""
        update = self._journal.state.update
        if update is None or update.by_hand is not None:
            return None
        if abs(clock.booted() - self._booted) > clock.TOLERANCE:
            self._written = clock.BORN  # it was set, by somebody who knew better than the one that wrote the journal
        return hold(update.offer, self._config.update, datetime.now(UTC), self._written)

    def for_update(self) -> Update:
        """Wait until there is an update to carry out."""
        with self._orders.said:
            while (update := self._journal.state.update) is None or by_hand.is_held(update):
                self._orders.check_stopping()
                self._orders.said.wait()
            self._orders.check_stopping()
            return update

    def for_link(self) -> None:
        """Wait until the download has a link that nobody has refused yet; Interrupted also when it is taken back."""
        with self._orders.said:
            while self._orders.needs_link:
                if self._orders.is_interrupted():
                    raise Interrupted
                self._orders.said.wait()

    def for_window(self) -> Ending:
        """Wait until the update may be installed, as the clock and the latest offer say; needs no link."""
        told: Hold | None = None
        sign_at = time.monotonic() + SIGN_S
        with self._orders.said:
            while True:
                if (aborted := self._aborted()) is not None:
                    return aborted
                held = self.hold()
                if held is None:
                    return Ending(E.OK)
                if held != told:
                    log.info("%s", held.why)
                    told = held
                if time.monotonic() >= sign_at:
                    self._reporter.tell_progress()
                    sign_at = time.monotonic() + SIGN_S
                left_s = CLOCK_S if held.until is None else (held.until - datetime.now(UTC)).total_seconds()
                self._orders.said.wait(min(CLOCK_S, max(0.0, left_s)))

    def for_controller(self) -> Ending:
        """Wait until the controller has heard of the new software: software that cuts the device off is not kept."""
        deadline = time.monotonic() + self._limits.link_s
        with self._orders.said:
            while True:
                if (aborted := self._aborted()) is not None:
                    return aborted
                state = self._journal.state
                if state.update is None or not rules.unacknowledged(state, state.update):
                    return Ending(E.OK)
                if not self._orders.said.wait(deadline - time.monotonic()):
                    text = f"The controller could not be reached from the new software in {self._limits.link_s:g} s."
                    return Ending(E.FAILED, Reason(code=Code.LINK_FAILED, text=text))

    def _aborted(self) -> Ending | None:
        self._orders.check_stopping()
        why = self._orders.unwanted()
        return None if why is None else Ending(E.ABORTED, Reason(code=Code.ABORTED, text=why))


def _written_before(config: Config, journal: Journal, boot_id: str) -> datetime:
    """Return when the journal was written in a boot before this one: what a clock that has lost its time is known by.

    One that was set back since within a boot was set by somebody who knew better; so an agent that is started again
    believes it.
    """
    update = journal.state.update
    return clock.BORN if update is not None and update.boot_id == boot_id else clock.written(config.data_dir)
