"""The device itself: its clock, its disk, its update modules."""

from __future__ import annotations

import ctypes
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from wainwright_agent import clock, medium
from wainwright_agent.checks.finding import Finding
from wainwright_agent.config import Config
from wainwright_agent.journal import Journal, JournalError
from wainwright_agent.states import UpdateState
from wainwright_common import data_folder

TIME_ERROR = 5  # adjtimex(2): the clock is not synchronised
TIMEX_BYTES = 512  # more than any architecture's struct timex; all zero, it only asks
ROOM_MIN = 16 * 1024 * 1024  # bytes for the journal and logs; the payload of an update comes on top
PROBE = ".wain-test"
SHEBANG_MAX = 256  # bytes; execve(2), "interpreter scripts"


def check_clock(config: Config) -> Finding:
    """Find a clock that is certainly wrong, and say whether a time service keeps it."""
    return judge_clock(datetime.now(UTC), clock.written(config.data_dir), is_synchronised=_is_synchronised())


def judge_clock(now: datetime, written: datetime, *, is_synchronised: bool | None) -> Finding:
    """Judge a clock by when the journal was `written`; `is_synchronised` is None when the kernel does not say."""
    shown = f"{now:%Y-%m-%d %H:%M:%S} UTC"
    remedy = "Set it (date -s), and start a time service (systemd-timesyncd, chrony): certificates are judged by it."
    if fault := clock.fault(now, written):
        return Finding("clock", f"shows {shown}, which is {fault}", remedy)
    kept = {True: ", synchronised", False: ", not kept by a time service", None: ""}[is_synchronised]
    return Finding("clock", shown + kept)


def _is_synchronised() -> bool | None:
    try:
        state = ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(TIMEX_BYTES))
    except (OSError, AttributeError):
        return None  # a C library without it
    return None if state < 0 else state != TIME_ERROR


def check_disk(config: Config) -> Finding:
    """Find a data folder that cannot be written, or has no room for what is to come."""
    folder = config.data_dir
    while not folder.exists():  # before the first start
        folder = folder.parent
    try:
        if folder == config.data_dir:
            data_folder.check(folder)
            _try_writing(folder / PROBE)
        found = os.statvfs(folder)
    except data_folder.Untrusted as error:
        return Finding("disk", error.text, error.remedy)
    except PermissionError as error:
        return Finding("disk", f"{folder}: {error.strerror}", "Run this as root; check the folder's owner.")
    except OSError as error:
        return Finding("disk", f"{folder} cannot be written: {error.strerror}", medium.remedy(error))
    free, needed = found.f_bavail * found.f_frsize, _needed(config)
    if not os.access(folder, os.W_OK):  # before the first start, nothing is written to look
        return Finding("disk", f"{folder} cannot be written", "Run this as root; check the folder's owner.")
    text = f"{size(free)} free in {folder}, {size(needed)} needed"
    if free < needed:
        return Finding("disk", text, "Free space there, or have data_dir on a larger file system.")
    if found.f_files and not found.f_favail:  # without f_files the file system does not count them
        return Finding("disk", f"{text}, but no file can be added", "Remove files there: its inodes are used up.")
    return Finding("disk", text)


def _try_writing(file: Path) -> None:
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, b"\0")
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
        file.unlink()


def _needed(config: Config) -> int:
    try:
        update = Journal.read(config.data_dir).update
    except JournalError:
        return ROOM_MIN
    is_coming = update is not None and update.state is UpdateState.DOWNLOAD
    return ROOM_MIN + (update.offer.artifact.size if update is not None and is_coming else 0)


def size(count: int) -> str:
    """Return bytes in the largest unit that fits.

    >>> size(900), size(1_500_000), size(12_345_678_901)
    ('900 B', '1.5 MB', '12.3 GB')
    """
    value, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if value < 1000:  # noqa: PLR2004  of one unit in the next
            break
        value, unit = value / 1000, larger
    return f"{value:.0f} B" if unit == "B" else f"{value:.1f} {unit}"


def check_modules(config: Config) -> Finding:
    """Find update modules that could not be run: not executable, or their interpreter is missing."""
    chosen: dict[str, Path] = {}
    for folder in config.update.modules:
        try:
            files = sorted(folder.iterdir())
        except OSError:
            continue  # most devices have one or two of the folders
        for file in files:
            if file.is_file():
                chosen.setdefault(file.name, file)
    for _, file in sorted(chosen.items()):
        if not os.access(file, os.X_OK):
            return Finding("modules", f"{file} is not executable", f"chmod +x {file}")
        if interpreter := _missing_interpreter(file):
            return Finding("modules", f"{file} needs {interpreter}, which is not here", f"Install {interpreter}.")
    return Finding("modules", ", ".join(sorted(chosen)))


def _missing_interpreter(file: Path) -> str | None:
    with file.open("rb") as content:
        first = content.read(SHEBANG_MAX).split(b"\n", 1)[0]
    if not first.startswith(b"#!"):
        return None
    words = first[2:].decode(errors="replace").split()
    if len(words) > 1 and Path(words[0]).name == "env":
        wanted = next((word for word in words[1:] if not word.startswith("-") and "=" not in word), words[0])
    else:
        wanted = words[0] if words else "an interpreter (its first line names none)"
    return None if shutil.which(wanted) else wanted
