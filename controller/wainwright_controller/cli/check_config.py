"""`wainwright check-config`: whether the controller can start with a configuration, without starting it."""

from __future__ import annotations

import os
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wainwright_controller.cli.exits import CliError, ExitCode
from wainwright_controller.cli.output import fields, put_object
from wainwright_controller.cli.settings import Command, Settings, in_settings

if TYPE_CHECKING:
    from wainwright_controller.config import BrokerSection, Config

HIDDEN = "(hidden)"
_SECRETS = frozenset({"token", "password"})


@click.command("check-config", cls=Command, short_help="Check the controller's configuration.")
@click.option(
    "--config",
    "path",
    metavar="F",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Configuration file (TOML). [/etc/wainwright/controller.toml if it exists, else defaults]",
)
@in_settings
def check_config(settings: Settings, path: Path | None) -> int:
    """Say whether the controller can start with a configuration; starts and writes nothing.

    Run it as the user that the controller runs as. It prints the settings that differ from their defaults, and with
    -o json all; secrets are hidden.
    """
    from wainwright_common.settings import ConfigError
    from wainwright_controller import config

    try:
        found = config.load(path, os.environ)
    except ConfigError as error:
        raise CliError(ExitCode.USAGE, str(error)) from error
    if wrong := list(problems(found)):
        raise CliError(ExitCode.FAILED, "\n".join(wrong))
    values, defaults = flat(found), flat(config.Config())
    put_object(settings, values, fields([(key, value) for key, value in values.items() if value != defaults[key]]))
    settings.say(f"The configuration is valid: {path or config.DEFAULT_FILE}, and what the environment sets.")
    return ExitCode.DONE


def flat(config: Config) -> dict[str, Any]:
    """Return every setting by its full name, such as `http.port`; secrets are hidden."""
    from wainwright_common import settings
    from wainwright_controller.store import parse_url

    values = settings.plain(config)
    found: dict[str, Any] = {}
    for path, _, _ in settings.leaves(type(config)):
        value = values
        for part in path:
            value = value[part]
        found[".".join(path)] = HIDDEN if value and path[-1] in _SECRETS else value
    if config.store.url:
        found["store.url"] = parse_url(config.store.url).render_as_string(hide_password=True)
    return found


def problems(config: Config) -> Iterator[str]:
    """Yield what a start with this configuration would fail on, as sentences that begin with the setting."""
    from wainwright_controller.store import Store, StoreError

    try:
        Store(config.store_url).close()  # connects to nothing yet
    except StoreError as error:
        yield f"store.url: {error}"
    yield from _folder("data_dir", config.data_dir)
    yield from _folder("artifacts.folder", config.artifacts_folder)
    yield from _tls(config.broker)
    yield from _authority(config)


def _folder(key: str, folder: Path) -> Iterator[str]:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        yield f"{key}: {there} is not a folder."
    elif not os.access(there, os.W_OK | os.X_OK):
        made = "written to" if there == folder else f"made, because {there} cannot be written to"
        yield f"{key}: {folder} cannot be {made} by this user."


def _authority(config: Config) -> Iterator[str]:
    """Yield why nothing that the authority signs would be valid, if there is one."""
    from wainwright_controller.pki import Authority, Folder, PkiError, validity

    folder = Folder(config.pki_folder)
    if not config.has_authority or not os.access(folder.issuing, os.F_OK):
        return
    try:
        if said := validity.fault(Authority.load(folder), datetime.now(UTC)):
            yield f"enrolment.folder: {said}"
    except PkiError as error:
        yield f"enrolment.folder: {error}"


def _tls(broker: BrokerSection) -> Iterator[str]:
    """Yield what is wrong with the files of the connection to the broker."""
    files = {"ca": broker.ca, "certificate": broker.certificate, "key": broker.key}
    unreadable = [key for key, file in files.items() if file and not os.access(file, os.R_OK)]
    yield from (f"broker.{key}: {files[key]} is not there, or this user cannot read it." for key in unreadable)
    if bool(broker.certificate) is not bool(broker.key):
        yield "broker.certificate and broker.key belong together: give both, or none."
    elif not unreadable:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        try:
            if broker.ca:
                context.load_verify_locations(broker.ca)
        except ssl.SSLError as error:
            yield f"broker.ca: {broker.ca} has no certificates in PEM: {error.reason or error}."
        try:
            if broker.certificate:
                context.load_cert_chain(broker.certificate, broker.key, password="")  # or OpenSSL asks the terminal
        except ssl.SSLError as error:
            yield f"broker.certificate: {broker.certificate} and {broker.key} are no pair: {error.reason or error}."
