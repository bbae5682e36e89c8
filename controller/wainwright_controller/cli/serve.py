"""`wainwright serve`."""

from __future__ import annotations

import os
from pathlib import Path

import click

from wainwright_controller.cli.exits import CliError, ExitCode
from wainwright_controller.cli.settings import Command


@click.command("serve", cls=Command, short_help="Run the controller.")
@click.option(
    "--config",
    "path",
    metavar="F",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file (TOML). [/etc/wainwright/controller.toml if it exists, else defaults]",
)
def serve(path: Path | None) -> int:
    """Run the controller, with an embedded broker and a database of its own unless configured otherwise."""
    from wainwright_common.settings import ConfigError
    from wainwright_controller import config, serve

    try:
        settings = config.load(path, os.environ)
    except ConfigError as error:
        raise CliError(ExitCode.USAGE, str(error)) from error
    return serve.main(settings)
