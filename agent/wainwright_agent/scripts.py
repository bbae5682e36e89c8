"""State scripts: programs of the device, or of the artifact, that run around the steps of an update.

A script is an executable file named `<State>_<Enter|Leave|Error>_<NN>[_text]`. Rules:

1. Those of Idle, Sync and Download are the device's own (`update.scripts`), all others the artifact's, which the
   download puts into `<data_dir>/scripts`.
2. They run one after another in the order of their names, without arguments or input. Other files are ignored, and
   those that are not executable are skipped with a warning.
3. A folder may have a file `version`, of 2 or 3. With anything else in it no script is run: that is a failure.
4. Exit status 0 is success, 21 asks to be run again later, any other one is a failure, which ends the run.
5. Error scripts are the exception to 4: whatever fails, the next one runs.

What a failure means for the update is not here but in steps.py and actions.py.
"""

from __future__ import annotations

import logging
import os
import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from wainwright_agent.config import Config
from wainwright_agent.failure import UpdateError
from wainwright_agent.journal import Waiting
from wainwright_agent.module import GATE, GO, last_words
from wainwright_agent.mounts import remove_tree
from wainwright_agent.processes import Lines, Process, Surroundings, TimedOut, pause
from wainwright_agent.synced import sync_folder, write_synced
from wainwright_common.codes import Code
from wainwright_common.texts import encodable

FOLDER = "scripts"  # of the data folder: the artifact's own
VERSION_FILE = "version"
VERSION = "3"  # of what we write; Mender 1 had other rules
VERSIONS = frozenset({"2", "3"})
OF_THE_DEVICE = frozenset({"Idle", "Sync", "Download"})
RETRY_LATER = 21  # exit status; Mender's
SAID_MAX = 10 * 1024  # characters of one run that are logged; the Mender client's bound
VERSION_MAX = 64  # bytes; the file has two

_NAME = re.compile(r"(?P<group>[A-Za-z]+_(?:Enter|Leave|Error))_[0-9]{2}(?:_\S*)?")

log = logging.getLogger(__name__)


def extract(data_dir: Path, scripts: Mapping[str, bytes]) -> None:
    """Put an artifact's scripts where those of the one before were, and wait until the medium has them.

    The names must have been checked, as the artifact's reader does. Raises OSError.
    """
    folder = data_dir / FOLDER
    remove_tree(folder)
    folder.mkdir(mode=0o700)
    write_synced(folder / VERSION_FILE, VERSION.encode())
    for name, content in scripts.items():
        write_synced(folder / name, content, 0o700)
    sync_folder(folder)
    sync_folder(data_dir)


def check_version(folder: Path) -> None:
    """Raise UpdateError when a folder's scripts are of a version that this agent cannot run."""
    file = folder / VERSION_FILE
    try:
        with file.open("rb") as opened:
            version = opened.read(VERSION_MAX).decode(errors="replace").strip()
    except FileNotFoundError:
        return
    except OSError as error:
        raise UpdateError(Code.SCRIPT_FAILED, f"{file}: cannot be read: {error.strerror}.") from error
    if version not in VERSIONS:
        text = f"{file}: the state scripts are of version {version!r}; this agent runs those of version 2 and 3."
        raise UpdateError(Code.SCRIPT_FAILED, text)


def find(folder: Path, group: str) -> list[Path]:
    """Return the scripts of a group, such as `Download_Enter`, in their order; raises UpdateError (rule 3)."""
    try:
        files = sorted(folder.absolute().iterdir())
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UpdateError(Code.SCRIPT_FAILED, f"{folder}: cannot be read: {error.strerror}.") from error
    check_version(folder)
    found = []
    for file in files:
        match = _NAME.fullmatch(file.name)
        if match is None or match["group"] != group or not file.is_file():
            continue
        if os.access(file, os.X_OK):
            found.append(file)
        else:
            log.warning("%s: the state script is skipped, for it is not executable. Run chmod +x on it.", file)
    return found


class Scripts:
    """Runs the state scripts of one device. `note` is told whenever a script asks to be run again."""

    def __init__(self, config: Config, surroundings: Surroundings, note: Callable[[Waiting], None]) -> None:
        self._own = config.update.scripts
        self._artifacts = config.data_dir / FOLDER
        self._settings = config.update
        self._around = surroundings
        self._note = note

    def run(
        self, group: str | None, waiting: Waiting | None = None, unwanted: Callable[[], str | None] | None = None
    ) -> None:
        """Run a group of scripts; `waiting` is what `note` was told last, before a restart.

        `unwanted` takes the place of the surroundings'. Raises UpdateError with the first failure, and Interrupted.
        """
        for script in self._find(group):
            self._run_until_done(script, waiting, unwanted or self._around.unwanted)

    def run_after_a_failure(self, group: str | None) -> None:
        """Run a group of Error scripts, all of them; their failures are only logged. Raises Interrupted."""
        try:
            scripts = self._find(group)
        except UpdateError as error:
            log.warning("%s", error)
            return
        for script in scripts:
            try:
                self._run_until_done(script, None, self._around.unwanted)
            except UpdateError as error:
                log.warning("%s That changes nothing about the update.", error)

    def check_own_version(self) -> None:
        """Raise UpdateError when the device's own scripts cannot be run by this agent."""
        check_version(self._own)

    def _find(self, group: str | None) -> list[Path]:
        if group is None:
            return []
        return find(self._own if group.partition("_")[0] in OF_THE_DEVICE else self._artifacts, group)

    def _run_until_done(self, script: Path, waiting: Waiting | None, unwanted: Callable[[], str | None]) -> None:
        """Run a script, and again as long as it asks for it and its time is not over."""
        limit_s = self._settings.script_retry_timeout_s
        name = encodable(script.name)  # as the journal has it
        waited_s = waiting.waited_s if waiting is not None and waiting.script == name else None
        before, since = waited_s or 0.0, time.monotonic()
        while self._run_once(script) == RETRY_LATER:
            now = time.monotonic()
            if waited_s is None:
                since = now
            waited_s = before + now - since
            self._note(Waiting(script=name, waited_s=waited_s))
            left_s = limit_s - waited_s
            log.info("The state script %s asks to be run again later; %.0f s are left.", name, max(0.0, left_s))
            pause(self._around, min(max(0.0, left_s), self._settings.script_retry_interval_s), unwanted)
            if (why := unwanted()) is not None:
                raise UpdateError(Code.ABORTED, why)
            if left_s <= self._settings.script_retry_interval_s:
                text = f"The state script {name} asked to be run again later for more than {limit_s:g} s."
                raise UpdateError(Code.SCRIPT_FAILED, text)

    def _run_once(self, script: Path) -> int:
        """Run a script to its end and return its status, which is 0 or RETRY_LATER; raises UpdateError else."""
        limit_s = self._settings.script_timeout_s
        name = encodable(script.name)
        said = _Said(name)
        output, errors = Lines(said.log), Lines(said.log)
        log.info("Running the state script %s.", name)
        try:
            with Process(
                (*GATE, str(script)),
                self._around,
                cwd=Path("/"),
                stdin=GO,
                on_output=output.feed,
                on_errors=errors.feed,
            ) as process:
                status = process.wait(time.monotonic() + limit_s)
        except TimedOut:
            text = f"The state script {name} did not end in {limit_s:g} s and was ended."
            raise UpdateError(Code.TIMEOUT, text + last_words(errors)) from None
        except OSError as error:
            raise UpdateError(Code.SCRIPT_FAILED, f"The state script {name} cannot be run: {error}.") from error
        output.end()
        errors.end()
        if status in {0, RETRY_LATER}:
            return status
        how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
        raise UpdateError(Code.SCRIPT_FAILED, f"The state script {name} {how}.{last_words(errors)}")


class _Said:
    """Logs what one run of a script says, up to a bound."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._left = SAID_MAX

    def log(self, line: str) -> None:
        if self._left <= 0:
            return
        self._left -= len(line) + 1
        log.info("%s: %s%s", self._name, line, "" if self._left > 0 else " (what more it says is left out)")
