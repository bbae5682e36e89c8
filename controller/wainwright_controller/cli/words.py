"""Times, spans and sizes: as people write them, and as they are shown to people."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import click

SHORT_ID = 8  # characters of an id in a table; full ones are in JSON
_UNITS_S = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}
_SPAN = re.compile(r"(\d+(?:\.\d+)?)(s|m|min|h|d)")
_KILO = 1000


class Span(click.ParamType[float]):
    """A span of time: 30s, 10m, 2h, 1d, or a sum like 1h30m; a bare number is in seconds. Gives seconds."""

    name = "DURATION"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:  # noqa: ANN401  click's signature
        """Return the seconds."""
        if isinstance(value, int | float):
            return float(value)
        seconds = span_s(value)
        if seconds is None:
            self.fail(f"{value!r} is not a span of time: write 30s, 10m, 2h or 1d.", param, ctx)
        return seconds


class Moment(click.ParamType[datetime]):
    """A time in ISO 8601; without an offset it is local time. Gives an aware datetime."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401  click's signature
        """Return the time."""
        if isinstance(value, datetime):
            return value
        moment = moment_of(value)
        if moment is None:
            self.fail(f"{value!r} is not a time: write for example 2026-05-01T22:00 or 2026-05-01T20:00Z.", param, ctx)
        return moment


def span_s(text: str) -> float | None:
    """Return the seconds of a span as people write it, or None."""
    if re.fullmatch(r"\d+(\.\d+)?", text):
        return float(text)
    parts = _SPAN.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        return None
    return sum(float(number) * _UNITS_S[unit] for number, unit in parts)


def moment_of(text: str) -> datetime | None:
    """Return the time that an ISO 8601 text names, or None."""
    try:
        return datetime.fromisoformat(text).astimezone()
    except ValueError:
        return None


def stamp(moment: datetime) -> str:
    """Print a time as RFC 3339 in UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def now_stamp() -> str:
    """Print the present time."""
    return stamp(datetime.now(UTC))


def api_stamp(text: str) -> str:
    """Print a time of the API, to the second."""
    return stamp(datetime.fromisoformat(text))


def span(seconds: float) -> str:
    """Print a span of time: 8 s, 5 min, 3 h, 12 days."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def ago(text: str | None) -> str:
    """Print how long ago a time of the API was, or how soon it is."""
    if text is None:
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(text)).total_seconds()
    return f"{span(seconds)} ago" if seconds >= 0 else f"in {span(-seconds)}"


def between(begin: str, end: str) -> str:
    """Print how long it is from one time of the API to another."""
    return span((datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds())


def size(n: float) -> str:
    """Print a number of bytes: 812 B, 4.2 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if n < _KILO:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= _KILO
    return f"{n:.1f} TB"


def count(n: int, noun: str, many: str | None = None) -> str:
    """Print a number of things: 1 device, 2 devices."""
    return f"{n} {noun}" if n == 1 else f"{n} {many or noun + 's'}"


def short(identifier: str | None) -> str:
    """Print an id for eyes."""
    return (identifier or "")[:SHORT_ID]
