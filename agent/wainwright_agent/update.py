"""Carries updates out: performs the step of the stored state, asks the table what follows, and has that stored.

One thread runs `run` for the whole life of the agent; the service's threads call everything else, and never wait long.

    states.py    what may follow what        rules.py     what it means for facts and reports
    actions.py   what is done in a state     waits.py     what is waited for in one
    journal.py   where it is kept            course.py    how it goes on, saved before it is told
    orders.py    what other threads want     reporter.py  who is told
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from wainwright_agent import by_hand, rules
from wainwright_agent.actions import Actions, Ending, Limits
from wainwright_agent.boot import boot_id
from wainwright_agent.config import Config
from wainwright_agent.course import Course
from wainwright_agent.deployment_log import DeploymentLog
from wainwright_agent.failure import Interrupted, LinkUseless, UpdateError
from wainwright_agent.groups import end_leftovers
from wainwright_agent.journal import ByHand, Journal, JournalError, State, Update
from wainwright_agent.orders import BACK_BY_HAND, TAKEN_BACK, TOO_LATE, Orders, takes_back
from wainwright_agent.processes import Surroundings, pause
from wainwright_agent.reporter import Reporter
from wainwright_agent.spare import Spare
from wainwright_agent.states import Event, UpdateState, allows
from wainwright_agent.waits import Waits
from wainwright_common.codes import Code
from wainwright_common.messages import Ack, Artifact, Offer, Progress, Reason, Report, Verdict

RECORDS = "processes"  # folder of the data folder: which process groups run

S, E = UpdateState, Event

DEFAULT_LIMITS = Limits()
LINKS_MAX = 5  # fresh links in a row that bring next to nothing: minutes of refusals, half an hour without a server
LINK_PIECE = 64 * 1024  # bytes; a link that brought these is counted as the first one

log = logging.getLogger(__name__)


class Updater:
    """The half of the agent that changes the device.

    `publish` is called for every report, when the journal already holds it if it changes the outcome; `changed` after
    every change of what `snapshot` says. Neither may block. The first download is given to `spare`, if there is one.
    """

    def __init__(
        self,
        config: Config,
        journal: Journal,
        *,
        publish: Callable[[Report], None],
        changed: Callable[[], None] = lambda: None,
        limits: Limits = DEFAULT_LIMITS,
        spare: Spare | None = None,
    ) -> None:
        self._config = config
        self._journal = journal
        self._publish = publish
        self._changed = changed
        self._limits = limits
        self._boot_id = boot_id(config.update.boot_id_file)
        self._reporter = Reporter(journal, self._boot_id, publish)
        self._orders = Orders(journal)
        self._progress: Progress | None = None
        self._around = Surroundings(
            config.data_dir / RECORDS,
            self._orders.is_interrupted,
            self._orders.wake,
            limits.grace_s,
            self._orders.unwanted,
        )
        self._log = DeploymentLog(config.data_dir)
        self._course = Course(config.data_dir, journal, self._orders, self._reporter, self._log, limits, changed)
        self._waits = Waits(config, journal, self._orders, self._reporter, limits, self._boot_id)
        self._actions = Actions(config, self._around, limits, self._course.note_waiting, spare)
        update = journal.state.update
        self._resuming = update is not None
        self._log.attach()
        if update is not None:
            self._log.begin(update.offer)

    @property
    def is_settled(self) -> bool:
        """Whether nothing is left to do until somebody asks for something."""
        update = self._journal.state.update
        return not self._resuming and (update is None or by_hand.is_held(update))

    @property
    def needs_link(self) -> bool:
        """Whether the running update waits for a fresh offer of itself."""
        return self._orders.needs_link

    def offer(self, offer: Offer) -> bool:
        """Take an offer: start it, or take its fresh link for the attempt that waits for one.

        False when it is not taken: another update runs, this attempt is done (its outcome is told again, if it was the
        last one), or the journal cannot be written (which is told).
        """
        state = self._journal.state
        if state.update is not None:
            return self._offer_while_running(state.update, offer)
        if state.last is not None and rules.is_attempt(offer, state.last.deployment_id, state.last.attempt):
            self._publish(state.last.report)
            return False
        if told := rules.outcome_of(state, offer):
            self._log.begin(offer)
            self._publish(told)
            return False
        if rules.is_old(state, offer):
            log.warning(
                "Refused an old offer of %s: attempt %d of deployment %s has ended on this device.",
                *(offer.artifact.name, offer.attempt, offer.deployment_id),
            )
            return False
        self._log.begin(offer)
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
        self._orders.notify()

    def roll_back(self) -> None:
        """Take an update by hand back, when by_hand.refusal has nothing against it."""
        self._orders.take_back(BACK_BY_HAND)

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
                self._step(self._waits.for_update())
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
        if update is not None and rules.is_attempt(update.offer, ack.deployment_id, ack.attempt) and takes_back(ack):
            self._orders.take_back(TAKEN_BACK[ack.verdict])
        self._orders.notify()

    def abort(self, deployment_id: str) -> None:
        """Stop the update of a deployment, rolling back if it has changed anything; in vain once it has committed."""
        update = self._journal.state.update
        if update is not None and update.offer.deployment_id == deployment_id:
            self._orders.take_back(TAKEN_BACK[Verdict.ABORTED])

    def gone(self, deployment_id: str) -> None:
        """Stop the update of a deployment that the controller no longer offers to this device."""
        update = self._journal.state.update
        if update is not None and update.offer.deployment_id == deployment_id:
            self._orders.take_back("The controller no longer offers this update.")

    def stop(self) -> None:
        """Make `run` return soon, from any thread; the journal says where to go on."""
        self._orders.stop()

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
        if update.state is S.WAIT_WINDOW and (held := self._waits.hold()) is not None:
            facts["hold"] = held.why
        if update.failure is not None:
            facts["error"] = rules.as_plain(update.failure)
        if self._course.stuck:
            facts["to_do"] = self._course.stuck
        return facts

    def _begin(self, offer: Offer, facts: ByHand | None = None) -> None:
        self._progress = None
        self._course.begin(offer, facts)

    def _step(self, update: Update) -> None:
        """Perform the step of the stored state and move on; everything that raises Interrupted leaves it stored."""
        self._orders.recall()
        if self._orders.taken_back is not None and allows(update.state, E.ABORTED):
            if rules.may_stop(update):
                self._course.move(E.ABORTED, Reason(code=Code.ABORTED, text=self._orders.taken_back))
                return
            log.warning("%s %s", self._orders.taken_back, TOO_LATE)
        try:
            ending = self._ending(update)
        except Interrupted:
            if self._orders.is_stopping:
                raise
            return  # taken back: the next step sees it
        self._course.move(ending.event, ending.error, ending.facts)

    def _ending(self, update: Update) -> Ending:
        if update.state is S.CONFIRM:
            return self._waits.for_controller()
        if update.state is S.DOWNLOAD:
            ending = self._download()
            is_held = ending.event is E.OK and self._waits.hold() is not None
            return dataclasses.replace(ending, event=E.HELD) if is_held else ending
        if update.state is S.WAIT_WINDOW:
            return self._waits.for_window()
        return self._actions.perform(update, self._journal.state.provides, self._progressed)

    def _download(self) -> Ending:
        """Download, with a fresh link as often as the one there is leads nowhere, within LINKS_MAX."""
        is_again, futile, farthest = False, 0, 0
        while True:
            self._waits.for_link()
            state = self._journal.state
            if state.update is None:
                raise Interrupted
            try:
                return self._actions.perform(state.update, state.provides, self._progressed, is_again=is_again)
            except LinkUseless as useless:
                done = 0 if self._progress is None else self._progress.done
                if done >= farthest + LINK_PIECE:
                    futile, farthest = 0, done
                if state.update.by_hand is not None:
                    return self._actions.fail(state.update, UpdateError(Code.DOWNLOAD_FAILED, str(useless)).reason)
                if futile == LINKS_MAX:
                    text = f"{useless} So it was with {LINKS_MAX} fresh links."
                    return self._actions.fail(state.update, UpdateError(Code.DOWNLOAD_FAILED, text).reason)
                pause_s = self._limits.link_pause_s * 2**futile
                log.warning("%s Asking the controller for a fresh link in %g s.", useless, pause_s)
            pause(self._around, pause_s)
            is_again, futile = True, futile + 1
            self._orders.needs_link = True
            self._changed()

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
        self._course.move(event)

    def _offer_while_running(self, update: Update, offer: Offer) -> bool:
        if offer.deployment_id != update.offer.deployment_id:
            return False
        if offer.attempt != update.offer.attempt:
            self._orders.take_back(TAKEN_BACK[Verdict.STALE])
            return False
        is_news = update.state in {S.DOWNLOAD, S.WAIT_WINDOW} and offer.policy != update.offer.policy
        if not (self.needs_link or is_news):
            return True

        def refresh(state: State) -> State:
            return state if state.update is None else replace(state, update=replace(state.update, offer=offer))

        try:
            self._journal.change(refresh)
        except JournalError as error:
            log.warning("The fresh offer is not taken: %s", error)
            return False
        self._orders.needs_link = False
        self._orders.notify()
        return True

    def _progressed(self, progress: Progress) -> None:
        self._progress = progress
        self._reporter.tell_progress(progress)
