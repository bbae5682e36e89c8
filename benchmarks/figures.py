"""Percentiles, and the machine that they were measured on."""

from __future__ import annotations

import os
import platform
import sqlite3
import statistics
from collections.abc import Sequence

import paho.mqtt


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that at least `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100).__trunc__() - 1)]


def milliseconds(values: Sequence[float]) -> str:
    """Print the distribution of durations, given in seconds."""
    shown = {"p50": statistics.median(values), "p99": percentile(values, 99), "max": max(values)}
    return ", ".join(f"{name} {1000 * value:.1f} ms" for name, value in shown.items())


def machine() -> str:
    """Say what the figures were measured on."""
    return (
        f"{os.cpu_count()} CPUs ({platform.machine()}), Python {platform.python_version()},"
        f" SQLite {sqlite3.sqlite_version}, paho-mqtt {paho.mqtt.__version__}"
    )
