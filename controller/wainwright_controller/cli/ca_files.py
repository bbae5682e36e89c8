"""What of `wainwright ca` works on files: it needs no running controller, but the user that controllers run as."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from wainwright_controller.cli.exits import CliError, ExitCode
from wainwright_controller.cli.settings import Command, Settings, in_settings

if TYPE_CHECKING:
    from cryptography import x509

    from wainwright_controller.audit import Shown
    from wainwright_controller.config import Config
    from wainwright_controller.pki import Authority
    from wainwright_controller.records import Certificate, CertificateKind

_F = Callable[..., Any]


def with_config(function: _F) -> _F:
    """Add --config, the controller's configuration, to a command."""
    option = click.option(
        "--config",
        "path",
        metavar="F",
        type=click.Path(dir_okay=False, path_type=Path),
        help="The controller's configuration. [/etc/wainwright/controller.toml if it exists, else defaults]",
    )
    return option(function)


@click.command(cls=Command)
@with_config
@in_settings
def init(settings: Settings, path: Path | None) -> int:
    """Make the authority where there is none, and print the SHA-256 of its root."""
    from wainwright_controller.pki.profiles import fingerprint

    config = _config(path)
    was_there = (config.pki_folder / "issuing.pem").exists()
    with _told():
        authority = _authority(config)
    said = "There is an authority in" if was_there else "Made an authority in"
    settings.say(f"{said} {authority.folder.path}. Devices may know it by the SHA-256 of its root:")
    click.echo(fingerprint(authority.root))
    return ExitCode.NOTHING_TO_DO if was_there else ExitCode.DONE


@click.command("issue-server", cls=Command)
@click.option("--name", "names", metavar="HOST", multiple=True, required=True, help="Name or address. Repeatable.")
@with_config
@in_settings
def issue_server(settings: Settings, path: Path | None, names: tuple[str, ...]) -> None:
    """Make the broker's key and certificate: broker.key and broker.pem in the authority's folder."""
    from wainwright_controller.records import CertificateKind

    config = _config(path)
    with _told():
        authority = _authority(config)
        folder = authority.folder
        made = authority.issue_server(names, folder.broker, folder.broker_key, datetime.now(UTC))
        _record(config, authority, made, CertificateKind.SERVER)
    settings.say(f"Made {folder.broker} and {folder.broker_key} for {', '.join(names)}.")


@click.command("issue-controller", cls=Command)
@click.option("--name", metavar="NAME", help="wainwright-controller, or of several wainwright-controller-WORD.")
@with_config
@in_settings
def issue_controller(settings: Settings, path: Path | None, name: str | None) -> None:
    """Make what the controller shows to the broker: controller.key and controller.pem in the authority's folder."""
    from wainwright_controller.pki import CONTROLLER
    from wainwright_controller.records import CertificateKind

    config = _config(path)
    with _told():
        authority = _authority(config)
        folder = authority.folder
        made = authority.issue_controller(
            name or CONTROLLER, folder.controller, folder.controller_key, datetime.now(UTC)
        )
        _record(config, authority, made, CertificateKind.CONTROLLER)
    settings.say(f"Made {folder.controller} and {folder.controller_key} for {name or CONTROLLER}.")


@click.command(cls=Command)
@click.argument("request", type=click.File("rb"))
@click.option(
    "--root",
    "folder",
    metavar="DIR",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with root.pem and root.key.",
)
@click.option("--name", default="Wainwright", show_default=True, help="How the certificate's name begins.")
@in_settings
def sign(settings: Settings, request: Any, folder: Path, name: str) -> None:  # noqa: ANN401  an open file
    """Sign the request for an issuing authority, where the root's key is; prints the certificate (PEM)."""
    from wainwright_controller.pki import Folder, rotation

    with _told():
        made = rotation.sign(Folder(folder), request.read(), name, datetime.now(UTC))
    settings.say("Give this to `wainwright ca rotate --certificate`:")
    click.echo(made.decode(), nl=False)


def rotated(path: Path | None, certificate: str | None) -> str:
    """Have another issuing authority sign, with the certificate that answers a request or by the root's key.

    Returns its id. A controller that runs takes it from the files.
    """
    from wainwright_controller.pki import Authority, Folder, rotation

    config, now = _config(path), datetime.now(UTC)
    folder = Folder(config.pki_folder)
    with _told():
        before = Authority.load(folder)
        if certificate is None:
            after = before.rotate(config.enrolment.name, now)
        else:
            after = rotation.install(folder, certificate.encode(), now)
        _enter(
            config, "ca-rotate", {"authority": {"signs": before.issuer.id}}, {"authority": {"signs": after.issuer.id}}
        )
    return after.issuer.id


def requested(path: Path | None) -> str:
    """Return a request for the next issuing authority, as PEM."""
    from wainwright_controller.pki import Folder, rotation

    config = _config(path)
    with _told():
        return rotation.request(Folder(config.pki_folder)).decode()


def _config(path: Path | None) -> Config:
    """Return the configuration, for the user that the controller runs as; raises CliError for any other.

    What another user writes, in the authority's folder or beside the database, the controller could not use.
    """
    os.umask(0o027)  # as the controller's own
    from wainwright_common.settings import ConfigError
    from wainwright_controller import config

    try:
        loaded = config.load(path, os.environ)
    except ConfigError as error:
        raise CliError(ExitCode.USAGE, str(error)) from error
    for folder in (loaded.data_dir, loaded.pki_folder):
        if folder.exists() and (owner := folder.stat().st_uid) != os.geteuid():
            name = _user(owner)
            raise CliError(ExitCode.USAGE, f"{folder} is {name}'s: run this as that user, `sudo -u {name} …`.")
    return loaded


def _user(number: int) -> str:
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"


@contextmanager
def _told() -> Iterator[None]:
    from wainwright_common.errors import WainwrightError

    try:
        yield
    except WainwrightError as error:
        raise CliError(ExitCode.FAILED, str(error)) from error


def _authority(config: Config) -> Authority:
    from wainwright_controller.pki import Authority, Folder

    lifetime = timedelta(seconds=config.enrolment.crl_lifetime_s)
    config.data_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    return Authority.create(Folder(config.pki_folder), config.enrolment.name, datetime.now(UTC), lifetime)


def _record(config: Config, authority: Authority, made: x509.Certificate, kind: CertificateKind) -> None:
    """Write down that a certificate was issued, in the store and in the audit log: it may have to be revoked."""
    from wainwright_controller import enrolment_store as shelf
    from wainwright_controller.people import LOCAL

    record = shelf.record_of(made, kind, authority.issuer.id, datetime.now(UTC).timestamp(), LOCAL)
    subject = f"certificate {record.serial} of {record.name}"
    _enter(config, f"ca-issue-{kind}", {}, {subject: {"ends_at": record.ends_at}}, record)


def _enter(config: Config, action: str, before: Shown, after: Shown, made: Certificate | None = None) -> None:
    """Enter in the audit log what was done here, and in the store a certificate that was made."""
    from wainwright_controller import audit
    from wainwright_controller import enrolment_store as shelf
    from wainwright_controller.people import LOCAL, Actor, Role
    from wainwright_controller.store import Store

    store = Store(config.store_url)
    try:
        store.upgrade()
        with store.write() as connection:
            if made is not None:
                shelf.add_certificate(connection, made)
            about = audit.Attempt(Actor(LOCAL, Role.ADMIN), action)
            now = datetime.now(UTC).timestamp()
            audit.append(connection, now, about, ", ".join(after), before=before, after=after)
    finally:
        store.close()
