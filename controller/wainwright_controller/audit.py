"""The audit log: every change that a person makes or is refused, in a chain of hashes.

1. A change and its entry are one transaction: neither is there without the other.
2. Entries are numbered from 1 without a gap. An entry's hash is SHA-256 over the hash before it and its own fields as
   canonical JSON; the head (last number and hash) is kept apart. So `verify` finds an entry that was changed, removed
   or put in between, and a tail that was cut off.
3. Appending locks the head, so that two controllers of one store cannot append to the same entry.

What this does not show: somebody who can write to the database can compute the whole chain anew. A head that was noted
elsewhere, an anchor, proves against him that everything up to it is as it was.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, insert, select, update

from wainwright_common.prepared import prepare
from wainwright_controller.people import Actor
from wainwright_controller.records import Record
from wainwright_controller.rows import AUDIT, SETTING, from_row

HEAD = "audit-head"  # the setting that holds "NUMBER:HASH" of the last entry
BEGINNING = "0" * 64  # the hash before the first entry
ALLOWED, REFUSED = "allowed", "refused"
OBJECT_MAX = 2000  # characters: 20 device ids of any length nearly
AT_ONCE = 1000  # entries in memory while the chain is verified

Shown = Mapping[str, Any]
"""Things by name, each with those of its fields that differ; a thing that was not there is missing."""


class Attempt(NamedTuple):
    """What a person is about to do; `subject` is what the request names."""

    actor: Actor
    action: str
    subject: str = ""


class Entry(Record, frozen=True, kw_only=True):
    """A line of the audit log; `before` and `after` are JSON, `code` is why it was refused."""

    number: int
    at: float
    actor: str
    role: str
    address: str
    action: str
    object: str
    before: str = "{}"
    after: str = "{}"
    verdict: str = ALLOWED
    code: str = ""
    hash: str = ""


prepare(Entry)


class Anchor(NamedTuple):
    """An entry's number and hash, as somebody noted them."""

    number: int
    hash: str


class Finding(NamedTuple):
    """What `verify` found: how many entries, the last one, and what is wrong, if anything is."""

    entries: int
    last: Anchor
    fault: str | None = None


attempt: ContextVar[Attempt | None] = ContextVar("attempt", default=None)
"""Set by the HTTP API for each request that changes something, read by the transaction that the request leads to.

A variable of the context, because it goes with a request through threads, and because no operation should be able to
forget it; operations that no person asked for (tests, the clock) have none and leave no entry.
"""


def compact(shown: Shown) -> str:
    """Return things as JSON, canonical and on one line."""
    return msgspec.json.encode(shown, order="sorted").decode()


def append(
    connection: Connection,
    now: float,
    about: Attempt,
    subject: str,
    *,
    before: Shown | None = None,
    after: Shown | None = None,
    code: str = "",
) -> Entry:
    """Write an entry in the caller's transaction; with a `code` it was refused. `now` is in seconds since the epoch."""
    last = head(connection, lock=True)
    entry = Entry(
        number=last.number + 1,
        at=now,
        actor=about.actor.name,
        role=about.actor.role,
        address=about.actor.address,
        action=about.action,
        object=_storable(subject),
        before=compact(before or {}),
        after=compact(after or {}),
        verdict=REFUSED if code else ALLOWED,
        code=code,
    )
    entry = msgspec.structs.replace(entry, hash=chained(last.hash, entry))
    connection.execute(insert(AUDIT), msgspec.structs.asdict(entry))
    value = {"value": f"{entry.number}:{entry.hash}"}
    connection.execute(update(SETTING).where(SETTING.c.key == HEAD).values(value))
    return entry


def _storable(text: str) -> str:
    """Return a text as every database gives it back: a request's path may have any character, and any length."""
    return text[:OBJECT_MAX].replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def chained(before: str, entry: Entry) -> str:
    """Return the hash of an entry that follows the hash `before`."""
    fields = msgspec.structs.asdict(entry)
    del fields["hash"]
    return hashlib.sha256(before.encode() + msgspec.json.encode(fields, order="sorted")).hexdigest()


def verify(connection: Connection, anchor: Anchor | None = None) -> Finding:
    """Look at the whole chain, and whether the anchor is in it; stops at the first fault. Needs one snapshot."""
    last = Anchor(0, BEGINNING)
    query = select(AUDIT).order_by(AUDIT.c.number).execution_options(yield_per=AT_ONCE)
    with connection.execute(query) as rows:  # closed at the first fault, too: PostgreSQL has a cursor open for it
        for row in rows.mappings():
            entry = from_row(Entry, row)
            if fault := _fault(last, entry, anchor):
                return Finding(last.number, last, fault)
            last = Anchor(entry.number, entry.hash)
    written = head(connection)
    if written != last:
        return Finding(
            last.number,
            last,
            f"The log ends with entry {last.number}, but {written.number} was the last one written:"
            " entries were cut off at the end.",
        )
    if anchor is not None and anchor.number > last.number:
        return Finding(last.number, last, f"Entry {anchor.number} was noted elsewhere, but is not there any more.")
    return Finding(last.number, last)


def _fault(last: Anchor, entry: Entry, anchor: Anchor | None) -> str | None:
    if entry.number != last.number + 1:
        missing = (
            f"entry {last.number + 1} is"
            if entry.number == last.number + 2
            else (f"entries {last.number + 1} to {entry.number - 1} are")
        )
        return f"After entry {last.number}, {missing} missing."
    if entry.hash != chained(last.hash, entry):
        return f"Entry {entry.number} does not follow from entry {last.number}: one of the two was changed."
    if anchor is not None and anchor.number == entry.number and anchor.hash != entry.hash:
        return f"Entry {entry.number} is not the one that was noted elsewhere: the chain was computed anew."
    return None


def head(connection: Connection, *, lock: bool = False) -> Anchor:
    """Return the last entry that was written, as it is kept apart from the entries."""
    query = select(SETTING.c.value).where(SETTING.c.key == HEAD)
    value: str = connection.execute(query.with_for_update() if lock else query).scalar_one()
    number, _, chain_hash = value.partition(":")
    return Anchor(int(number), chain_hash)
