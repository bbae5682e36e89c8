"""Lists piece by piece: a cursor names the last row that was given, so that rows which come or go in between neither
repeat others nor hide them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import Annotated, TypeVar

import msgspec
from fastapi import Query

from wainwright_controller.api.problems import BadRequest

INT_MAX = 2**63 - 1  # of a database's integers
LIMIT_MAX = 1000  # rows in one answer
R = TypeVar("R")
Key = tuple[int | str, ...]

Limit = Annotated[int, Query(ge=1, le=LIMIT_MAX, description="Items in this piece.")]
Cursor = Annotated[str | None, Query(max_length=1024, description="`next` of the piece before.")]
Search = Annotated[str | None, Query(max_length=256, description="A part of a name, in any case.")]
LIMIT = 100


def cursor_of(key: Key) -> str:
    """Return the cursor of a row's key."""
    return base64.urlsafe_b64encode(msgspec.json.encode(key)).decode().rstrip("=")


def key_of(cursor: str, shape: type[R]) -> R:
    """Return the key in a cursor, a tuple of the types in `shape`; raises BadRequest for what is no cursor of ours."""
    try:
        key = msgspec.json.decode(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=shape)
    except (msgspec.MsgspecError, binascii.Error, ValueError) as error:
        raise BadRequest("This cursor is not one of this list: begin again without one.") from error
    if any(isinstance(part, int) and abs(part) > INT_MAX for part in key):  # type: ignore[attr-defined]  # a tuple
        raise BadRequest("This cursor has a number that no list has: begin again without one.")
    return key


def cut(rows: Sequence[R], limit: int, key: Callable[[R], Key]) -> tuple[Sequence[R], str | None]:
    """Return the first `limit` of `rows`, and the cursor of the rest if there is any: query one row more than that."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], cursor_of(key(rows[limit - 1]))
