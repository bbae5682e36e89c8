"""Carries updates out: stores a state, performs its step, asks the table what follows, and tells.

One thread runs `run` for the whole life of the agent; the service's threads call everything else, and never wait long.
The order in `_move` is the promise of this file: the state is on disk, then it is told, then its step begins.

    states.py    what may follow what        rules.py     what it means for facts and reports
    actions.py   what is done in a state     journal.py   where it is kept        reporter.py   who is told
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from itertools import count
from typing import Any

from msgspec import UNSET
from msgspec.structs import replace

from wainwright_agent import by_hand, rules
from wainwright_agent.actions import Actions, Ending, Limits
from wainwright_agent.boot import boot_id
from wainwright_agent.config import Config
from wainwright_agent.deployment_log import DeploymentLog
from wainwright_agent.failure import Interrupted, LinkRefused
from wainwright_agent.groups import end_leftovers
from wainwright_agent.hold import Hold, hold
from wainwright_agent.journal import ByHand, Journal, JournalError, State, Update, Waiting
from wainwright_agent.processes import Surroundings, Wake, pause
from wainwright_agent.reporter import Reporter
from wainwright_agent.states import Event, UpdateState, allows
from wainwright_common.codes import Code
from wainwright_common.messages import Ack, Artifact, Offer, Progress, Reason, Report, Verdict
from wainwright_common.statuses import ACTIVE

RECORDS = "processes"  # folder of the data folder: which process groups run

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
GOING_FORWARD = frozenset(
    {S.DOWNLOAD, S.WAIT_WINDOW, S.INSTALL, S.ASK, S.ENTER_REBOOT, S.MODULE_REBOOT, S.VERIFY_REBOOT, S.CONFIRM}
)
"""Where a journal that cannot be written ends the update. Not COMMIT: its success is only waiting to be written."""

DEFAULT_LIMITS = Limits()
CLOCK_S = 60.0  # a clock that was set while an update waits for a window is seen within this
SIGN_S = 1800.0  # between two reports of an update that waits: a controller gives up those that are silent, in a day
LINKS_MAX = 5  # fresh links for one download; with the pauses about two minutes, for a server that is being restarted

log = logging.getLogger(__name__)


class Updater:
    """The half of the agent that changes the device.

    `publish` is called for every report, when the journal already holds it if it changes the outcome; `changed` after
    every change of what `snapshot` says. Neither may block.
    """

    def __init__(
        self,
        config: Config,
        journal: Journal,
        *,
        publish: Callable[[Report], None],
        changed: Callable[[], None] = lambda: None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        self._config = config
        self._journal = journal
        self._publish = publish
        self._changed = changed
        self._limits = limits
        self._boot_id = boot_id(config.update.boot_id_file)
        self._reporter = Reporter(journal, self._boot_id, publish)
        self._wake = Wake()
        self._something = threading.Condition()
        self._stopping = False
        self._taken_back: str | None = None
        self._progress: Progress | None = None
        records = config.data_dir / RECORDS
        self._around = Surroundings(records, self._is_interrupted, self._wake, limits.grace_s)
        self._until_stop = Surroundings(records, lambda: self._stopping, self._wake)
        self._actions = Actions(config, self._around, limits, self._note_waiting)
        update = journal.state.update
        self._resuming = update is not None
        self._log = DeploymentLog(config.data_dir)
        self._log.attach()
        if update is not None:
            self._log.begin(update.offer)
        self._needs_link = update is not None and update.state is S.DOWNLOAD and update.by_hand is None

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do until somebody asks for something."""
        update = self._journal.state.update
        return not self._resuming and (update is None or by_hand.is_held(update))

    @property
    def needs_link(self) -> bool:
        """Whether the running update waits for a fresh offer of itself."""
        update = self._journal.state.update
        return self._needs_link and update is not None and update.state is S.DOWNLOAD

    def offer(self, offer: Offer) -> bool:
        """Take an offer: start it, or take its fresh link for the attempt that waits for one.

        False when it is not taken: another update runs, this attempt is done (its outcome is told again), or the
        journal cannot be written (which is told).
        """
        state = self._journal.state
        if state.update is not None:
            return self._offer_while_running(state.update, offer)
        if state.last is not None and rules.is_attempt(offer, state.last.deployment_id, state.last.attempt):
            self._publish(state.last.report)
            return False
        self._log.begin(offer)
        if told := rules.outcome_of(state, offer):
            self._publish(told)
            return False
        try:
            self._begin(offer)
        except JournalError as error:
            log.error("The offer of %s is not taken: %s", offer.artifact.name, error)  # noqa: TRY400  the text says it all
            self._reporter.tell_refusal(offer, error)
            return False
        self._changed()
        return True

    def install(self, artifact: Artifact, facts: ByHand) -> None:
        """Start an update by hand, when by_hand.refusal has nothing against it; raises JournalError."""
        offer = by_hand.offer_of(artifact)
        self._log.begin(offer)
        self._begin(offer, facts)
        self._changed()

    def release(self) -> None:
        """Let an update by hand go on that is held; raises JournalError."""

        def go_on(state: State) -> State:
            update = state.update
            if update is None or update.by_hand is None:
                return state
            facts = replace(update.by_hand, released=update.state)
            return replace(state, update=replace(update, by_hand=facts))

        self._journal.change(go_on)
        self._changed()
        self._notify()

    def roll_back(self) -> None:
        """Take an update by hand back, when by_hand.refusal has nothing against it."""
        self._take_back(BACK_BY_HAND)

    def run(self) -> None:
        """Carry out updates as they are offered, until `stop`. First goes on with what an agent before left."""
        self._log.follow_this_thread()
        end_leftovers(self._around.records, self._limits.grace_s)
        try:
            if self._resuming:
                self._resume()
                self._resuming = False
                self._changed()
            while True:
                self._step(self._await_update())
        except Interrupted:
            log.info("The updater has stopped.")
        finally:
            self._log.detach()

    def verdict(self, ack: Ack) -> None:
        """Take an Ack: forget the reports that it covers, and stop the update if the controller takes it back."""

        def heed(state: State) -> State:
            return rules.acknowledge(state, ack.deployment_id, ack.attempt, ack.seq)

        try:
            self._journal.change(heed)
        except JournalError as error:
            log.warning("An acknowledgement is not kept, so its reports will be sent again: %s", error)
        update = self._journal.state.update
        if update is not None and rules.is_attempt(update.offer, ack.deployment_id, ack.attempt) and _takes_back(ack):
            self._take_back(TAKEN_BACK[ack.verdict])
        self._notify()

    def abort(self, deployment_id: str) -> None:
        """Stop the update of a deployment, rolling back if it has changed anything; in vain once it has committed."""
        update = self._journal.state.update
        if update is not None and update.offer.deployment_id == deployment_id:
            self._take_back(TAKEN_BACK[Verdict.ABORTED])

    def gone(self, deployment_id: str) -> None:
        """Stop the update of a deployment that the controller no longer offers to this device."""
        update = self._journal.state.update
        if update is not None and update.offer.deployment_id == deployment_id:
            self._take_back("The controller no longer offers this update.")

    def stop(self) -> None:
        """Make `run` return soon, from any thread; the journal says where to go on."""
        self._stopping = True
        self._notify()

    def snapshot(self) -> dict[str, Any]:
        """Return where the updater stands, in plain values for `status`; only `state` is always there."""
        update = self._journal.state.update
        if update is None:
            return {"state": "idle"}
        facts: dict[str, Any] = {
            "state": str(update.state),
            "status": str(update.status),
            "deployment_id": update.offer.deployment_id,
            "attempt": update.offer.attempt,
            "release": update.offer.artifact.name,
            "needs_link": self.needs_link,
            "stores": update.stores,
        }
        progress = self._progress
        if progress is not None and update.state is S.DOWNLOAD:
            facts["progress"] = {"done": progress.done, "total": progress.total}
        if update.state is S.WAIT_WINDOW and (held := self._hold()) is not None:
            facts["hold"] = held.why
        if update.failure is not None:
            facts["error"] = rules.as_plain(update.failure)
        return facts

    def _begin(self, offer: Offer, facts: ByHand | None = None) -> None:
        log.info("Updating to %s (deployment %s, attempt %d).", offer.artifact.name, offer.deployment_id, offer.attempt)
        with self._something:  # the worker sees all of it, or nothing
            before, now = self._journal.state, self._reporter.first()
            after = self._journal.change(lambda state: rules.begin(state, offer, now, facts))
            self._taken_back = None
            self._progress = None
            self._needs_link = False
            self._reporter.tell(before, after, now)
            self._something.notify_all()

    def _step(self, update: Update) -> None:
        """Perform the step of the stored state and move on; everything that raises Interrupted leaves it stored."""
        if update.aborted and self._taken_back is None:
            # said before a restart
            self._taken_back = TAKEN_BACK[Verdict.ABORTED] if update.by_hand is None else BACK_BY_HAND
        if self._taken_back is not None and allows(update.state, E.ABORTED):
            self._move(E.ABORTED, Reason(code=Code.ABORTED, text=self._taken_back))
            return
        try:
            ending = self._ending(update)
        except Interrupted:
            if self._stopping:
                raise
            return  # taken back: the next step sees it
        self._move(ending.event, ending.error, ending.facts)

    def _ending(self, update: Update) -> Ending:
        if update.state is S.CONFIRM:
            return self._confirm()
        if update.state is S.DOWNLOAD:
            ending = self._download()
            is_held = ending.event is E.OK and self._hold() is not None
            return dataclasses.replace(ending, event=E.HELD) if is_held else ending
        if update.state is S.WAIT_WINDOW:
            return self._await_window()
        return self._actions.perform(update, self._journal.state.provides, self._progressed)

    def _download(self) -> Ending:
        """Download, with a fresh link as often as the server refuses the one there is, within LINKS_MAX."""
        for refusals in count():
            self._await_link()
            state = self._journal.state
            if state.update is None:
                raise Interrupted
            try:
                return self._actions.perform(state.update, state.provides, self._progressed)
            except LinkRefused as refusal:
                if state.update.by_hand is not None:
                    return self._actions.fail(state.update, Reason(code=Code.DOWNLOAD_FAILED, text=str(refusal)))
                if refusals == LINKS_MAX:
                    text = f"{refusal} So it did to {LINKS_MAX} fresh links."
                    return self._actions.fail(state.update, Reason(code=Code.DOWNLOAD_FAILED, text=text))
                pause_s = self._limits.link_pause_s * 2**refusals
                log.warning("%s Asking the controller for a fresh link in %g s.", refusal, pause_s)
            pause(self._around, pause_s)
            self._needs_link = True
            self._changed()
        raise AssertionError("count() has no end")

    def _hold(self) -> Hold | None:
        """Return why the update must not be installed yet. One by hand may: who asks for it knows what time it is."""
        update = self._journal.state.update
        if update is None or update.by_hand is not None:
            return None
        return hold(update.offer, self._config.update, datetime.now(UTC))

    def _await_window(self) -> Ending:
        """Wait until the update may be installed, as the clock and the latest offer say; needs no link."""
        told: Hold | None = None
        sign_at = time.monotonic() + SIGN_S
        with self._something:
            while True:
                self._check_stopping()
                if self._taken_back is not None:
                    return Ending(E.ABORTED, Reason(code=Code.ABORTED, text=self._taken_back))
                held = self._hold()
                if held is None:
                    return Ending(E.OK)
                if held != told:
                    log.info("%s", held.why)
                    told = held
                if time.monotonic() >= sign_at:
                    self._reporter.tell_progress()
                    sign_at = time.monotonic() + SIGN_S
                left_s = CLOCK_S if held.until is None else (held.until - datetime.now(UTC)).total_seconds()
                self._something.wait(min(CLOCK_S, max(0.0, left_s)))

    def _await_update(self) -> Update:
        """Wait until there is an update to carry out."""
        with self._something:
            while (update := self._journal.state.update) is None or by_hand.is_held(update):
                self._check_stopping()
                self._something.wait()
            self._check_stopping()
            return update

    def _await_link(self) -> None:
        with self._something:
            while self._needs_link:
                if self._is_interrupted():
                    raise Interrupted
                self._something.wait()

    def _confirm(self) -> Ending:
        """Wait until the controller has heard of the new software: software that cuts the device off is not kept."""
        deadline = time.monotonic() + self._limits.link_s
        with self._something:
            while True:
                self._check_stopping()
                state = self._journal.state
                if self._taken_back is not None:
                    return Ending(E.ABORTED, Reason(code=Code.ABORTED, text=self._taken_back))
                if state.update is None or not rules.unacknowledged(state, state.update):
                    return Ending(E.OK)
                if not self._something.wait(deadline - time.monotonic()):
                    text = f"The controller could not be reached from the new software in {self._limits.link_s:g} s."
                    return Ending(E.FAILED, Reason(code=Code.LINK_FAILED, text=text))

    def _resume(self) -> None:
        """Enter the state that follows from having been interrupted; what that is depends on whether the device was."""
        update = self._journal.state.update
        if update is None:
            return
        event = E.RESTARTED if update.boot_id == self._boot_id else E.REBOOTED
        if not by_hand.goes_on_after(update, event):
            log.info("The update to %s waits in front of the step %s.", update.offer.artifact.name, update.state)
            return
        log.info("Going on with the update to %s, %s in the step %s.", update.offer.artifact.name, event, update.state)
        self._move(event)

    def _move(self, event: Event, error: Reason | None = None, facts: Mapping[str, Any] | None = None) -> None:
        """Store what follows from `event`, then tell it. Tries for ever: no step begins that is not on disk."""
        while True:
            try:
                self._store(event, error, facts or {})
            except JournalError as problem:
                log.error("The update cannot go on: %s", problem)  # noqa: TRY400  the text says it all
                event, error = self._without_journal(event, error, problem)
                pause(self._until_stop, self._limits.journal_retry_s)
                continue
            return

    def _without_journal(
        self, event: Event, error: Reason | None, problem: JournalError
    ) -> tuple[Event, Reason | None]:
        """Return what to store instead, once it is possible: an update that went well so far has failed."""
        state = self._journal.state.update
        if state is None or state.state not in GOING_FORWARD or event not in {E.OK, E.HELD, E.NOTHING}:
            return event, error
        if state.state is S.DOWNLOAD:
            self._actions.tree.discard_files()  # which may be what fills the disk
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
        if after.update is None:
            self._taken_back = None
            self._log.end()
        self._changed()

    def _offer_while_running(self, update: Update, offer: Offer) -> bool:
        if offer.deployment_id != update.offer.deployment_id:
            return False
        if offer.attempt != update.offer.attempt:
            self._take_back(TAKEN_BACK[Verdict.STALE])
            return False
        is_news = update.state is S.WAIT_WINDOW and offer.policy != update.offer.policy
        if not (self.needs_link or is_news):
            return True

        def refresh(state: State) -> State:
            return state if state.update is None else replace(state, update=replace(state.update, offer=offer))

        try:
            self._journal.change(refresh)
        except JournalError as error:
            log.warning("The fresh offer is not taken: %s", error)
            return False
        self._needs_link = False
        self._notify()
        return True

    def _take_back(self, why: str) -> None:
        """Note that the update is not wanted any more; the worker acts on it where the table has a row for it."""
        update = self._journal.state.update
        if update is None or not (allows(update.state, E.ABORTED) or update.state is S.ASK):
            return
        log.warning("The update to %s is to stop: %s", update.offer.artifact.name, why)
        self._taken_back = why

        def note(state: State) -> State:
            return state if state.update is None else replace(state, update=replace(state.update, aborted=True))

        try:
            self._journal.change(note)
        except JournalError as error:
            log.warning("Should the agent restart now, the controller must say so again: %s", error)
        self._notify()

    def _note_waiting(self, waiting: Waiting) -> None:
        """Keep that a state script waits, so that its time is bounded across restarts, too."""
        log.debug("%s has waited %.0f s.", waiting.script, waiting.waited_s)

        def note(state: State) -> State:
            return state if state.update is None else replace(state, update=replace(state.update, waiting=waiting))

        try:
            self._journal.change(note)
        except JournalError as error:
            log.warning("Should the agent restart now, the time of %s begins anew: %s", waiting.script, error)
        self._changed()

    def _progressed(self, progress: Progress) -> None:
        self._progress = progress
        self._reporter.tell_progress(progress)

    def _is_interrupted(self) -> bool:
        """Say whether the running step is to be broken off: by `stop`, or a download that is not wanted any more."""
        if self._stopping:
            return True
        update = self._journal.state.update
        return self._taken_back is not None and update is not None and update.state is S.DOWNLOAD

    def _check_stopping(self) -> None:
        if self._stopping:
            raise Interrupted

    def _notify(self) -> None:
        with self._something:
            self._something.notify_all()
        self._wake.poke()


def _takes_back(ack: Ack) -> bool:
    """Say whether an Ack ends the attempt. A stale report alone does not: an older one may have been overtaken."""
    if ack.verdict is Verdict.STALE:
        return ack.status is not UNSET and ack.status not in ACTIVE
    return ack.verdict in TAKEN_BACK
