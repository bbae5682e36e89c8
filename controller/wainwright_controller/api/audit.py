"""/api/v1/audit: who changed what, who was refused, and whether the log is whole."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec
from fastapi import Depends, Query
from sqlalchemy import ColumnElement, Connection, and_, select

from wainwright_controller import audit
from wainwright_controller.api import routing
from wainwright_controller.api.context import InContext
from wainwright_controller.api.models import AuditOut, ChainOut, Page, known_moment
from wainwright_controller.api.models.base import Moment
from wainwright_controller.api.paging import INT_MAX, LIMIT, Cursor, Limit, cut, key_of
from wainwright_controller.api.problems import BadRequest
from wainwright_controller.rows import AUDIT, from_row

router = routing.router("audit", "/audit")

_ANCHOR = re.compile(r"([0-9]{1,18}):([0-9a-f]{64})")


@dataclass
class AuditFilters:
    """The parameters that choose entries; what is not given restricts nothing. `since` is included, `until` is not."""

    who: Annotated[str | None, Query(description="Exactly this person.")] = None
    action: Annotated[str | None, Query(description="A part of an action, such as `deployment`.")] = None
    object: Annotated[str | None, Query(description="A part of an object's name.")] = None
    verdict: Literal["allowed", "refused"] | None = None
    since: Moment | None = None
    until: Moment | None = None

    def condition(self) -> ColumnElement[bool]:
        """Return what an entry must meet."""
        matching: list[ColumnElement[bool]] = []
        if self.who is not None:
            matching.append(AUDIT.c.actor == self.who)
        if self.action is not None:
            matching.append(AUDIT.c.action.icontains(self.action, autoescape=True))
        if self.object is not None:
            matching.append(AUDIT.c.object.icontains(self.object, autoescape=True))
        if self.verdict is not None:
            matching.append(AUDIT.c.verdict == self.verdict)
        if self.since is not None:
            matching.append(AUDIT.c.at >= self.since.timestamp())
        if self.until is not None:
            matching.append(AUDIT.c.at < self.until.timestamp())
        return and_(True, *matching)  # noqa: FBT003  SQL's TRUE


@router.get("")
def list_audit(
    context: InContext, filters: Annotated[AuditFilters, Depends()], limit: Limit = LIMIT, cursor: Cursor = None
) -> Page[AuditOut]:
    """List changes and refusals, newest first; `since` is included, `until` is not."""
    with context.store.read() as connection:
        return listed(connection, filters, limit, cursor)


def listed(connection: Connection, filters: AuditFilters, limit: int, cursor: str | None) -> Page[AuditOut]:
    """Return a piece of the log, newest first."""
    query = select(AUDIT).where(filters.condition()).order_by(AUDIT.c.number.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(AUDIT.c.number < key_of(cursor, tuple[int])[0])
    rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: (row["number"],))
    return Page(items=[_out(from_row(audit.Entry, row)) for row in rows], next=following)


@router.get("/verify")
def verify_audit(
    context: InContext,
    anchor: Annotated[str | None, Query(description="`NUMBER:HASH` of an entry, noted elsewhere.")] = None,
) -> ChainOut:
    """Compute the whole chain of hashes, and say where it is broken, if it is."""
    noted = _anchor(anchor) if anchor is not None else None
    with context.store.read() as connection:
        found = audit.verify(connection, noted)
    return ChainOut(
        whole=found.fault is None,
        entries=found.entries,
        anchor=f"{found.last.number}:{found.last.hash}",
        fault=found.fault,
    )


def _anchor(text: str) -> audit.Anchor:
    match = _ANCHOR.fullmatch(text)
    if match is None or int(match[1]) > INT_MAX:
        raise BadRequest("This anchor is not NUMBER:HASH, as `wainwright audit verify` prints it.")
    return audit.Anchor(int(match[1]), match[2])


def _out(entry: audit.Entry) -> AuditOut:
    return AuditOut(
        number=entry.number,
        at=known_moment(entry.at),
        who=entry.actor,
        role=entry.role,
        address=entry.address,
        action=entry.action,
        object=entry.object,
        before=msgspec.json.decode(entry.before),
        after=msgspec.json.decode(entry.after),
        verdict=entry.verdict,
        code=entry.code or None,
        hash=entry.hash,
    )
