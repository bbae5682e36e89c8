"""Printing: data to standard output, talk to standard error, times and durations for people."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

MINUTE_S, HOUR_S, DAY_S = 60, 3600, 86_400


def say(text: str) -> None:
    """Print data."""
    print(text)  # noqa: T201  a command's output


def complain(text: str) -> None:
    """Print what is wrong, and what to do next."""
    print(f"error: {text}", file=sys.stderr)  # noqa: T201  a command's talk


def say_json(value: object) -> None:
    """Print data for machines: one document, keys in their documented order."""
    say(json.dumps(value, indent=2, ensure_ascii=False))


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
    """Return how long ago an RFC 3339 time was."""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
    return f"{duration(max(0.0, seconds))} ago"
