"""Asks before what cannot be undone: the name is to be typed, or --yes given; where nobody can be asked, it refuses."""

from __future__ import annotations

import sys

import click

from wainwright_common.texts import printable, printable_lines
from wainwright_controller.cli.exits import CliError, ExitCode
from wainwright_controller.cli.fitting import columns, fitted
from wainwright_controller.cli.settings import Settings


def confirm(settings: Settings, name: str, verb: str, consequence: str, *, or_id: str | None = None) -> None:
    """Return when the person wants it; `consequence` says what would happen. Raises CliError, exit code 4.

    A name of several words, which are made from others as a rule, may be long: there `or_id` is asked for instead.
    """
    if settings.yes:
        return
    if not sys.stdin.isatty():
        raise CliError(ExitCode.REFUSED, f"{consequence} Nobody can be asked here: give --yes to do it without asking.")
    click.echo(fitted(printable_lines(consequence), columns(sys.stderr)), err=True)
    asked = or_id if or_id is not None and " " in name else name
    typed = click.prompt(f"Type {printable(asked)} to {verb} it", default="", show_default=False, err=True)
    if typed not in {name, asked}:
        raise CliError(ExitCode.REFUSED, "Not confirmed: nothing was changed.")
