"""Exit codes, and the errors that lead to them; the same for both tools."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from enum import IntEnum
from typing import IO, Any

import click

from wainwright_common.texts import printable_lines
from wainwright_controller.cli.fitting import columns, fitted


class ExitCode(IntEnum):
    """What a command came to."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    NOTHING_TO_DO = 5
    STILL_RUNNING = 8
    INTERRUPTED = 130


MEANINGS: Mapping[ExitCode, str] = {
    ExitCode.DONE: "done, or already so",
    ExitCode.FAILED: "tried and failed; also: the watched deployment did not succeed",
    ExitCode.USAGE: "wrong command line or configuration",
    ExitCode.UNREACHABLE: "cannot reach the controller",
    ExitCode.REFUSED: "refused: not confirmed, not allowed, not signed",
    ExitCode.NOTHING_TO_DO: "nothing to do",
    ExitCode.STILL_RUNNING: "still running: the time-out passed, or a person has to act",
    ExitCode.INTERRUPTED: "interrupted; a watched deployment goes on",
}


class CliError(click.ClickException):
    """An error as a sentence on stderr, and an exit code."""

    def __init__(self, code: ExitCode, text: str) -> None:
        super().__init__(text)
        self.code = code

    def show(self, file: IO[Any] | None = None) -> None:
        """Print the sentence."""
        told = printable_lines(self.message)
        text = fitted(f"error: {told}", columns(file or sys.stderr), hanging=len("error: "))
        click.echo(text, file=file, err=file is None)


class Unreachable(CliError):  # noqa: N818  the name is the sentence: "unreachable: …"
    """The controller does not answer."""

    def __init__(self, text: str) -> None:
        super().__init__(ExitCode.UNREACHABLE, text)


class Told(CliError):  # noqa: N818  as above
    """The controller answered with a problem; `problem` is its stable code."""

    def __init__(self, code: ExitCode, text: str, problem: str) -> None:
        super().__init__(code, text)
        self.problem = problem
