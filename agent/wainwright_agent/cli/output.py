"""Printing: data to standard output, talk to standard error, times and durations for people.

What is written for people is broken at spaces where a terminal would break it within words. Data never is.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

from wainwright_common.texts import escaped

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400
WIDTH = 80  # columns of a serial console, which does not say how wide it is
WIDTH_MIN = 20  # of what says that it is narrower, nothing would be left


def say(text: str) -> None:
    """Print data, as it is."""
    print(text)  # noqa: T201  a command's output


def tell(text: str, hanging: int = 0) -> None:
    """Print what a person has asked for; lines after the first begin `hanging` columns in."""
    print(fitted(text, sys.stdout, hanging))  # noqa: T201  a command's output


def talk(text: str, hanging: int = 0) -> None:
    """Print what a person wants to hear beside the data."""
    print(fitted(text, sys.stderr, hanging), file=sys.stderr)  # noqa: T201  a command's talk


def complain(text: str) -> None:
    """Print what is wrong, and what to do next."""
    talk(f"error: {text}", len("error: "))


def fitted(text: str, stream: TextIO, hanging: int = 0) -> str:
    """Return a text without control characters, which a module may have said, and broken to the width of a terminal."""
    import textwrap

    text = "".join(one if one.isprintable() or one == "\n" else "\N{REPLACEMENT CHARACTER}" for one in text)
    if not stream.isatty():
        return text
    try:
        width = os.get_terminal_size(stream.fileno()).columns or WIDTH
    except OSError:
        width = WIDTH
    wrap = textwrap.TextWrapper(
        width=max(width, WIDTH_MIN), subsequent_indent=" " * hanging, break_long_words=False, break_on_hyphens=False
    )
    return "\n".join(wrap.fill(line) for line in text.splitlines())


def say_json(value: object) -> None:
    """Print data for machines: one document, keys in their documented order."""
    say(escaped(json.dumps(value, indent=2, ensure_ascii=False)))


def say_pairs(values: Mapping[str, Any]) -> None:
    """Print `key=value` lines, sorted; each value of a list has a line of its own."""
    for key, value in sorted(values.items()):
        for one in value if isinstance(value, list) else [value]:
            say(f"{key}={one}")


def duration(seconds: float) -> str:
    """Return a duration in its largest unit that fits: `8 s`, `12 min`, `3 h`, `5 days`.

    >>> duration(8.4), duration(200), duration(7300), duration(3 * 86400)
    ('8 s', '3 min', '2 h', '3 days')
    """
    if seconds < 2 * MINUTE_S:
        return f"{seconds:.0f} s"
    if seconds < 2 * HOUR_S:
        return f"{seconds / MINUTE_S:.0f} min"
    if seconds < 2 * DAY_S:
        return f"{seconds / HOUR_S:.0f} h"
    return f"{seconds / DAY_S:.0f} days"


def ago(time: str) -> str:
    """Return how long ago an RFC 3339 time was; a clock that was set back since shows the time itself."""
    then = datetime.fromisoformat(time)
    seconds = (datetime.now(UTC) - then).total_seconds()
    return f"{duration(seconds)} ago" if seconds > -1 else f"at {then:%Y-%m-%d %H:%M} UTC by another clock"
