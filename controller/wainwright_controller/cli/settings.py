"""What the options that every command has say; they may stand before or after the command."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

import click

from wainwright_common.texts import printable_lines
from wainwright_controller.cli.exits import CliError, ExitCode
from wainwright_controller.cli.fitting import columns, fitted

if TYPE_CHECKING:
    from wainwright_controller.cli.client import Client

CONTROLLER = "http://127.0.0.1:8080"
Output = Literal["table", "json", "jsonl", "csv"]


@dataclass
class Settings:
    """The options of `wainwright`; the client is made when it is first needed."""

    controller: str = CONTROLLER
    token: str = field(default="", repr=False)
    token_file: Path | None = None
    ca: Path | None = None
    allow_plain: bool = False
    output: Output = "table"
    yes: bool = False
    quiet: bool = False

    @cached_property
    def client(self) -> Client:
        """The connection to the controller."""
        from wainwright_controller.cli.client import Client

        token = self.token or _token_in(self.token_file)
        if token and not self.allow_plain:
            _check_encryption(self.controller)
        return Client(self.controller, token, self.ca)

    def close(self) -> None:
        """End the connection, if there is one."""
        if "client" in self.__dict__:
            self.client.close()

    def say(self, text: str) -> None:
        """Talk to the person, unless he wants quiet; data goes to stdout instead."""
        if not self.quiet:
            click.echo(fitted(printable_lines(text), columns(sys.stderr)), err=True)


def _check_encryption(url: str) -> None:
    """Raise CliError where a network could read the token; an address that cannot be taken apart is told later."""
    from wainwright_common.brokers import is_loopback

    try:
        parts = urlsplit(url)
        is_plain = parts.scheme.lower() == "http" and not is_loopback(parts.hostname or "")
    except ValueError:
        return
    if is_plain:
        raise CliError(
            ExitCode.REFUSED,
            f"{url} would send your token readable to another machine: use https://, or --allow-plain if you accept"
            " that.",
        )


def _token_in(file: Path | None) -> str:
    """Return the token in a file, "" without one; raises CliError."""
    if file is None:
        return ""
    try:
        token = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is not text in ASCII"
        raise CliError(ExitCode.USAGE, f"Cannot read the token in {file}: {said}.") from error
    if not token or any(sign.isspace() for sign in token):
        raise CliError(ExitCode.USAGE, f"{file} does not have one token and nothing else.")
    return token


in_settings = click.make_pass_decorator(Settings, ensure=True)


def _keep(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def keep(ctx: click.Context, _param: click.Parameter, value: Any) -> None:  # noqa: ANN401  click's signature
        if value is not None and value is not False:
            setattr(ctx.ensure_object(Settings), name, value)

    return keep


def options(*, hidden: bool, more: Sequence[str] = ()) -> list[click.Option]:
    """Return the options that every command takes; `more` are further forms of output."""
    return [
        click.Option(
            ["-o", "--output"],
            type=click.Choice(["table", "json", "jsonl", *more]),
            expose_value=False,
            callback=_keep("output"),
            hidden=hidden,
            help="Form of the data on stdout: a table, one JSON document, or one JSON object a line.",
        ),
        click.Option(
            ["-y", "--yes"],
            is_flag=True,
            expose_value=False,
            callback=_keep("yes"),
            hidden=hidden,
            help="Do what cannot be undone without asking.",
        ),
        click.Option(
            ["-q", "--quiet"],
            is_flag=True,
            expose_value=False,
            callback=_keep("quiet"),
            hidden=hidden,
            help="Say nothing on stderr but errors.",
        ),
    ]


class Command(click.Command):
    """A command that also takes `-o`, `--yes` and `--quiet`, without listing them each time."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  click's signature
        super().__init__(*args, **kwargs)
        self.params += options(hidden=True)


class CsvCommand(click.Command):
    """A command that takes `-o csv` as well."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401  click's signature
        super().__init__(*args, **kwargs)
        self.params += options(hidden=True, more=["csv"])


class Group(click.Group):
    """A group whose commands are of that kind."""

    command_class = Command
