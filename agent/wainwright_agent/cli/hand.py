"""`wain install`, `commit`, `rollback`, `resume`: updates by hand, through the service or, without one, by ourselves.

Either way one process has the journal, and the same machine carries the update out. The device is never restarted.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Protocol
from urllib.parse import quote

import msgspec

from wainwright_agent import by_hand, status, technician
from wainwright_agent.cli.exits import Exit, Refused
from wainwright_agent.cli.output import complain, talk, tell
from wainwright_agent.cli.show import is_wanted
from wainwright_agent.cli.terminal import mute_what_is_lost, outlived
from wainwright_agent.config import Config
from wainwright_agent.control import AgentUnreachable, ask
from wainwright_agent.download import Look, Looked, Said
from wainwright_agent.events import Answer, Asked
from wainwright_agent.journal import Journal, JournalError
from wainwright_agent.masking import mask
from wainwright_agent.spare import Spare
from wainwright_agent.supervisor import log_to_stderr
from wainwright_agent.trust import Trust, trust_of
from wainwright_agent.update import Updater
from wainwright_common.errors import WainwrightError

ANSWER_S = 10.0  # the agent answers in milliseconds
LOOK_S = 0.2  # between two looks at how far the service's update is
STOP_S = 20.0  # for a module's process group to be ended

SEE_LOG = "What was done, step by step: wain logs"

EXITS = {"nothing": Exit.NOTHING_TO_DO, "reboot-needed": Exit.REBOOT_NEEDED, "journal": Exit.FAILED}
"""What is refused for another reason is REFUSED."""


class Owner(Protocol):
    """Whoever has the journal."""

    def do(self, command: str, options: dict[str, Any]) -> Answer:
        """Begin a command; the answer has `error` and `text` when it is refused."""

    def look(self) -> status.Status:
        """Return the status."""

    def pause(self) -> None:
        """Wait until it is worth another look."""


def install(config: Config, arguments: Namespace, spare: Spare) -> Exit:
    """Install a file or a link, by way of `spare`; ends when that is done, has failed, or waits for the technician."""
    looked = _look_at(arguments.source, trust_of(config), spare)
    options = msgspec.structs.asdict(looked) | {"stop_before": arguments.stop_before}
    with _owner(config, spare) as owner:
        answer = owner.do("install", options)
        if "error" in answer:
            return _refused(answer)
        end = _follow(owner)
        if end is Exit.REBOOT_NEEDED and not arguments.reboot_exit_code:
            return Exit.DONE
        return end


def _look_at(source: str, trust: Trust | None, spare: Spare) -> Looked:
    """Have the spare child look at a file or link; raises Refused and SourceError."""
    try:
        answer = spare.ask(
            msgspec.json.encode(Look(source=quote(os.fsencode(source)), trust=trust, parent=os.getpid()))
        )
    except OSError as error:
        raise WainwrightError(f"{mask(source)}: cannot be looked at: {error}.") from error
    said = msgspec.json.decode(answer, type=Said)
    if said.looked is not None:
        return said.looked
    if said.unusable is None:
        raise WainwrightError(f"{mask(source)}: cannot be looked at: the answer is not one: {answer!r}.")
    raise (Refused if said.unusable.is_refused else WainwrightError)(said.unusable.text)


def act(config: Config, arguments: Namespace) -> Exit:
    """Commit, roll back or resume an update by hand."""
    command = arguments.command
    with _owner(config) as owner:
        if isinstance(owner, _Ourselves) and owner.has_gone_on and (command == "resume" or owner.is_idle):
            return _follow(owner, command=command)  # finding the journal was enough for it to go on
        stood = owner.look().get("trying", {}).get("state", "")  # said before
        answer = owner.do(command, {})
        return _refused(answer) if "error" in answer else _follow(owner, stood, command=command)


def _refused(answer: Answer) -> Exit:
    complain(str(answer["text"]))
    return EXITS.get(answer["error"], Exit.REFUSED)


class _Service:
    """The running service."""

    def __init__(self, config: Config) -> None:
        self._config = config

    def do(self, command: str, options: dict[str, Any]) -> Answer:
        return next(iter(ask(self._config, command, options, line_s=ANSWER_S)))

    def look(self) -> status.Status:
        return next(iter(ask(self._config, "status", line_s=ANSWER_S)))

    def pause(self) -> None:
        time.sleep(LOOK_S)


class _Ourselves:
    """This process, with an updater of its own, as long as the context lasts."""

    def __init__(self, config: Config, journal: Journal, spare: Spare | None) -> None:
        self._config = config
        self._journal = journal
        self._found = journal.state.update
        self._news = threading.Event()
        self._updater = Updater(config, journal, publish=lambda _: None, changed=self._news.set, spare=spare)
        self._thread = threading.Thread(target=self._updater.run, name="update", daemon=True)
        self._thread.start()

    def settle(self) -> None:
        """Wait until nothing is left to do of what was found."""
        while not self._updater.is_settled and self._thread.is_alive():
            self.pause()

    @property
    def is_idle(self) -> bool:
        """Whether no update is left."""
        return self._journal.state.update is None

    @property
    def has_gone_on(self) -> bool:
        """Whether an update was found in the middle of a step, or after the reboot that it was waiting for."""
        found, now = self._found, self._journal.state.update
        return found is not None and (now is None or now.state is not found.state)

    def do(self, command: str, options: dict[str, Any]) -> Answer:
        return technician.carry_out(self._updater, self._journal.state, Asked(command, options, is_owner=True))

    def look(self) -> status.Status:
        if not self._thread.is_alive():
            raise JournalError("The update stopped by an error of the program. To go on: wain resume")
        found = status.of_record(self._config, "", self._journal.state)
        if "trying" in found:
            found["trying"].update(self._updater.snapshot())
        return found

    def pause(self) -> None:
        self._news.wait(LOOK_S)  # and not longer: a thread that dies has no news
        self._news.clear()

    def close(self) -> None:
        self._updater.stop()
        self._thread.join(STOP_S)


@contextmanager
def _owner(config: Config, spare: Spare | None = None) -> Iterator[Owner]:
    """Find the service; without one, take the journal, and fetch with `spare`."""
    try:
        next(iter(ask(config, "status", line_s=ANSWER_S)))
    except AgentUnreachable as error:
        if error.is_forbidden:
            raise Refused(f"{error} Run this as root.") from error
    else:
        with _telling_an_end("goes on. To follow it: wain status --watch"):
            yield _Service(config)
        return
    try:
        journal = Journal.open(config.data_dir)
    except JournalError as error:
        if isinstance(error.__cause__, PermissionError):
            raise Refused(f"{error} Run this as root.") from error
        raise
    with journal:
        update = journal.state.update
        if update is not None and update.by_hand is None:
            name = update.offer.artifact.name
            raise Refused(
                f"The update to {name} of a deployment is under way. Start the service, which goes on with it."
            )
        log_to_stderr("warning")  # the steps are told by _follow
        with outlived():
            ourselves = _Ourselves(config, journal, spare)
            try:
                with _telling_an_end("stops. To go on: wain resume"):
                    ourselves.settle()
                    yield ourselves
            finally:
                ourselves.close()


@contextmanager
def _telling_an_end(words: str) -> Iterator[None]:
    """Tell what Ctrl+C does to the update: it ends our wait, and with it the update only if we carry it out."""
    try:
        yield
    except KeyboardInterrupt:
        with suppress(OSError):  # it may be a terminal's last word
            talk(f"The update {words}")
        raise


def _follow(owner: Owner, told: str = "", *, command: str = "install") -> Exit:
    """Wait until an update by hand is done or held, telling its steps, and say how it stands.

    `told` is the step that need not be told. An update that we carry out goes on when nobody hears us any more.
    """
    try:
        end = _wait_and_tell(owner, told, command=command)
        sys.stdout.flush()
    except OSError:
        if isinstance(owner, _Service):
            raise
        mute_what_is_lost()
        return _wait_and_tell(owner, told, command=command)
    return end


def _wait_and_tell(owner: Owner, told: str, *, command: str) -> Exit:
    wished = ""
    while True:
        found = owner.look()
        trying = found.get("trying")
        if trying is None or not trying.get("by_hand"):
            return _ended(found, command=command)
        if "held" in trying:
            return _held(trying)
        if trying["state"] != told:
            told = trying["state"]
            talk(f"{trying['artifact_name']}: {told}")
        if trying.get("to_do", "") not in ("", wished):
            wished = trying["to_do"]
            talk(f"{trying['artifact_name']} waits: {wished}")
        owner.pause()


def _held(trying: dict[str, Any]) -> Exit:
    name, held = trying["artifact_name"], trying["held"]
    if held == "reboot":
        tell(f"{name}: the device must be restarted now. After that: wain resume")
        return Exit.REBOOT_NEEDED
    if held == "commit":
        ways = "\n  ".join(trying["to_do"].split(". "))  # one, where the module cannot roll back
        tell(f"{name} is installed, but not yet for good.\n  {ways}")
    else:
        tell(f"{name}: stopped before {held}. To go on: wain resume")
    return Exit.DONE


def _ended(found: status.Status, *, command: str) -> Exit:
    last, runs = found.get("last", {}), found["artifact_name"]
    if not by_hand.is_by_hand(last.get("deployment_id", "")):
        complain("It is not known how the update has ended. See: wain status")
        return Exit.FAILED
    if last["outcome"] == "success" and command == "rollback":
        complain(f"Not rolled back: {last['artifact_name']} was committed meanwhile, and {by_hand.NOT_KEPT}")
        return Exit.FAILED
    if last["outcome"] == "success":
        tell(f"Installed {last['artifact_name']}.")
        return Exit.DONE
    text = last["error"]["text"] if "error" in last else "There is no reason on record."
    if last["inconsistent"]:
        complain(f"{last['artifact_name']}: {text}")
        talk(f"The device may run a mix, and calls itself {runs}. {SEE_LOG}")
        return Exit.FAILED
    if command == "rollback" or (command == "resume" and is_wanted(last)):
        tell(f"Rolled back from {last['artifact_name']}. The device runs {runs}.")
        return Exit.DONE
    complain(f"{last['artifact_name']} was not installed: {text}")
    talk(f"The device runs {runs}. {SEE_LOG}")
    return Exit.FAILED
