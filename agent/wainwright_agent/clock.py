"""Clocks that are certainly wrong: of devices without a clock chip, until a time service has set them.

That a clock is right cannot be known. Pure: the times are arguments; but for `written`, which looks at the journal, and
`booted`, which looks at the clock.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

from wainwright_agent.journal import FILE

BORN = datetime(2026, 1, 1, tzinfo=UTC)  # this program is not older, so no clock that is right shows an earlier time
TOLERANCE = timedelta(minutes=1)  # a clock that was stepped back by its time service is not a wrong one


def written(data_dir: Path) -> datetime:
    """Return when the journal was written, BORN if there is none."""
    try:
        return datetime.fromtimestamp((data_dir / FILE).stat().st_mtime, UTC)
    except OSError:
        return BORN


def booted() -> datetime:
    """Return when this boot began, by the clock as it is now: another time once the clock was set."""
    return datetime.now(UTC) - timedelta(seconds=time.clock_gettime(time.CLOCK_BOOTTIME))


def fault(now: datetime, written_at: datetime) -> str | None:
    """Return before what a clock that shows `now` is, and cannot be; None if it may be right."""
    if now < BORN:
        return "before this program was made"
    if now < written_at - TOLERANCE:
        return f"before {written_at:%Y-%m-%d %H:%M:%S}, when the journal was written"
    return None
