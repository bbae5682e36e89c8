"""Writes docs/cli.md from the commands' own help: `python -m wainwright_controller.cli.reference > docs/cli.md`."""

from __future__ import annotations

from collections.abc import Iterator

import click

from wainwright_controller.cli.exits import MEANINGS
from wainwright_controller.cli.main import wainwright

WIDTH = 100  # characters of a line, whatever terminal this is run on
HEAD = """\
# `wainwright`, the operator's command line

This page is made from the commands' own help, by `python -m wainwright_controller.cli.reference`.

Data goes to stdout, talk to stderr. `-o`, `--yes` and `--quiet` may stand before or after the command. Tables show
short ids and how long ago something was, JSON full ids and times in RFC 3339; a short id of 4 characters or more names
the thing as well as the full one. What cannot be undone asks for the name to be typed, or `--yes`; where nobody can be
asked, it refuses.
"""


def reference() -> str:
    """Return the page."""
    lines = [HEAD, "| exit code | meaning |", "|---|---|"]
    lines += [f"| {int(code)} | {text} |" for code, text in MEANINGS.items()]
    for path, help_text in _helps(wainwright, ("wainwright",), None):
        depth = "#" * min(len(path) + 1, 4)
        lines += ["", f"{depth} `{' '.join(path)}`", "", "```", help_text, "```"]
    return "\n".join(lines) + "\n"


def _helps(
    command: click.Command, path: tuple[str, ...], parent: click.Context | None
) -> Iterator[tuple[tuple[str, ...], str]]:
    settings = dict(command.context_settings, terminal_width=WIDTH, max_content_width=WIDTH)
    context = click.Context(command, parent, path[-1], **settings)
    yield path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            if inner is not None:
                yield from _helps(inner, (*path, name), context)


if __name__ == "__main__":
    click.echo(reference(), nl=False)
