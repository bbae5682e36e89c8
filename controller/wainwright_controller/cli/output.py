"""Data on stdout: tables for people, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import click

from wainwright_common.texts import escaped, printable
from wainwright_controller.cli.fitting import columns as columns_of
from wainwright_controller.cli.fitting import fitted, pieces
from wainwright_controller.cli.settings import Settings

__all__ = [
    "Columns",
    "Json",
    "as_json",
    "fields",
    "printable",
    "put_csv",
    "put_done",
    "put_list",
    "put_object",
    "table",
]

Json = dict[str, Any]
Columns = Mapping[str, Callable[[Json], object]]
_GAP = "  "
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # and those of East Asian widths
_INNER = re.compile(rf";(?=[\s\"']*[{re.escape(''.join(FORMULA))}])")
_WIDEST = 60  # characters of a cell that count for a column's width; longer ones stick out
_LAST_MIN = 12  # columns that are left for a last cell; with less room, breaking it makes it harder to read
_LAST_WANTED = 20  # columns for a last cell that others are cut for
_CUT_MIN = 16  # columns that a cut cell keeps
_HANGING = 2  # columns that the further lines of a sentence begin with


def put_list(settings: Settings, items: Iterable[Json], columns: Columns, nothing: str | Callable[[], str]) -> None:
    """Print a list; `nothing`, or what it returns, is said on stderr when it is empty."""
    if settings.output == "jsonl":
        for item in items:
            click.echo(as_json(item))
        return
    rows = list(items)
    if settings.output == "json":
        click.echo(as_json(rows, indent=2))
    elif rows:
        for line in table(rows, columns):
            click.echo(line)
    else:
        settings.say(nothing if isinstance(nothing, str) else nothing())


def put_csv(items: Iterable[Json], columns: Columns) -> None:
    """Print a list as CSV (RFC 4180), for spreadsheets."""
    for line in csv_lines(items, columns):
        click.echo(line, nl=False)


def csv_lines(items: Iterable[Json], columns: Columns) -> Iterator[str]:
    """Yield the lines of a list as CSV, the headings first; each has its end."""
    yield _csv_line(list(columns))
    for item in items:
        yield _csv_line([_csv_cell(show(item)) for show in columns.values()])


def _csv_line(row: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(row)
    return line.getvalue()


def _csv_cell(value: object) -> str:
    """Return a cell that no spreadsheet takes for a formula (OWASP, CSV injection): a device may be called `=1+1`.

    Nor for several cells of which one is, where spreadsheets of the country separate them by semicolons.
    """
    text = _INNER.sub(";'", _cell(value))
    return f"'{text}" if text.startswith(FORMULA) else text


def put_object(settings: Settings, item: Json, lines: Iterable[str]) -> None:
    """Print one thing: `lines` for people."""
    if settings.output == "table":
        for line in lines:
            click.echo(fitted(printable(line), columns_of(sys.stdout), _HANGING))
    else:
        click.echo(as_json(item, indent=2 if settings.output == "json" else None))


def put_done(settings: Settings, item: Json, text: str) -> None:
    """Tell what was done: `text` on stderr, and with -o json what the controller answered on stdout."""
    settings.say(text)
    if settings.output != "table":
        put_object(settings, item, ())


def table(rows: Sequence[Json], columns: Columns, indent: int = 0) -> Iterable[str]:
    """Yield the lines of a table.

    On a terminal, long cells between the first and the last are cut, and what the last has no room for goes below it.
    """
    cells = [list(columns), *([_cell(show(row)) for show in columns.values()] for row in rows)]
    widths = [max(min(len(row[i]), _WIDEST) for row in cells) for i in range(len(columns))]
    if (room := columns_of(sys.stdout)) is not None:
        widths = _narrowed(widths, room - indent)
        cells = [[row[0], *map(_cut, row[1:-1], widths[1:-1]), *row[1:][-1:]] for row in cells]
    for row in cells:
        before = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        yield from hung(" " * indent + "".join(cell + _GAP for cell in before), row[-1])


def _narrowed(widths: Sequence[int], room: int) -> list[int]:
    """Return the widths of columns with the widest between first and last made narrower, until the last has room."""
    narrowed = list(widths)
    surplus = sum(widths[:-1]) + len(_GAP) * (len(widths) - 1) + min(widths[-1], _LAST_WANTED) - room
    for _ in range(surplus):
        widest = max(range(1, len(widths) - 1), key=lambda i: narrowed[i], default=0)
        if narrowed[widest] <= _CUT_MIN or not widest:
            break
        narrowed[widest] -= 1
    return narrowed


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def fields(pairs: Iterable[tuple[str, object]], indent: int = 0) -> Iterable[str]:
    """Yield a line for each pair that has a value, names aligned; on a terminal, long values take several."""
    given = [(printable(name), _cell(value)) for name, value in pairs]
    given = [(name, text) for name, text in given if text]
    width = max((len(name) for name, _ in given), default=0)
    for name, text in given:
        yield from hung(f"{' ' * indent}{name.ljust(width)}{_GAP}", text)


def hung(before: str, text: str) -> Iterable[str]:
    """Yield `before` and a text behind it, whose further lines on a terminal begin below its first one."""
    width = columns_of(sys.stdout)
    room = len(text) if width is None or width - len(before) < _LAST_MIN else width - len(before)
    first, *others = pieces(text, room) if len(text) > room else [text]
    yield f"{before}{first}".rstrip()
    for other in others:
        yield f"{' ' * len(before)}{other}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(v) for v in value)
    return printable(str(value))


def as_json(value: object, *, indent: int | None = None) -> str:
    """Return JSON that is safe on a terminal."""
    return escaped(json.dumps(value, ensure_ascii=False, indent=indent))
