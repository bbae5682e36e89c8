"""`wain logs`: what was done in an update, from the log that the device keeps of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from wainwright_agent.by_hand import is_by_hand
from wainwright_agent.cli.exits import Exit, Refused
from wainwright_agent.cli.output import complain, say, say_json, tell
from wainwright_agent.config import Config
from wainwright_agent.deployment_log import BYTES_MAX, FOLDER, Attempt, logs, number_of
from wainwright_common import settings
from wainwright_common.errors import WainwrightError
from wainwright_common.messages import Line

LEVEL_WIDTH = 8  # the longest is `warning`; `info` is not written, for most lines have it
QUIET = frozenset({"info", "debug"})


class LogError(WainwrightError):
    """A log cannot be read."""


class _Log(NamedTuple):
    number: int
    attempt: Attempt
    lines: list[Line]

    @property
    def title(self) -> str:
        day = f" of {self.lines[0].at:%Y-%m-%d}" if self.lines else ""
        if is_by_hand(self.attempt.deployment_id):
            return f"Update {self.number}{day}, by hand"
        return f"Update {self.number}{day}, deployment {self.attempt.deployment_id}, attempt {self.attempt.attempt}"


def show_logs(config: Config, number: int | None, output: str) -> Exit:
    """Print one log: the newest, or the one of a number. Raises Refused and LogError."""
    found = list(_read(config.data_dir))
    chosen = [one for one in found if number in (None, one.number)]
    if not chosen:
        which = "any update" if number is None else f"an update {number}. See: wain logs --list"
        complain(f"There is no log of {which}")
        return Exit.NOTHING_TO_DO
    log = chosen[-1]
    if output == "json":
        say_json(_plain(log) | {"lines": settings.plain(log.lines)})
        return Exit.DONE
    tell(f"{log.title} (times in UTC):")
    for line in log.lines:
        level = "" if line.level in QUIET else line.level
        tell(f"{line.at:%H:%M:%S} {level:<{LEVEL_WIDTH}}{line.text}", hanging=9 + LEVEL_WIDTH)
    return Exit.DONE


def list_logs(config: Config, output: str) -> Exit:
    """Print which logs there are, the newest last, with what was said first. Raises Refused and LogError."""
    found = list(_read(config.data_dir))
    if output == "json":
        say_json([_plain(log) for log in found])
        return Exit.DONE
    if not found:
        complain("There is no log of any update")
        return Exit.NOTHING_TO_DO
    for log in found:
        tell(f"{log.title}: {log.lines[0].text.partition(' (')[0] if log.lines else 'empty'}", hanging=4)
    say("To read one: wain logs NUMBER")
    return Exit.DONE


def _read(data_dir: Path) -> Iterator[_Log]:
    try:
        os.scandir(data_dir / FOLDER).close()
    except FileNotFoundError:
        return
    except PermissionError as error:
        raise Refused(f"{data_dir / FOLDER}: cannot be read: {error.strerror}. Run this as root.") from error
    except OSError as error:
        raise LogError(f"{data_dir / FOLDER}: cannot be read: {error.strerror}. Check the medium.") from error
    for file in logs(data_dir):
        try:
            with file.open("rb") as stream:
                head, *rest = stream.read(2 * BYTES_MAX).splitlines()
            attempt = msgspec.json.decode(head, type=Attempt)
        except (OSError, ValueError):  # removed meanwhile, or damaged: then nobody can say what it is about
            continue
        yield _Log(number_of(file), attempt, list(_lines(rest)))


def _lines(raws: list[bytes]) -> Iterator[Line]:
    for raw in raws:
        try:
            yield msgspec.json.decode(raw, type=Line)
        except ValueError:  # torn, in the moment of a power cut or of being written
            continue


def _plain(log: _Log) -> dict[str, object]:
    return {"number": log.number, "deployment_id": log.attempt.deployment_id, "attempt": log.attempt.attempt}
