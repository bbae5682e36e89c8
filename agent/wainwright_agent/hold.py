"""Whether an update that is downloaded may be installed now: maintenance windows, and offers that say download only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from msgspec import UNSET

from wainwright_agent import clock, windows
from wainwright_agent.config import Update as Settings
from wainwright_common.messages import Offer, Window
from wainwright_common.windows import parse

LOCAL_TIME = Path("/etc/localtime")


@dataclass(frozen=True, slots=True)
class Hold:
    """Why an update waits; `until` is None when no time is known."""

    why: str
    until: datetime | None = None


def hold(offer: Offer, settings: Settings, now: datetime, written: datetime = clock.BORN) -> Hold | None:
    """Return why an offer's update must wait before it is installed; None when it need not.

    By a clock that is certainly wrong, because it is before the time `written`, no window is open.
    """
    policy = offer.policy
    if policy.download_only is True:
        return Hold(
            "The deployment says to download only, until an operator lets it install: wainwright deployment install."
        )
    own: Sequence[Window] = [parse(text) for text in settings.windows]
    theirs: Sequence[Window] = [] if policy.windows is UNSET else policy.windows
    if not own and not theirs:
        return None
    if fault := clock.fault(now, written):
        return Hold(f"It waits until the clock is set, which shows a time {fault}. If it is right, restart the agent.")
    try:
        local = zone(settings.time_zone)
        opens = windows.opening((own, theirs), now, local)
    except ValueError as error:
        return Hold(f"When the maintenance window opens is not known: {error}.")
    if opens is None:
        return Hold("No maintenance window opens in the next two weeks; those of device and deployment do not meet.")
    if opens <= now:
        return None
    at = f"{opens.astimezone(local):%Y-%m-%d %H:%M %Z}"
    return Hold(f"It waits for the maintenance window, which opens at {at}.", opens)


def zone(name: str) -> tzinfo:
    """Return the zone of this name; the device's own, read anew each time, when there is none. Raises ValueError."""
    import zoneinfo  # the calendar is for devices that have a window

    if name:
        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise ValueError(f"this device knows no time zone {name!r}: install tzdata, or name another") from error
    try:
        with LOCAL_TIME.open("rb") as file:
            return zoneinfo.ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC
