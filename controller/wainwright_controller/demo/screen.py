"""What is told while the demo runs: live bars on a terminal, else one sentence for each change.

`sentences` is the pure part: what to say about two looks at a deployment, one after the other.
"""

from __future__ import annotations

import os
import textwrap
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple, Protocol, TextIO

from wainwright_controller.demo.api import Json

WIDTH = 24  # characters of a bar: a line of a failed device has room in 80 columns
SPARE_ROWS = 4  # of the terminal, so that what was said last stays in view
ROWS_MIN = 4
SIZE = os.terminal_size((80, 24))  # of a terminal that does not tell its own: a serial line says 0 and 0
INDENT = " " * 9  # of a sentence's further lines: below its words, beside its seconds
NO_WRAP, WRAP = "\x1b[?7l", "\x1b[?7h"  # DECAWM: a line longer than the terminal is cut, and stays one line


class Look(NamedTuple):
    """One look at a deployment: itself, and its devices' parts by id."""

    deployment: Json
    parts: dict[str, Json]


class Screen(Protocol):
    """Where the demo is told."""

    def say(self, text: str) -> None:
        """Tell one sentence."""

    def print(self, lines: Iterable[str]) -> None:
        """Print what is more than a sentence, such as a table."""

    def show(self, look: Look) -> None:
        """Show how a deployment stands."""

    def rest(self) -> None:
        """Leave what was shown as it is: what comes next is said below it."""


class Log:
    """Sentences with the seconds since the beginning: for a log, a pipe, a CI run."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._began = time.monotonic()
        self._last: Look | None = None

    def say(self, text: str) -> None:
        """Tell one sentence."""
        self._out.write(f"{time.monotonic() - self._began:5.1f} s  {text}\n")
        self._out.flush()

    def print(self, lines: Iterable[str]) -> None:
        """Print lines as they are."""
        self._out.write("".join(f"{line}\n" for line in lines))
        self._out.flush()

    def show(self, look: Look) -> None:
        """Tell what changed since the last look at the same deployment."""
        for text in sentences(self._last, look):
            self.say(text)
        self._last = look

    def rest(self) -> None:
        """Forget what was shown."""
        self._last = None


class Terminal(Log):
    """Sentences as in a log, folded at words, and below them one line for each device, drawn again in place."""

    def __init__(self, out: TextIO) -> None:
        super().__init__(out)
        self._drawn = 0
        self._reached: dict[str, float] = {}

    def say(self, text: str) -> None:
        """Tell one sentence, above the bars."""
        self._erase()
        super().say(f"\n{INDENT}".join(folded(text, size_of(self._out).columns - 1 - len(INDENT))))

    def print(self, lines: Iterable[str]) -> None:
        """Print lines, those that are too long folded at words."""
        columns = size_of(self._out).columns - 1
        super().print(piece for line in lines for piece in folded(line, columns))

    def show(self, look: Look) -> None:
        """Draw the bars again."""
        self._reached |= {i: _part_done(part) for i, part in look.parts.items() if part["status"] != "failure"}
        self._erase()
        columns, rows = size_of(self._out)
        full, empty = ("█", "░") if "utf" in (self._out.encoding or "").lower() else ("#", ".")
        lines = [line[: columns - 1] for line in bars(look, self._reached, rows - SPARE_ROWS, full, empty)]
        self._out.write(NO_WRAP + "".join(f"{line}\n" for line in lines) + WRAP)  # should it be made narrower
        self._out.flush()
        self._drawn = len(lines)

    def rest(self) -> None:
        """Leave the bars where they are."""
        self._drawn = 0
        self._reached = {}

    def _erase(self) -> None:
        if self._drawn:
            self._out.write(f"\x1b[{self._drawn}F\x1b[J")  # ECMA-48: up to the first of our lines, clear to the end
            self._drawn = 0


def size_of(out: TextIO) -> os.terminal_size:
    """Return the size of the terminal that is written to; not COLUMNS, which a shell may have left from another one."""
    try:
        columns, rows = os.get_terminal_size(out.fileno())
    except OSError:
        return SIZE
    return os.terminal_size((columns or SIZE.columns, rows or SIZE.lines))


def folded(line: str, columns: int) -> list[str]:
    """Fold a line at its words; one that begins with spaces is a command, which is copied as a whole."""
    if line.startswith("  ") or not line:
        return [line]
    return textwrap.wrap(line, max(columns, 20), break_long_words=False, break_on_hyphens=False)


def screen_for(out: TextIO) -> Screen:
    """Return the screen that fits where we write to."""
    return Terminal(out) if out.isatty() else Log(out)


def sentences(before: Look | None, look: Look) -> Iterator[str]:
    """Say what changed between two looks at a deployment: phases that open, devices, phases that are done."""
    release = look.deployment["artifact_name"]
    phases = look.deployment["phases"]
    phases_before = before.deployment["phases"] if before else [{}] * len(phases)
    pairs = list(zip(phases_before, phases, strict=True))
    for old, new in pairs:
        if "opened_at" in new and "opened_at" not in old:
            yield f"Phase {new['number']} of {len(phases)} opens: {new['size']} devices may take {release}."
    for device_id, part in look.parts.items():
        was = before.parts[device_id]["status"] if before else "pending"
        if part["status"] != was:
            yield f"{device_id} {_verb(part, release)}."
    for old, new in pairs:
        if "done_at" in new and "done_at" not in old:
            yield f"Phase {new['number']} of {len(phases)} is done."


def _verb(part: Json, release: str) -> str:
    match part["status"]:
        case "downloading":
            return f"downloads {release}"
        case "installing":
            return f"installs {release}"
        case "success":
            return f"runs {release}"
        case "failure":
            error = part.get("error", {"code": "unknown", "text": "no reason"})
            return f"could not be updated ({error['code']}): {error['text'].rstrip('.')}"
        case status:
            return f"is {status}"


def bars(look: Look, reached: Mapping[str, float], rows: int = 100, full: str = "#", empty: str = ".") -> Iterator[str]:
    """Draw a deployment in at most `rows` lines: one for it, and one for each device as far as there is room.

    `reached` is how far, 0 to 1, each device was when it was last seen under way: there the bar of a failed one stops.
    `full` and `empty` are the characters of a bar.
    """
    deployment = look.deployment
    hold = f", {deployment['hold']}" if "hold" in deployment else ""
    yield f"{deployment['name']}: {deployment['summary']}{hold}"
    width = max((len(device_id) for device_id in look.parts), default=0)
    shown = _chosen(look, max(rows, ROWS_MIN) - 2)
    for device_id, part in look.parts.items():
        if device_id not in shown:
            continue
        done = reached.get(device_id, 0.0) if part["status"] == "failure" else _part_done(part)
        filled = round(done * WIDTH)
        error = f"  {part['error']['code']}" if part["status"] == "failure" and "error" in part else ""
        bar = full * filled + empty * (WIDTH - filled)
        yield f"  phase {part['phase']}  {device_id:{width}}  {bar} {done:4.0%}  {part['status']}{error}"
    if len(shown) < len(look.parts):
        yield f"  and {len(look.parts) - len(shown)} more"


def _chosen(look: Look, room: int) -> set[str]:
    """Return the devices to draw where not all have room: under way before failed, waiting and well."""
    order = {"failure": 1, "pending": 2, "success": 3}
    return set(sorted(look.parts, key=lambda i: order.get(look.parts[i]["status"], 0))[:room])


def _part_done(part: Json) -> float:
    """Return how much of an update is done, 0 to 1: the download is nine tenths of it."""
    match part["status"]:
        case "pending":
            return 0.0
        case "downloading":
            progress = part.get("progress")
            return 0.9 * progress["done"] / progress["total"] if progress and progress["total"] else 0.0
        case "installing" | "rebooting":
            return 0.9
        case _:
            return 1.0
