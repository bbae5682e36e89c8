"""`wainwright artifact …`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click

from wainwright_common.artifact import ArtifactReader, describe, load_verify_keys
from wainwright_common.errors import ArtifactError, WainwrightError
from wainwright_controller.cli.artifact_create import create
from wainwright_controller.cli.artifact_payloads import directory, rootfs_image, single_file
from wainwright_controller.cli.artifact_sign import sign
from wainwright_controller.cli.client import open_artifact, seg
from wainwright_controller.cli.confirm import confirm
from wainwright_controller.cli.exits import CliError, ExitCode
from wainwright_controller.cli.files import is_about_signatures
from wainwright_controller.cli.output import Columns, Json, fields, put_done, put_list, put_object
from wainwright_controller.cli.settings import Group, Settings, in_settings
from wainwright_controller.cli.words import ago, short, size

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

COLUMNS: Columns = {
    "ID": lambda a: short(a["id"]),
    "RELEASE": lambda a: a["name"],
    "TYPES": lambda a: a["device_types"],
    "PAYLOAD": lambda a: a.get("payload_type"),
    "SIZE": lambda a: size(a["size"]),
    "SIGNED": lambda a: a["signed"],
    "UPLOADED": lambda a: ago(a["created_at"]),
    "NEEDS": lambda a: [f"{key} {' or '.join(values)}" for key, values in a["depends"].items() if key != "device_type"],
}


@click.group(cls=Group)
def artifact() -> None:
    """Artifacts: the files that releases are made of."""


for kind in (rootfs_image, single_file, directory):
    create.add_command(kind)
artifact.add_command(create)
artifact.add_command(sign)


@artifact.command(short_help="Store artifacts on the controller.")
@click.argument("files", metavar="FILE...", nargs=-1, required=True, type=_FILE)
@click.option("--description", metavar="TEXT", default="", help="A remark, kept with the artifact.")
@in_settings
def upload(settings: Settings, files: tuple[Path, ...], description: str) -> None:
    """Store artifacts on the controller, which examines them while they arrive."""
    for path in files:
        with open_artifact(path) as file:
            try:
                stored = settings.client.upload(file, description)
            except CliError as error:
                raise CliError(error.code, f"{path}: {error.message}") from error
        put_done(settings, stored, f"{path}: stored as {short(stored['id'])}, release {stored['name']}.")


@artifact.command("list")
@click.option("--release", metavar="NAME", help="Only those of this release.")
@in_settings
def list_(settings: Settings, release: str | None) -> None:
    """List the artifacts on the controller."""
    put_list(settings, settings.client.items("artifacts", name=release), COLUMNS, "No artifacts.")


@artifact.command()
@click.argument("artifact", metavar="ARTIFACT|FILE")
@in_settings
def show(settings: Settings, artifact: str) -> None:
    """Show an artifact of the controller, or a local file."""
    if Path(artifact).is_file():
        found = _examine(Path(artifact), (), whole=False)
        put_object(settings, found, _about_file(found))
    else:
        found = settings.client.get(f"artifacts/{seg(artifact)}")
        put_object(settings, found, _about(found))


@artifact.command()
@click.argument("artifact", metavar="ARTIFACT")
@click.option("--to", "target", metavar="FILE", type=click.Path(path_type=Path), help="Where to. [RELEASE.mender]")
@in_settings
def download(settings: Settings, artifact: str, target: Path | None) -> None:
    """Fetch an artifact from the controller."""
    found = settings.client.get(f"artifacts/{seg(artifact)}")
    path = target or Path(f"{found['name'].replace('/', '-')}.mender")
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("xb") as out:
            settings.client.download(f"artifacts/{seg(found['id'])}/file", out)
        part.replace(path)
    except OSError as error:
        raise CliError(ExitCode.FAILED, f"Cannot write {path}: {error.strerror}.") from error
    finally:
        part.unlink(missing_ok=True)
    put_done(settings, found | {"path": str(path)}, f"{path}: {size(found['size'])}, release {found['name']}.")


@artifact.command(short_help="Check a local file, and its signature.")
@click.argument("file", type=_FILE)
@click.option("-k", "--key", "keys", type=_FILE, multiple=True, help="Public key (PEM) that may have signed it.")
@in_settings
def verify(settings: Settings, file: Path, keys: tuple[Path, ...]) -> None:
    """Check a local file: every rule of the format, every digest, and the signature if a key is given."""
    found = _examine(file, keys, whole=True)
    signed = f"signed by {found['verified_by']}" if found.get("verified_by") else "signature not checked"
    put_done(settings, found, f"{file}: sound, release {found['name']}, {signed}.")


@artifact.command()
@click.argument("artifact", metavar="ARTIFACT")
@in_settings
def delete(settings: Settings, artifact: str) -> None:
    """Delete an artifact from the controller."""
    found = settings.client.get(f"artifacts/{seg(artifact)}")
    what = f"{short(found['id'])} of release {found['name']} for {', '.join(found['device_types'])}"
    confirm(settings, found["name"], "delete", f"This deletes the artifact {what}.")
    settings.client.delete(f"artifacts/{seg(found['id'])}")
    settings.say(f"Artifact {short(found['id'])} deleted.")


def _examine(path: Path, keys: tuple[Path, ...], *, whole: bool) -> Json:
    """Read a local artifact and return its description; raises CliError, exit code 4 for a signature, else 1."""
    try:
        with open_artifact(path) as file:
            reader = ArtifactReader(file, verify_keys=load_verify_keys(keys))
            if whole:
                for _ in reader.files():
                    pass
    except ArtifactError as error:
        code = ExitCode.REFUSED if is_about_signatures(error.rule) else ExitCode.FAILED
        raise CliError(code, f"{path}: {error} ({error.rule})") from error
    except WainwrightError as error:
        raise CliError(ExitCode.FAILED, str(error)) from error
    return {key: value for key, value in describe(reader.header).items() if value is not None}


def _about(artifact: Json) -> Iterable[str]:
    yield from fields(
        [
            ("id", artifact["id"]),
            ("release", artifact["name"]),
            ("size", f"{artifact['size']} bytes"),
            ("sha256", artifact["sha256"]),
            ("payload", artifact.get("payload_type") or "none"),
            ("signed", artifact["signed"]),
            ("uploaded", ago(artifact["created_at"])),
            ("description", artifact.get("description")),
        ]
    )
    yield from _conditions(artifact)


def _about_file(header: Json) -> Iterable[str]:
    yield from fields(
        [
            ("release", header["name"]),
            ("group", header.get("group")),
            ("payload", header.get("payload_type") or "none"),
            ("compression", header["compression"]),
            ("signed", header["signed"]),
            ("scripts", header["scripts"]),
        ]
    )
    yield from _conditions(header)
    if header["files"]:
        yield "files:"
        yield from fields(((f["name"], f["sha256"]) for f in header["files"]), indent=2)


def _conditions(artifact: Json) -> Iterable[str]:
    for title, pairs in (("depends", artifact["depends"]), ("provides", artifact["provides"])):
        if pairs:
            yield f"{title}:"
            yield from fields(sorted(pairs.items()), indent=2)
