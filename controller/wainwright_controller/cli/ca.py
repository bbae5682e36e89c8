"""`wainwright ca …`: the controller's own certificate authority, on the controller's machine."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wainwright_controller.cli.exits import CliError, ExitCode
from wainwright_controller.cli.settings import Group, Settings, in_settings

if TYPE_CHECKING:
    from wainwright_controller.config import Config
    from wainwright_controller.pki import Authority

_F = Callable[..., Any]


def _with_config(function: _F) -> _F:
    option = click.option(
        "--config",
        "path",
        metavar="F",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The controller's configuration. [/etc/wainwright/controller.toml if it exists, else defaults]",
    )
    return option(function)


@click.group(cls=Group)
def ca() -> None:
    """The controller's own certificate authority."""


@ca.command()
@_with_config
@in_settings
def init(settings: Settings, path: Path | None) -> int:
    """Make the authority, where there is none."""
    config = _config(path)
    was_there = (config.pki_folder / "issuing.pem").exists()
    authority = _authority(config)
    if was_there:
        settings.say(f"There is an authority in {authority.folder.path}; nothing was changed.")
        return ExitCode.NOTHING_TO_DO
    settings.say(f"Made an authority in {authority.folder.path}; devices are to know this SHA-256 of its root:")
    click.echo(_fingerprint(authority))
    return ExitCode.DONE


@ca.command("issue-server")
@click.option("--name", "names", metavar="HOST", multiple=True, required=True, help="Name or address. Repeatable.")
@_with_config
@in_settings
def issue_server(settings: Settings, path: Path | None, names: tuple[str, ...]) -> None:
    """Make the broker's key and certificate: broker.key and broker.pem in the authority's folder."""
    from wainwright_controller.pki import PkiError

    authority = _authority(_config(path))
    folder = authority.folder
    try:
        authority.issue_server(names, folder.broker, folder.broker_key, datetime.now(UTC))
    except PkiError as error:
        raise CliError(ExitCode.FAILED, str(error)) from error
    settings.say(f"Made {folder.broker} and {folder.broker_key} for {', '.join(names)}.")


@ca.command("issue-controller")
@click.option("--name", metavar="NAME", help="wainwright-controller, or of several wainwright-controller-WORD.")
@_with_config
@in_settings
def issue_controller(settings: Settings, path: Path | None, name: str | None) -> None:
    """Make the key and certificate that the controller shows to the broker: controller.key and controller.pem."""
    from wainwright_controller.pki import CONTROLLER, PkiError

    authority = _authority(_config(path))
    folder = authority.folder
    try:
        authority.issue_controller(name or CONTROLLER, folder.controller, folder.controller_key, datetime.now(UTC))
    except PkiError as error:
        raise CliError(ExitCode.FAILED, str(error)) from error
    settings.say(f"Made {folder.controller} and {folder.controller_key} for {name or CONTROLLER}.")


def _config(path: Path | None) -> Config:
    from wainwright_common.settings import ConfigError
    from wainwright_controller import config

    try:
        return config.load(path, os.environ)
    except ConfigError as error:
        raise CliError(ExitCode.USAGE, str(error)) from error


def _authority(config: Config) -> Authority:
    from wainwright_controller.pki import Authority, Folder, PkiError

    lifetime = timedelta(seconds=config.enrolment.crl_lifetime_s)
    try:
        return Authority.create(Folder(config.pki_folder), config.enrolment.name, datetime.now(UTC), lifetime)
    except PkiError as error:
        raise CliError(ExitCode.FAILED, str(error)) from error


def _fingerprint(authority: Authority) -> str:
    from wainwright_controller.pki.profiles import fingerprint

    return fingerprint(authority.root)
