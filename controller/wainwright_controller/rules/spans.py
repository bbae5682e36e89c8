"""Spans of time as a person reads them."""

from __future__ import annotations


def span(seconds: float) -> str:
    """Print a span of time: 8 s, 5 min, 3 h, 12 days."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"
