"""Asks before what cannot be undone: the name is to be typed, or --yes given; where nobody can be asked, it refuses."""

from __future__ import annotations

import sys

import click

from wainwright_common.texts import printable, printable_lines
from wainwright_controller.cli.exits import CliError, ExitCode
from wainwright_controller.cli.settings import Settings


def confirm(settings: Settings, name: str, verb: str, consequence: str) -> None:
    """Return when the person wants it; `consequence` says what would happen. Raises CliError, exit code 4."""
    if settings.yes:
        return
    if not sys.stdin.isatty():
        raise CliError(ExitCode.REFUSED, f"{consequence} Nobody can be asked here: give --yes to do it without asking.")
    click.echo(printable_lines(consequence), err=True)
    typed = click.prompt(f"Type {printable(name)} to {verb} it", default="", show_default=False, err=True)
    if typed != name:
        raise CliError(ExitCode.REFUSED, "Not confirmed: nothing was changed.")
