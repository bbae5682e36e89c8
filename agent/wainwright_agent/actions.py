"""What is done in each state: calls of the update module, state scripts, the download, the reboot. The effects only.

`perform` does one step and says how it ended. It decides nothing: which step comes next is in states.py. Waiting for
the controller (for a link, for an Ack) is not here but in waits.py.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from msgspec import UNSET

from wainwright_agent import checkpoint
from wainwright_agent.config import Config
from wainwright_agent.download import Job, download, job_process_id
from wainwright_agent.failure import Interrupted, UpdateError, clip
from wainwright_agent.groups import KILL_GRACE_S
from wainwright_agent.journal import Update, Waiting
from wainwright_agent.module import Module, find
from wainwright_agent.processes import Lines, Process, Surroundings, TimedOut, pause
from wainwright_agent.scripts import Scripts
from wainwright_agent.spare import Spare
from wainwright_agent.states import Event, UpdateState, allows
from wainwright_agent.steps import GOING_BACK, NO_STEP, REPEATED_AFTER_A_FAILURE, STEPS, Step
from wainwright_agent.throttle import lowest
from wainwright_agent.trust import trust_of
from wainwright_agent.worktree import WorkTree
from wainwright_common.codes import Code
from wainwright_common.messages import Progress, Reason

S, E = UpdateState, Event

REBOOTS_BY_MODULE = frozenset({S.MODULE_REBOOT, S.MODULE_ROLLBACK_REBOOT})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Bounds in time that are not worth a setting. All in seconds."""

    reboot_command_s: float = 60.0
    """For the reboot command itself, which only asks for the reboot."""
    reboot_wait_s: float = 600.0
    """For the machine to go down after it: the Mender client's bound."""
    link_s: float = 2160.0
    """For the controller to hear of the new software: the Mender client tries for 3 x (60 + 120 + 240 + 300) s."""
    journal_retry_s: float = 10.0
    """Between two tries to write a journal that could not be written."""
    link_pause_s: float = 2.0
    """Before a fresh link is asked for after the server has refused one; doubles each time."""
    grace_s: float = KILL_GRACE_S


@dataclass(frozen=True, slots=True)
class Ending:
    """How a step ended: the event, the reason if it is a fault, and what became known."""

    event: Event
    error: Reason | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)


class Actions:
    """Performs steps of one agent's updates."""

    def __init__(
        self,
        config: Config,
        surroundings: Surroundings,
        limits: Limits,
        note: Callable[[Waiting], None],
        spare: Spare | None = None,
    ) -> None:
        self._config = config
        self._spare = spare
        self._around = surroundings
        self._limits = limits
        self._scripts = Scripts(config, surroundings, note)
        self.tree = WorkTree(config.data_dir)

    def perform(
        self,
        update: Update,
        provides: Mapping[str, str],
        on_progress: Callable[[Progress], None],
        *,
        is_again: bool = False,
    ) -> Ending:
        """Carry out the step of the update's state. Raises Interrupted when the surroundings say so.

        `is_again` is a download that goes on with a fresh link: its Enter scripts, which may have asked a person, have
        run, and neither Leave nor Error has followed yet.
        """
        if update.state is S.ASK:
            return self._ask(update)
        if update.state is S.CLEANUP:
            return self._clean_up(update)
        step = STEPS.get(update.state, NO_STEP)
        if update.state in GOING_BACK:
            return self._go_back(update, step)
        try:
            if not is_again:
                self._scripts.run(step.before, update.waiting)
            ending = self._act(update, step, provides, on_progress)
            self._scripts.run(step.after, update.waiting, partial(self._unwanted_after, update))
        except UpdateError as error:
            failed = self.fail(update, error.reason)
            return replace(failed, event=E.ABORTED) if self._is_untouched(update, error) else failed
        return ending

    def fail(self, update: Update, reason: Reason) -> Ending:
        """End a step of the way forward that has failed: run its Error scripts."""
        log.error("The step %s failed: %s", update.state, reason.text)
        self._scripts.run_after_a_failure(STEPS.get(update.state, NO_STEP).on_failure)
        return Ending(E.FAILED, reason)

    def _unwanted_after(self, update: Update) -> str | None:
        """Return why scripts after the call of a step need not be waited for; None where there is no way back."""
        why = self._around.unwanted()
        return why if why is None or update.state is not S.INSTALL or self._can_undo(update) else None

    def _is_untouched(self, update: Update, error: UpdateError) -> bool:
        """Say whether an error is an abort in front of an ArtifactInstall that could not have been undone."""
        return update.state is S.INSTALL and error.code is Code.ABORTED and not self._can_undo(update)

    def _can_undo(self, update: Update) -> bool:
        """Ask whether the module can roll back, before it is known to all (`_ask`)."""
        try:
            return self._module(update).ask("SupportsRollback") == "Yes"
        except UpdateError:
            return False

    def _act(
        self, update: Update, step: Step, provides: Mapping[str, str], on_progress: Callable[[Progress], None]
    ) -> Ending:
        """Do what a step of the way forward is for, between its scripts; raises UpdateError."""
        if update.state is S.DOWNLOAD:
            return self._download(update, provides, on_progress)
        if update.state is S.HOST_REBOOT:
            self._reboot_host()
        if update.state is S.COMMIT:
            self._scripts.check_own_version()  # of the new software's root file system
        if step.call is not None:
            self._module(update).call(step.call, survives=update.state in REBOOTS_BY_MODULE)
        return Ending(E.OK)

    def _go_back(self, update: Update, step: Step) -> Ending:
        """Carry out a step of the way back: all of it, whatever fails of it."""
        flaws = [] if (flaw := self._flaw(step.before, update)) is None else [flaw]
        failure = self._failure_going_back(update, step)
        if failure is None or update.state not in REPEATED_AFTER_A_FAILURE:
            flaw = self._flaw(step.after, update)
            if flaw is not None:
                flaws.append(flaw)
                self._scripts.run_after_a_failure(step.on_failure)
        problems = [*flaws, *([] if failure is None else [failure])]
        if not problems:
            return Ending(E.OK)
        first = problems[-1] if failure is not None else problems[0]
        reason = Reason(code=first.code, text=clip(" ".join(problem.text for problem in problems)))
        if failure is not None or not allows(update.state, E.FLAWED):
            return Ending(E.FAILED, reason)
        return Ending(E.FLAWED, reason)

    def _failure_going_back(self, update: Update, step: Step) -> Reason | None:
        try:
            if update.state is S.HOST_ROLLBACK_REBOOT:
                self._reboot_host()
            if step.call is not None:
                self._module(update).call(step.call, survives=update.state in REBOOTS_BY_MODULE)
        except UpdateError as error:
            log.error("The step %s failed: %s", update.state, error)  # noqa: TRY400  the text says it all
            return error.reason
        return None

    def _flaw(self, group: str | None, update: Update) -> Reason | None:
        """Run scripts of the way back; return why they failed, if they did."""
        try:
            self._scripts.run(group, update.waiting)
        except UpdateError as error:
            log.error("The update goes on in spite of it: %s", error)  # noqa: TRY400  the text says it all
            return error.reason
        return None

    def _download(self, update: Update, provides: Mapping[str, str], on_progress: Callable[[Progress], None]) -> Ending:
        if self.tree.exists() and not checkpoint.holds(self.tree.path, update.offer.artifact):
            self._clean_up(update)  # a download that was cut off, in which the module may have begun to store
        settings, limit = self._config.update, update.offer.policy.bytes_per_second
        job = Job(
            artifact=update.offer.artifact,
            data_dir=str(self._config.data_dir),
            records=str(self._around.records),
            device_type=self._config.device_type,
            provides=dict(provides),
            modules=tuple(map(str, settings.modules)),
            verify_keys=tuple(map(str, settings.verify_keys)),
            module_timeout_s=settings.module_timeout_s,
            grace_s=self._around.grace_s,
            progress_interval_s=settings.progress_interval_s,
            boot_id=update.boot_id,
            bytes_per_second=lowest(settings.bytes_per_second, None if limit is UNSET else limit),
            by_hand=update.by_hand is not None,
            parent=job_process_id(),
            trust=trust_of(self._config),
        )
        fetched = download(job, self._around, on_progress, None if self._spare is None else self._spare.take())
        facts = {"payload_type": fetched.payload_type, "new_provides": fetched.provides}
        return Ending(E.NOTHING if fetched.payload_type is None else E.OK, facts=facts)

    def _ask(self, update: Update) -> Ending:
        """Ask what must be known to go on, and to go back, while the software that installed it still runs."""
        module = self._module(update)
        error = update.failure
        needs_reboot: str | None = None
        supports_rollback: bool | None = None
        try:
            needs_reboot = module.ask("NeedsArtifactReboot")
        except UpdateError as problem:
            error = problem.reason
        try:
            supports_rollback = module.ask("SupportsRollback") == "Yes"
        except UpdateError as problem:
            # Not a fault of an update that goes well; one that does not has no way back.
            log.warning("Taken for one without rollback: %s", problem)
        facts = {"needs_reboot": needs_reboot, "supports_rollback": supports_rollback}
        return Ending(E.OK if error is None else E.FAILED, error, facts)

    def _clean_up(self, update: Update) -> Ending:
        """Call Cleanup if a module was ever at work, and remove the tree whatever it says."""
        try:
            payload_type = self.tree.payload_type() or update.payload_type
            if payload_type and self.tree.exists():
                self._module_of(payload_type).call("Cleanup")
        except (UpdateError, OSError) as error:
            log.warning("Cleanup failed, which changes nothing about the update: %s", error)
        try:
            self.tree.remove()
        except OSError as error:
            log.warning("%s: cannot be removed: %s.", self.tree.path, error)
        return Ending(E.OK)

    def _reboot_host(self) -> None:
        """Ask for a reboot and wait for it; raises UpdateError, for what comes after it is another boot's."""
        command = self._config.update.reboot_command
        lines = Lines(lambda line: log.info("%s: %s", command[0], line))
        log.info("Rebooting the device: %s", " ".join(command))
        try:
            with Process(
                command,
                self._around,
                cwd=self._config.data_dir,
                stdin=b"",
                on_output=lines.feed,
                on_errors=lines.feed,
            ) as process:
                try:
                    status = process.wait(time.monotonic() + self._limits.reboot_command_s)
                except Interrupted:
                    process.leave_running()  # it is our own end that it has asked for
                    raise
        except TimedOut:
            raise UpdateError(Code.REBOOT_FAILED, f"The reboot command {command[0]} did not end.") from None
        except OSError as error:
            raise UpdateError(Code.REBOOT_FAILED, f"The reboot command {command[0]} cannot be run: {error}.") from error
        if status:
            text = f"The reboot command {command[0]} ended with status {status}. {lines.tail}".strip()
            raise UpdateError(Code.REBOOT_FAILED, text)
        pause(self._around, self._limits.reboot_wait_s)
        text = f"The device still runs {self._limits.reboot_wait_s:g} s after {command[0]} has asked for a reboot."
        raise UpdateError(Code.REBOOT_FAILED, text)

    def _module(self, update: Update) -> Module:
        if update.payload_type is None:
            raise UpdateError(Code.NO_MODULE, "It is not known which update module has installed the payload.")
        return self._module_of(update.payload_type)

    def _module_of(self, payload_type: str) -> Module:
        settings = self._config.update
        return Module(find(payload_type, settings.modules), self.tree, self._around, settings.module_timeout_s)
