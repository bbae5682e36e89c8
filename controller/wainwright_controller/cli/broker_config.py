"""`wainwright broker-config`."""

from __future__ import annotations

import os
import pwd
import secrets
from pathlib import Path
from urllib.parse import urlsplit

import click

from wainwright_common.brokers import endpoint_of, is_loopback
from wainwright_common.errors import BadTopic
from wainwright_common.topics import check_device_id
from wainwright_controller import mosquitto
from wainwright_controller.cli.exits import CliError, ExitCode
from wainwright_controller.cli.output import Json, as_json
from wainwright_controller.cli.settings import Command, Settings, in_settings
from wainwright_controller.config import EMBEDDED, Config
from wainwright_controller.mosquitto import File, Limits, LocalListener, Setup
from wainwright_controller.pki import CONTROLLER, is_reserved

PORT = click.IntRange(1, 65_535)
SALT_BYTES = 12  # as mosquitto_passwd has it
SECRET_MODE, OPEN_MODE = 0o600, 0o644
GUESSABLE = 16  # characters of a share group below which a device might guess it


def _one_word(_ctx: click.Context, _param: click.Parameter, value: str) -> str:
    """Refuse what would be more than one word in a configuration file."""
    if value != "".join(value.split()) or not value.isprintable():
        raise click.BadParameter(f"{value!r} has spaces in it.")
    return value


def _names(_ctx: click.Context, _param: click.Parameter, values: tuple[str, ...]) -> tuple[str, ...]:
    """Refuse names that a device may have, or that would mean more than one in an access list."""
    for value in values:
        try:
            is_good = is_reserved(check_device_id(value))
        except BadTopic:
            is_good = False
        if not is_good:
            raise click.BadParameter(f"{value!r} is not {CONTROLLER}, nor {CONTROLLER}-WORD.")
    return values


@click.command("broker-config", cls=Command, short_help="Print a Mosquitto configuration for this controller.")
@click.option(
    "--config",
    "path",
    metavar="F",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The controller's configuration. [/etc/wainwright/controller.toml if it exists, else defaults]",
)
@click.option(
    "--to",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write the files into this folder, each readable to whom it must be, instead of printing them.",
)
@click.option(
    "--host", default="", metavar="ADDRESS", callback=_one_word, help="Address to listen on. [all of this machine's]"
)
@click.option("--port", type=PORT, help="Port for TLS. [that of broker.url if it is mqtts://, else 8883]")
@click.option(
    "--local-port",
    type=PORT,
    help="Also listen on loopback without TLS, for a controller on this machine, by its broker.username and"
    " broker.password. [that of broker.url or broker.takeover_url, where one is mqtt:// to this machine]",
)
@click.option(
    "--controller",
    "controllers",
    metavar="NAME",
    multiple=True,
    callback=_names,
    default=(CONTROLLER,),
    show_default=True,
    help="Common name of a controller's certificate; repeat. Each controller needs its own.",
)
@click.option(
    "--connections",
    type=click.IntRange(10, 1_000_000),
    default=Limits().connections,
    show_default=True,
    help="Clients at once, devices and others; allow for those that connect again.",
)
@click.option(
    "--queue",
    type=click.IntRange(10, 100_000_000),
    default=Limits().queued_messages,
    show_default=True,
    help="Messages that may wait for one client, such as a controller that is away; more are dropped.",
)
@click.option(
    "--queue-mib",
    type=click.IntRange(1, 1_000_000),
    default=Limits().queued_mib,
    show_default=True,
    help="The same by content, in MiB.",
)
@click.option(
    "--store",
    type=click.Path(path_type=Path),
    default=mosquitto.STORE,
    show_default=True,
    help="Folder in which the broker keeps what waits.",
)
@click.option(
    "--user", default=mosquitto.USER, show_default=True, callback=_one_word, help="User that the broker runs as."
)
@in_settings
def broker_config(
    settings: Settings,
    *,
    path: Path | None,
    folder: Path | None,
    host: str,
    port: int | None,
    local_port: int | None,
    controllers: tuple[str, ...],
    connections: int,
    queue: int,
    queue_mib: int,
    store: Path,
    user: str,
) -> None:
    """Print a complete Mosquitto configuration for this controller: TLS, access list, limits, each with its reason.

    Printed, it is mosquitto.conf, with the other files after it as comments. The certificates are those that
    `wainwright ca` makes.
    """
    config = _load(path)
    setup = Setup(
        pki=config.pki_folder.absolute(),
        prefix=config.broker.prefix,
        folder=folder.absolute() if folder else mosquitto.FOLDER,
        store=store.absolute(),
        user=user,
        host=host,
        port=port or _port_of(config),
        controllers=controllers,
        local=_local(config, local_port),
        limits=Limits(connections=connections, queued_messages=queue, queued_mib=queue_mib),
    )
    made = mosquitto.files(setup)
    if folder is None:
        _print(settings, made)
    else:
        _write(settings, setup, made)
    for remark in _remarks(config, setup):
        settings.say(remark)


def _load(path: Path | None) -> Config:
    from wainwright_common.settings import ConfigError
    from wainwright_controller import config

    try:
        return config.load(path, os.environ)
    except ConfigError as error:
        raise CliError(ExitCode.USAGE, str(error)) from error


def _port_of(config: Config) -> int:
    parts = urlsplit(config.broker.url)
    return (parts.port if parts.scheme == "mqtts" else None) or mosquitto.PORT


def _local_port_of(config: Config) -> int | None:
    for url in (config.broker.url, config.broker.takeover_url):
        if url and url != EMBEDDED:
            endpoint = endpoint_of(url)
            if not endpoint.tls and is_loopback(endpoint.host):
                return endpoint.port
    return None


def _local(config: Config, port: int | None) -> LocalListener | None:
    port = port or _local_port_of(config)
    if port is None:
        return None
    broker = config.broker
    if not broker.username or not broker.password:
        raise CliError(
            ExitCode.USAGE,
            f"Whoever reaches port {port} of this machine could be anybody: set broker.username and broker.password in"
            " the controller's configuration, the latter to something long and random (openssl rand -hex 32).",
        )
    if not is_reserved(broker.username):
        raise CliError(
            ExitCode.USAGE,
            f"broker.username: {broker.username!r} may be a device's name, which would have the controller's rights:"
            f" call it {CONTROLLER}, or {CONTROLLER}-WORD.",
        )
    return LocalListener(
        port=port, user=broker.username, password=broker.password, salt=secrets.token_bytes(SALT_BYTES)
    )


def _print(settings: Settings, made: list[File]) -> None:
    if settings.output != "table":
        items: list[Json] = [{"name": file.name, "secret": file.is_secret, "text": file.text} for file in made]
        for item in items if settings.output == "jsonl" else [items]:
            click.echo(as_json(item, indent=2 if settings.output == "json" else None))
        return
    configuration, *others = made
    click.echo(configuration.text, nl=False)
    for file in others:
        click.echo(f"\n# ---- The file {file.name}, which --to DIR writes beside this one ----\n#")
        for line in file.text.splitlines():
            click.echo(f"#   {line}".rstrip())


def _write(settings: Settings, setup: Setup, made: list[File]) -> None:
    owner = _owner(setup.user)
    for file in made:
        _keep_what_is_not_ours(settings, setup.folder / file.name)
    try:
        setup.folder.mkdir(parents=True, exist_ok=True)
        for file in made:
            _replace(setup.folder / file.name, file, owner)
    except OSError as error:
        raise CliError(ExitCode.FAILED, f"Cannot write {error.filename or setup.folder}: {error.strerror}.") from error
    names = ", ".join(file.name for file in made)
    settings.say(f"Wrote {names} to {setup.folder}.")


def _owner(user: str) -> tuple[int, int] | None:
    """Return user and group that secrets are to belong to; None where we may not give them away."""
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        raise CliError(
            ExitCode.FAILED, f"This machine has no user {user}: install Mosquitto first, or name its user with --user."
        ) from None
    return entry.pw_uid, entry.pw_gid


def _keep_what_is_not_ours(settings: Settings, path: Path) -> None:
    try:
        with path.open("rb") as file:
            begins = file.read(len(mosquitto.MARK))
    except FileNotFoundError:
        return
    except OSError as error:
        raise CliError(ExitCode.FAILED, f"Cannot read {path}: {error.strerror}.") from error
    if begins != mosquitto.MARK.encode() and not settings.yes:
        raise CliError(
            ExitCode.REFUSED,
            f"{path} was not made by this command: choose another folder, or give --yes to replace it.",
        )


def _replace(path: Path, file: File, owner: tuple[int, int] | None) -> None:
    """Write a file with its mode from the first moment on, and put it in its place at once."""
    part = path.with_name(f".{path.name}.part")
    part.unlink(missing_ok=True)
    mode = SECRET_MODE if file.is_secret else OPEN_MODE
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        os.fchmod(descriptor, mode)  # whatever the umask is
        if owner is not None and file.is_secret:
            os.fchown(descriptor, *owner)
        stream.write(file.text)
        stream.flush()
        os.fsync(descriptor)
    part.replace(path)


def _remarks(config: Config, setup: Setup) -> list[str]:
    """Return what is not as it should be, and is not this command's to change."""
    missing = [path.name for path in setup.certificates if not path.exists()]
    remarks = [f"{setup.pki} does not have {', '.join(missing)} yet: see docs/operations.md."] if missing else []
    if config.broker.share and len(config.broker.share) < GUESSABLE:
        remarks.append(
            "broker.share can be guessed: a device that joins the group swallows messages of others."
            f" Choose {GUESSABLE} or more random characters, the same for all controllers."
        )
    if os.geteuid() != 0:
        remarks.append(f"You are not root: see to it that {setup.user} can read the files.")
    return remarks
