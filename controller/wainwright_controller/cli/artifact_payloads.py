"""`wainwright artifact create rootfs-image|single-file|directory`: the payloads of the shipped update modules.

Each makes, from what a person has at hand, the payload files that the module of its name expects. They are those of
`mender-artifact write rootfs-image` and of the generators single-file-artifact-gen and directory-artifact-gen.
"""

from __future__ import annotations

import hashlib
import os
import re
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import click

from wainwright_common.artifact import PayloadSource
from wainwright_common.artifact.documents import ROOTFS_IMAGE
from wainwright_common.artifact.software import WHOLE_ROOT
from wainwright_common.errors import WainwrightError
from wainwright_controller.cli.artifact_create import artifact_options, create_artifact
from wainwright_controller.cli.files import failures

# The names of payload files beside the software itself: the update modules look for them.
_DEST_DIR: Final = "dest_dir"
_FILENAME: Final = "filename"
_PERMISSIONS: Final = "permissions"
_UPDATE_TAR: Final = "update.tar"

_FILE: Final = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
_FOLDER: Final = click.Path(exists=True, file_okay=False, readable=True, path_type=Path)


class Place(click.ParamType[str]):
    """The absolute path of a folder on the device, without a slash at its end."""

    name = "PATH"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the path; a usage error when it is not absolute or cannot be printed."""
        text = str(value)
        if not (text.startswith("/") and text.isprintable()):
            self.fail(f"{text!r} is not an absolute path on the device, such as /opt/app.", param, ctx)
        return text.rstrip("/") or "/"


class Mode(click.ParamType[str]):
    """Permissions in octal, 3 or 4 digits."""

    name = "OCTAL"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Return the digits; a usage error when there are others."""
        if not re.fullmatch("[0-7]{3,4}", str(value)):
            self.fail(f"{value!r} is not an octal mode, such as 0644.", param, ctx)
        return str(value)


def _dest_dir(what: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    return click.option("--dest-dir", type=Place(), required=True, help=f"{what} An absolute path.")


@click.command(ROOTFS_IMAGE)
@click.option("-f", "--file", "image", type=_FILE, required=True, help="The image of the root filesystem.")
@click.option("--no-checksum-provide", is_flag=True, help="Do not provide rootfs-image.checksum.")
@artifact_options
def rootfs_image(image: Path, *, no_checksum_provide: bool, **options: Any) -> None:  # noqa: ANN401  as click gives them
    """Build an artifact that writes a root filesystem to the slot that does not run."""
    with failures():
        if not no_checksum_provide:
            with image.open("rb") as file:
                checksum = hashlib.file_digest(file, "sha256").hexdigest()
            # Last, as by mender-artifact: what a delta may be applied to is no matter of opinion.
            options["provides"] = (*options["provides"], (f"{ROOTFS_IMAGE}.checksum", checksum))
        create_artifact(ROOTFS_IMAGE, files=(PayloadSource.from_path(image),), software=WHOLE_ROOT, **options)


@click.command("single-file")
@click.argument("file", type=_FILE)
@_dest_dir("The folder on the device that the file is in.")
@click.option("--filename", metavar="NAME", help="What the file is called there. [its name here]")
@click.option("--permissions", type=Mode(), help="The mode that it has there. [its mode here]")
@artifact_options
def single_file(file: Path, dest_dir: str, filename: str | None, permissions: str | None, **options: Any) -> None:  # noqa: ANN401  as click gives them
    """Build an artifact that replaces one file."""
    name = filename or file.name
    if name in {_DEST_DIR, _FILENAME, _PERMISSIONS}:
        raise click.ClickException(
            f"{name} is the name of a file of the module's own. Choose another one by --filename."
        )
    with failures():
        mode = permissions or f"{file.stat().st_mode & 0o7777:03o}"
        about = {_DEST_DIR: dest_dir, _FILENAME: name, _PERMISSIONS: mode}
        files = (*_texts(about), PayloadSource.from_path(file, name))
        create_artifact("single-file", files=files, **options)


@click.command("directory")
@click.argument("directory", type=_FOLDER)
@_dest_dir("The directory on the device that is replaced.")
@artifact_options
def directory(directory: Path, dest_dir: str, **options: Any) -> None:  # noqa: ANN401  as click gives them
    """Build an artifact that replaces a whole directory."""
    if dest_dir == "/":
        raise click.BadParameter("the root directory cannot be replaced.", param_hint="--dest-dir")
    output: Path = options["output_path"]
    if output.resolve().is_relative_to(directory.resolve()):
        raise click.ClickException(f"{output} is inside {directory} and would be packed. Choose another place by -o.")
    with failures(), _packed(directory, output.absolute().parent) as tar:
        files = (*_texts({_DEST_DIR: dest_dir}), PayloadSource.from_path(tar, _UPDATE_TAR))
        create_artifact("directory", files=files, **options)


def _texts(contents: dict[str, str]) -> tuple[PayloadSource, ...]:
    return tuple(PayloadSource.from_bytes(name, f"{text}\n".encode()) for name, text in contents.items())


@contextmanager
def _packed(directory: Path, scratch: Path) -> Iterator[Path]:
    """Pack a directory into a tar, which is there, in the folder `scratch`, until the block ends.

    Raises WainwrightError when something in it is neither file, folder nor link, and OSError.
    """
    with tempfile.NamedTemporaryFile(dir=scratch, prefix=".update.", suffix=".tar") as out:
        # As GNU tar writes by default; busybox reads long names from it, and not from a pax archive.
        with tarfile.open(fileobj=out, mode="w", format=tarfile.GNU_FORMAT) as tar:
            tar.add(directory.resolve(), arcname=".", filter=_as_installed)
        out.flush()
        yield Path(out.name)


def _as_installed(member: tarfile.TarInfo) -> tarfile.TarInfo:
    """Return a member as it is to be on the device: the superuser's, whoever has built it."""
    if not (member.isreg() or member.isdir() or member.issym() or member.islnk()):
        raise WainwrightError(f"{member.name} is neither file, directory nor link. Leave it out of the directory.")
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = min(member.mtime, _latest_change())
    return member


def _latest_change() -> float:
    """Return what no time in a tar may exceed, in seconds; see reproducible-builds.org/specs/source-date-epoch."""
    text = os.environ.get("SOURCE_DATE_EPOCH", "inf")
    try:
        return float(text)
    except ValueError as error:
        raise WainwrightError(
            f"SOURCE_DATE_EPOCH is {text!r}, not a number of seconds. Set it right, or unset it."
        ) from error
