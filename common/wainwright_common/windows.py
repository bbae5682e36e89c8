"""Maintenance windows as people write them, for devices and for deployments alike."""

from __future__ import annotations

import re

from wainwright_common.messages import Window

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_TEXT = re.compile(r"(?:(?P<days>[a-z,-]+) +)?(?P<start>\d\d:\d\d)-(?P<end>\d\d:\d\d)")
_CLOCK = re.compile(r"(?:[01][0-9]|2[0-3]):[0-5][0-9]")


def parse(text: str) -> Window:
    """Return the window of a text as `22:00-05:00`, `sat,sun 00:00-00:00`, `mon-fri 01:30-04:00`; raises ValueError.

    >>> parse("fri-mon 22:00-05:00").days
    [5, 6, 7, 1]
    """
    match = _TEXT.fullmatch(text.strip().lower())
    if match is None or not all(_CLOCK.fullmatch(match[name]) for name in ("start", "end")):
        raise ValueError(f"{text!r} is not a window; expected, for example, 'mon-fri 22:00-05:00'")
    days: list[int] = []
    for part in (match["days"] or "").split(",") if match["days"] else ():
        days += _days(part, text)
    return Window(start=match["start"], end=match["end"], days=days)


def _days(part: str, text: str) -> list[int]:
    first, _, last = part.partition("-")
    try:
        begin, end = DAYS.index(first), DAYS.index(last or first)
    except ValueError:
        raise ValueError(f"{text!r} has no day {part!r}; days are {', '.join(DAYS)}") from None
    return [(begin + i) % 7 + 1 for i in range((end - begin) % 7 + 1)]
