"""`wainwright completions`."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from wainwright_controller.cli.settings import Command

PROGRAM = "wainwright"
VARIABLE = "_WAINWRIGHT_COMPLETE"  # click's name for it: what the script asks the program by
SHELLS = ("bash", "zsh", "fish")


@click.command("completions", cls=Command, short_help="Print what completes commands in a shell.")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def completions(ctx: click.Context, shell: str) -> None:
    """Print a script for SHELL that completes commands and options at the Tab key.

    \b
    bash:  wainwright completions bash > ~/.local/share/bash-completion/completions/wainwright
    zsh:   wainwright completions zsh > ~/.zfunc/_wainwright    (a folder in fpath)
    fish:  wainwright completions fish > ~/.config/fish/completions/wainwright.fish
    """  # noqa: D301  click's mark for lines that stay as they are
    kind = get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"No completions for {shell}.")
    click.echo(kind(ctx.find_root().command, {}, PROGRAM, VARIABLE).source())
