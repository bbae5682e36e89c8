"""`wainwright artifact create`: builds artifacts on the release engineer's machine; no controller takes part.

Here is what all of them have in common, and `module-image`; `artifact_payloads` has those for the shipped modules.

Options, short forms, meanings and defaults of `module-image` are those of `mender-artifact write module-image`, so that
scripts (the community's generators of module artifacts too) need a new command name and nothing else.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import click

from wainwright_common.artifact import (
    ArtifactSpec,
    Header,
    PayloadSource,
    load_signing_key,
    software_clears,
    software_provides,
    write_module_image,
)
from wainwright_common.artifact.compression import SUFFIXES
from wainwright_common.errors import WainwrightError
from wainwright_controller.cli.files import failures, replacing

_SCRIPT_SIZE_MAX: Final = (
    16 * 1024 * 1024
)  # bytes: the whole header's limit, so that a wrong path is not read into memory

_FILE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_FILE_OR_FOLDER: Final = click.Path(exists=True, readable=True, path_type=Path)


class KeyValue(click.ParamType[tuple[str, str]]):
    """KEY:VALUE, split at the first colon; the value may have more."""

    name = "KEY:VALUE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Return key and value; a usage error when there is no colon or no key."""
        key, colon, rest = str(value).partition(":")
        if not (key and colon):
            self.fail(f"{value!r} is not KEY:VALUE. Put a colon between the key and the value.", param, ctx)
        return key, rest


@click.group("create")
def create() -> None:
    """Build an artifact from files."""


def artifact_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that every kind of artifact has, whatever its payload."""
    options = [
        click.option("-n", "--artifact-name", required=True, metavar="NAME", help="Name of the artifact: its release."),
        click.option(
            "-t",
            "--device-type",
            "device_types",
            required=True,
            multiple=True,
            help="A device type it fits. Repeatable.",
        ),
        click.option(
            "-o",
            "--output-path",
            type=click.Path(dir_okay=False, path_type=Path),
            default=Path("artifact.mender"),
            show_default=True,
            help="The file to write.",
        ),
        click.option(
            "-s",
            "--script",
            "scripts",
            type=_FILE_OR_FOLDER,
            multiple=True,
            help="A state script, or a folder of them.",
        ),
        click.option("-k", "--key", type=_FILE, help="Private key (PEM) to sign with: RSA, ECDSA P-256 or Ed25519."),
        click.option(
            "-N",
            "--artifact-name-depends",
            "depends_names",
            multiple=True,
            help="An artifact that must be installed before.",
        ),
        click.option("-G", "--depends-groups", multiple=True, help="An artifact group that the device must be in."),
        click.option("-g", "--provides-group", default="", help="The artifact group that the device will be in."),
        click.option("-d", "--depends", type=KeyValue(), multiple=True, help="Something the device must provide."),
        click.option("-p", "--provides", type=KeyValue(), multiple=True, help="Something the device will provide."),
        click.option(
            "--clears-provides", "clears", multiple=True, metavar="GLOB", help="Provides to remove; * is any text."
        ),
        click.option(
            "--compression",
            type=click.Choice(list(SUFFIXES)),
            default="gzip",
            show_default=True,
            help="zstd is not read by mender-artifact before 4.",
        ),
        click.option(
            "--software-filesystem", default="", help="First part of the software version's key. [rootfs-image]"
        ),
        click.option(
            "--software-name", default="", help="Second part of that key. [the payload type; rootfs-image: none]"
        ),
        click.option("--software-version", default="", help="The software version. [the artifact name]"),
        click.option("--no-default-software-version", is_flag=True, help="Provide no software version by default."),
        click.option("--no-default-clears-provides", is_flag=True, help="Clear nothing by default."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


@create.command("module-image")
@click.option("-T", "--type", "payload_type", required=True, help="The update module that installs it.")
@click.option("-f", "--file", "files", type=_FILE, multiple=True, help="A file of the payload. Repeatable.")
@click.option("-m", "--meta-data", "meta_data", type=_FILE, help="A JSON object for the update module.")
@artifact_options
def module_image(payload_type: str, files: tuple[Path, ...], meta_data: Path | None, **options: Any) -> None:  # noqa: ANN401  as click gives them
    """Build an artifact for any update module, from the payload files that it expects."""
    with failures():
        create_artifact(
            payload_type,
            files=tuple(PayloadSource.from_path(path) for path in files),
            meta_data=_read_meta_data(meta_data) if meta_data else b"",
            **options,
        )


def create_artifact(
    payload_type: str,
    *,
    files: tuple[PayloadSource, ...],
    meta_data: bytes = b"",
    software: str | None = None,
    artifact_name: str,
    device_types: tuple[str, ...],
    output_path: Path,
    scripts: tuple[Path, ...],
    key: Path | None,
    depends_names: tuple[str, ...],
    depends_groups: tuple[str, ...],
    provides_group: str,
    depends: tuple[tuple[str, str], ...],
    provides: tuple[tuple[str, str], ...],
    clears: tuple[str, ...],
    compression: str,
    software_filesystem: str,
    software_name: str,
    software_version: str,
    no_default_software_version: bool,
    no_default_clears_provides: bool,
) -> Header:
    """Write the artifact that the options of `artifact_options` describe, say so on stderr, and return its header.

    `software` is the second part of the software version's key where no option gives it; None is the payload type.
    The file appears under its name only when it is complete. Raises WainwrightError and OSError.
    """
    default_name = payload_type if software is None else software
    version = software_provides(
        artifact_name=artifact_name,
        default_name=default_name,
        filesystem=software_filesystem,
        name=software_name,
        version=software_version,
        no_default_version=no_default_software_version,
    )
    spec = ArtifactSpec(
        name=artifact_name,
        device_types=device_types,
        payload_type=payload_type,
        files=files,
        scripts=_read_scripts(scripts),
        group=provides_group or None,
        depends_names=depends_names,
        depends_groups=depends_groups,
        provides=(version | dict(provides)) or None,  # what is given wins over what is default
        depends={name: (value,) for name, value in depends},
        clears=software_clears(
            given=clears,
            default_name=default_name,
            filesystem=software_filesystem,
            name=software_name,
            no_default_version=no_default_software_version,
            no_default_clears=no_default_clears_provides,
        ),
        meta_data=meta_data,
        compression=compression,
    )
    signing_key = load_signing_key(key) if key else None
    with replacing(output_path) as out:
        header = write_module_image(out, spec, key=signing_key, scratch=output_path.absolute().parent)
        size = out.tell()
    signed = f"signed with {header.verified_by}" if header.signed else "not signed"
    click.echo(f"Wrote {output_path}: {header.name}, {size} bytes, {signed}.", err=True)
    return header


def _read_meta_data(path: Path) -> bytes:
    content = path.read_bytes()
    if not content.strip():
        raise WainwrightError(f"The meta-data file {path} is empty. Put a JSON object in it, or leave the option out.")
    return content


def _read_scripts(paths: tuple[Path, ...]) -> dict[str, bytes]:
    scripts: dict[str, bytes] = {}
    for path in paths:
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.name in scripts:
                raise WainwrightError(f"The state script {file.name} is given twice, again as {file}. Leave one out.")
            if file.stat().st_size > _SCRIPT_SIZE_MAX:
                raise WainwrightError(
                    f"The state script {file} is larger than {_SCRIPT_SIZE_MAX} bytes. Is it a script?"
                )
            scripts[file.name] = file.read_bytes()
    return scripts
