"""What the commands that write artifacts on this machine share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import click

from wainwright_common.errors import ArtifactError, WainwrightError
from wainwright_controller.cli.exits import CliError, ExitCode

_NOT_SIGNED = ("unsigned", "signature")  # how the words of the rules about signatures begin


def is_about_signatures(rule: str) -> bool:
    """Tell whether an artifact that breaks `rule` is refused for its signature: that has an exit code of its own."""
    return rule.startswith(_NOT_SIGNED)


@contextmanager
def replacing(path: Path, like: Path | None = None) -> Iterator[BinaryIO]:
    """Open a new file beside `path`, which takes its name when the block ends well and vanishes otherwise.

    It gets the mode of the file `like`.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("x+b") as out:
            yield out
            out.flush()
            os.fsync(out.fileno())
        if like is not None:
            shutil.copymode(like, part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def failures() -> Iterator[None]:
    """Turn what can go wrong with files, keys and rules into one sentence on stderr and exit code 1; signatures, 4."""
    try:
        yield
    except ArtifactError as error:
        if is_about_signatures(error.rule):
            raise CliError(ExitCode.REFUSED, f"{error} ({error.rule})") from error
        raise click.ClickException(str(error)) from error
    except WainwrightError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        where = f" {error.filename}" if error.filename else ""
        raise click.ClickException(f"The file{where} cannot be used: {error.strerror}. Nothing was written.") from error
