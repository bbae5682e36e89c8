"""Update modules, protocol v3: finding one, calling a state, asking a question.

A module is an executable file named like the payload type. It is called as `<module> <State> <work tree>`, in the work
tree, with no input. Status 0 is success. A question is a call whose output is the answer: one of few words, or nothing
for the first of them.

Download is here only as far as it is a call; how the payload gets to the module is in streams.py.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from wainwright_agent.failure import Interrupted, UpdateError
from wainwright_agent.processes import Lines, Process, Surroundings, TimedOut
from wainwright_agent.worktree import WorkTree
from wainwright_common.codes import Code

if TYPE_CHECKING:
    from collections.abc import Iterator

ANSWER_MAX = 256  # bytes of an answer that are kept; the longest legal one has 9
LINES_MAX = 500  # of what one call says on each of its two outputs, in the logs; its last words are kept beside them
# The module runs only when this reads a line, which is after its group is on record: an agent that dies in between
# leaves nothing running.
GATE = ("sh", "-c", 'read -r go && exec "$@" </dev/null', "wainwright-gate")
GO = b"go\n"
# A module that wants Python takes this one: the device's own, if it has any, may be another.
PYTHON = {"WAINWRIGHT_PYTHON": sys.executable}

DOWNLOAD = "Download"
DOWNLOAD_WITH_SIZES = "DownloadWithFileSizes"

# fmt: off
CODES: Mapping[str, Code] = {
    DOWNLOAD:                       Code.INSTALL_FAILED,
    DOWNLOAD_WITH_SIZES:            Code.INSTALL_FAILED,
    "ArtifactInstall":              Code.INSTALL_FAILED,
    "ArtifactReboot":               Code.REBOOT_FAILED,
    "ArtifactVerifyReboot":         Code.VERIFY_FAILED,
    "ArtifactCommit":               Code.COMMIT_FAILED,
    "ArtifactRollback":             Code.ROLLBACK_FAILED,
    "ArtifactRollbackReboot":       Code.ROLLBACK_FAILED,
    "ArtifactVerifyRollbackReboot": Code.ROLLBACK_FAILED,
    "ArtifactFailure":              Code.ROLLBACK_FAILED,
    "Cleanup":                      Code.INSTALL_FAILED,  # never reported: Cleanup does not change an outcome
}

ANSWERS: Mapping[str, tuple[str, ...]] = {
    # The first is what an empty answer means, so that a module may ignore questions that it does not know.
    "ProvidePayloadFileSizes": ("No", "Yes"),
    "NeedsArtifactReboot":     ("No", "Yes", "Automatic"),
    "SupportsRollback":        ("No", "Yes"),
}
# fmt: on

log = logging.getLogger(__name__)


def find(payload_type: str, folders: Iterable[Path]) -> Path:
    """Return the module for a payload type, from the first folder that has it.

    Raises UpdateError (no-module) when there is none, it may not be executed, or the type is not a plain name.
    """
    if payload_type in {"", ".", ".."} or "/" in payload_type or "\0" in payload_type:
        raise UpdateError(Code.NO_MODULE, f"The payload type {payload_type!r} is not the name of an update module.")
    folders = tuple(folders)
    for folder in folders:
        module = folder / payload_type
        if module.is_file():
            if os.access(module, os.X_OK):
                return module.absolute()
            raise UpdateError(Code.NO_MODULE, f"{module} is not executable. Run chmod +x on it.")
    places = ", ".join(map(str, folders))
    raise UpdateError(Code.NO_MODULE, f"There is no update module {payload_type!r} in {places}. Install it there.")


class Module:
    """One module at one work tree. All methods raise UpdateError, or Interrupted when the surroundings say so."""

    def __init__(self, path: Path, tree: WorkTree, surroundings: Surroundings, timeout_s: float) -> None:
        self.path = path
        self.tree = tree
        self._around = surroundings
        self._timeout_s = timeout_s

    def call(self, state: str, *, survives: bool = False) -> None:
        """Call a state and wait for its end. If it `survives`, an interruption leaves it running, as a reboot."""
        output, errors = self.log_lines(state), self.log_lines(state)
        try:
            with self.running(state, CODES[state], output.feed, errors) as process:
                try:
                    status = process.wait(self.deadline())
                except Interrupted:
                    if survives:
                        process.leave_running()
                    raise
        finally:
            output.end()
        self.check(state, status, errors)

    def ask(self, question: str) -> str:
        """Ask a question and return the answer; the default when the module says nothing."""
        answer = bytearray()
        errors = self.log_lines(question)
        keep: Callable[[bytes], None] = lambda data: answer.extend(data[: ANSWER_MAX - len(answer)])  # noqa: E731  so short
        with self.running(question, Code.INSTALL_FAILED, keep, errors) as process:
            status = process.wait(self.deadline())
        self.check(question, status, errors)
        allowed = ANSWERS[question]
        text = bytes(answer).decode(errors="replace")
        word = text.removesuffix("\n")
        if word == "":
            return allowed[0]
        if word not in allowed:
            shown = text if len(text) < 50 else f"{text[:50]}..."  # noqa: PLR2004  enough to recognise it by
            raise UpdateError(
                Code.INSTALL_FAILED,
                f"The update module {self.path.name} answered {shown!r} to {question}; allowed: {', '.join(allowed)}.",
            )
        return word

    def deadline(self) -> float:
        """Return when a call that begins now must end, in monotonic seconds."""
        return time.monotonic() + self._timeout_s

    @contextmanager
    def running(self, state: str, code: Code, take: Callable[[bytes], None], errors: Lines) -> Iterator[Process]:
        """Run a call, end its group on the way out, and turn what can go wrong with a process into UpdateError."""
        log.info("Calling the update module %s %s.", self.path.name, state)
        try:
            with Process(
                (*GATE, str(self.path), state, str(self.tree.path)),
                self._around,
                cwd=self.tree.path,
                stdin=GO,
                env=PYTHON,
                on_output=take,
                on_errors=errors.feed,
            ) as process:
                yield process
        except TimedOut:
            text = f"The update module {self.path.name} did not finish {state} in {self._timeout_s:g} s and was ended."
            raise UpdateError(Code.TIMEOUT, text + last_words(errors)) from None
        except OSError as error:
            text = f"The update module {self.path.name} could not be run for {state}: {error}."
            raise UpdateError(code, text) from error

    def check(self, state: str, status: int, errors: Lines) -> None:
        """Raise UpdateError when a call did not end with success."""
        errors.end()
        if status == 0:
            return
        how = f"ended with status {status}" if status > 0 else f"was ended by signal {-status}"
        text = f"The update module {self.path.name} {how} in {state}."
        raise UpdateError(CODES.get(state, Code.INSTALL_FAILED), text + last_words(errors))

    def log_lines(self, state: str) -> Lines:
        """Return a taker of output that logs each line."""
        return Lines(lambda line: log.info("%s %s: %s", self.path.name, state, line), most=LINES_MAX)


def last_words(errors: Lines) -> str:
    """Return what a program said last, as the end of a failure's text."""
    errors.end()
    return f" Its last words: {errors.tail}" if errors.tail else " It said nothing."
