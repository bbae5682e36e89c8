"""What the types of all nouns are made of."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated, Generic, TypeVar

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    Strict,
    StringConstraints,
)

IDS_MAX = 100_000  # device ids in one request: the largest fleet that this is measured with
EARLIEST_S, LATEST_S = -62_000_000_000.0, 253_000_000_000.0  # the years 5 and 9987, in seconds since the epoch
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]")  # RFC 3339, section 5.6
T = TypeVar("T")


def _as_written(value: object) -> object:
    """Refuse a number, which pydantic would take for seconds, or for milliseconds: the document does not say so."""
    if isinstance(value, datetime) or (isinstance(value, str) and _DATE.match(value)):
        return value
    raise ValueError("give a time with its date and its offset, such as 2026-11-24T06:12:41Z")


def _in_calendar(time: datetime) -> datetime:
    if not EARLIEST_S <= time.timestamp() <= LATEST_S:
        raise ValueError("this time is at the end of the calendar: give one that somebody may live to see")
    return time


Moment = Annotated[AwareDatetime, BeforeValidator(_as_written), AfterValidator(_in_calendar)]
"""A time that comes in."""

Flag = Annotated[bool, Strict()]
"""True or false; not 1, and not `"yes"`, as pydantic would take them: the document does not say so."""

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
GroupName = Annotated[str, StringConstraints(pattern=r"^[^/\x00-\x1f\x7f]{1,128}$")]
Where = Annotated[str, Field(description="A filter: docs/filters.md.")]
Ids = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=128)]], Field(max_length=IDS_MAX)]


def moment(seconds: float | None) -> datetime | None:
    """Return a record's time as a date."""
    return None if seconds is None else known_moment(seconds)


def known_moment(seconds: float) -> datetime:
    """Return a record's time, which is never missing, as a date; the nearest one, if it is outside of calendars."""
    return datetime.fromtimestamp(min(max(seconds, EARLIEST_S), LATEST_S), UTC)


class Taken(BaseModel):
    """Base of what comes in."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[T]):
    """A piece of a list. `total` counts all that match; `next`, if there, is the `cursor` of the following piece."""

    items: list[T]
    total: int | None = None
    next: str | None = None


class Problem(BaseModel):
    """An error (RFC 9457). `code` is a stable word, `detail` a sentence: what happened and what to do next."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    column: int | None = Field(None, description="Of `bad-filter`: where, in characters from 1.")
