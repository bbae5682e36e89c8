"""A part of a text, in any case, as lists are searched: one condition, written as each database does it fastest."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, ColumnElement, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

ESCAPE = "/"


class _Within(FunctionElement[bool]):
    """The condition, of a column and a pattern."""

    type = Boolean()
    inherit_cache = True


def within(column: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Return whether a column has a text somewhere in it, whatever the case of its letters."""
    plain = text
    for sign in (ESCAPE, "%", "_"):
        plain = plain.replace(sign, ESCAPE + sign)
    return _Within(column, literal(f"%{plain}%"))


@compiles(_Within)
def _by_ilike(element: _Within, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401  SQLAlchemy's
    column, pattern = element.clauses
    return f"({compiler.process(column.ilike(pattern, escape=ESCAPE), **options)})"


@compiles(_Within, "sqlite")
def _by_like(element: _Within, compiler: SQLCompiler, **options: Any) -> str:  # noqa: ANN401  as above
    """Return it for SQLite, whose LIKE knows no case as its lower() does not: of ASCII's letters only."""
    column, pattern = element.clauses
    return f"({compiler.process(column.like(pattern, escape=ESCAPE), **options)})"
