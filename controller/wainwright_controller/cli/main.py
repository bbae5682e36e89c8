"""The command `wainwright`."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import click

from wainwright_common import __version__
from wainwright_controller.cli.exits import MEANINGS, CliError, ExitCode
from wainwright_controller.cli.settings import CONTROLLER, Settings, options

# Commands in the order of help; each is imported when it is used, so that none waits for what others need.
COMMANDS: Mapping[str, str] = {
    "serve": "wainwright_controller.cli.serve:serve",
    "demo": "wainwright_controller.demo.command:main",
    "simulate": "wainwright_controller.simulate.command:main",
    "broker-config": "wainwright_controller.cli.broker_config:broker_config",
    "device": "wainwright_controller.cli.device:device",
    "group": "wainwright_controller.cli.group:group",
    "artifact": "wainwright_controller.cli.artifact:artifact",
    "release": "wainwright_controller.cli.release:release",
    "deployment": "wainwright_controller.cli.deployment:deployment",
    "why": "wainwright_controller.cli.device:why",
    "user": "wainwright_controller.cli.user:user",
    "token": "wainwright_controller.cli.token:token",
    "enrolment": "wainwright_controller.cli.enrolment:enrolment",
    "ca": "wainwright_controller.cli.ca:ca",
    "audit": "wainwright_controller.cli.audit:audit",
    "check-config": "wainwright_controller.cli.check_config:check_config",
    "completions": "wainwright_controller.cli.completions:completions",
}
EXIT_CODES = "\b\nExit codes:\n" + "\n".join(f"  {int(code):<4}{text}" for code, text in MEANINGS.items())


class Main(click.Group):
    """Imports commands lazily, and ends with the exit codes of exits.py."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """Return the commands in the order of help."""
        return list(COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Return a command, or None."""
        if name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[name].partition(":")
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,  # noqa: FBT001, FBT002  click's signature
        **extra: Any,  # noqa: ANN401  as above
    ) -> Any:  # noqa: ANN401  as above
        """Run; in standalone mode, as from a shell, end the process with the exit code."""
        run = partial(super().main, args, prog_name, complete_var, standalone_mode=False, **extra)
        if not standalone_mode:
            return run()
        sys.exit(int(_exit_code(run)))


def _exit_code(run: Callable[[], object]) -> int:
    try:
        value = run()
    except click.ClickException as error:
        error.show()
        return error.code if isinstance(error, CliError) else error.exit_code
    except click.Abort:  # Ctrl+C
        click.echo("Interrupted.", err=True)
        return ExitCode.INTERRUPTED
    return value if isinstance(value, int) else ExitCode.DONE


@click.group(cls=Main, epilog=EXIT_CODES, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--controller",
    metavar="URL",
    envvar="WAINWRIGHT_CONTROLLER",
    default=CONTROLLER,
    show_default=True,
    show_envvar=True,
    help="The controller's address.",
)
@click.option("--token", metavar="T", envvar="WAINWRIGHT_TOKEN", default="", show_envvar=True, help="Your token.")
@click.option(
    "--token-file",
    metavar="F",
    envvar="WAINWRIGHT_TOKEN_FILE",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File that has your token, where --token is not given.",
)
@click.option(
    "--ca",
    metavar="F",
    envvar="WAINWRIGHT_CA",
    show_envvar=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="PEM file of the authority that signed the controller's certificate. [the system's]",
)
@click.option(
    "--allow-plain",
    is_flag=True,
    envvar="WAINWRIGHT_ALLOW_PLAIN",
    show_envvar=True,
    help="Send the token by http:// to another machine, where a network can read it.",
)
@click.version_option(__version__, prog_name="wainwright", message="%(prog)s %(version)s")
@click.pass_context
def wainwright(
    ctx: click.Context,
    *,
    controller: str,
    token: str,
    token_file: Path | None,
    ca: Path | None,
    allow_plain: bool,
) -> None:
    """Keep the software of a fleet of devices current.

    Data goes to stdout, talk to stderr. -o, --yes and --quiet may also stand after the command.
    """
    settings = ctx.ensure_object(Settings)
    settings.controller, settings.token, settings.token_file = controller, token, token_file
    settings.ca, settings.allow_plain = ca, allow_plain
    ctx.call_on_close(settings.close)


wainwright.params += options(hidden=False)
