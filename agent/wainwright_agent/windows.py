"""Maintenance windows: when a device may be changed, in its own local time.

Pure: the time and the zone are arguments. The rules:

1. A window begins and ends when the clock on the wall first shows its times. One that ends at or before its start ends
   on the next day; its days are those on which it starts.
2. Where clocks are put forward, a time that is skipped comes when they jump; a window that lies wholly in the hour that
   is skipped does not open that day. Where they are put back, the hour that is repeated counts once for beginning and
   end: a window over it is an hour longer.
3. Several windows of one list: any of them. Several lists (the device's, the deployment's): each of them, where a list
   without windows restricts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, time, timedelta, tzinfo

from wainwright_common.messages import Window

LOOK_AHEAD_DAYS = 15  # a weekly window opens within 8 days; two lists may meet later, or never
PRECISION = timedelta(seconds=1)

Span = tuple[datetime, datetime]


def opening(lists: Sequence[Sequence[Window]], now: datetime, zone: tzinfo) -> datetime | None:
    """Return `now` if the windows of all lists are open, else when they next are; None if not within two weeks.

    `now` has a zone; the answer is in UTC.
    """
    restricting = [windows for windows in lists if windows]
    at = now.astimezone(UTC)
    end = at + timedelta(days=LOOK_AHEAD_DAYS)
    while at < end:
        latest = at
        for windows in restricting:
            opens = _opening_of(windows, latest, zone)
            if opens is None:
                return None
            latest = max(latest, opens)
        if latest == at:
            return at
        at = latest
    return None


def _opening_of(windows: Sequence[Window], now: datetime, zone: tzinfo) -> datetime | None:
    """Return `now` if one of the windows is open, else when the first of them opens."""
    spans = [span for window in windows for span in _spans(window, now, zone)]
    if any(begins <= now < ends for begins, ends in spans):
        return now
    return min((begins for begins, _ in spans if begins > now), default=None)


def _spans(window: Window, now: datetime, zone: tzinfo) -> Iterator[Span]:
    """Return when a window is open, from the day before `now` on, in UTC."""
    start, end = time.fromisoformat(window.start), time.fromisoformat(window.end)
    today = now.astimezone(zone).date()
    for offset in range(-1, 9):
        day = today + timedelta(days=offset)
        if window.days and day.isoweekday() not in window.days:
            continue
        last = day if end > start else day + timedelta(days=1)
        span = (_moment(datetime.combine(day, start), zone), _moment(datetime.combine(last, end), zone))
        if span[0] < span[1]:
            yield span


def _moment(wall: datetime, zone: tzinfo) -> datetime:
    """Return when the clock first shows `wall`; where it is skipped, when the clock jumps over it."""
    first = wall.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if first.astimezone(zone).replace(tzinfo=None) == wall:
        return first
    before, after = wall.replace(tzinfo=zone, fold=1).astimezone(UTC), first
    while after - before > PRECISION:
        middle = before + (after - before) / 2
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)
