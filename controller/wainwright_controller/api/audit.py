"""/api/v1/audit: who changed what, who was refused, and whether the log is whole."""

from __future__ import annotations

import re
from typing import Annotated, Literal

import msgspec
from fastapi import Query
from sqlalchemy import select

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


@router.get("")
def list_audit(
    context: InContext,
    who: Annotated[str | None, Query(description="Exactly this person.")] = None,
    action: Annotated[str | None, Query(description="A part of an action, such as `deployment`.")] = None,
    object_: Annotated[str | None, Query(alias="object", description="A part of an object's name.")] = None,
    verdict: Literal["allowed", "refused"] | None = None,
    since: Moment | None = None,
    until: Moment | None = None,
    limit: Limit = LIMIT,
    cursor: Cursor = None,
) -> Page[AuditOut]:
    """List changes and refusals, newest first; `since` is included, `until` is not."""
    query = select(AUDIT).order_by(AUDIT.c.number.desc()).limit(limit + 1)
    if who is not None:
        query = query.where(AUDIT.c.actor == who)
    if action is not None:
        query = query.where(AUDIT.c.action.icontains(action, autoescape=True))
    if object_ is not None:
        query = query.where(AUDIT.c.object.icontains(object_, autoescape=True))
    if verdict is not None:
        query = query.where(AUDIT.c.verdict == verdict)
    if since is not None:
        query = query.where(AUDIT.c.at >= since.timestamp())
    if until is not None:
        query = query.where(AUDIT.c.at < until.timestamp())
    if cursor is not None:
        query = query.where(AUDIT.c.number < key_of(cursor, tuple[int])[0])
    with context.store.read() as connection:
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
