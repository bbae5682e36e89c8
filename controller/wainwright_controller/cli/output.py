"""Data on stdout: tables for people, JSON for programs."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import click

from wainwright_controller.cli.settings import Settings

Json = dict[str, Any]
Columns = Mapping[str, Callable[[Json], object]]
_GAP = "  "
_C1 = re.compile("[\x7f-\x9f]")
FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # and those of East Asian widths
_WIDEST = 60  # characters of a cell that count for a column's width; longer ones stick out


def put_list(settings: Settings, items: Iterable[Json], columns: Columns, nothing: str) -> None:
    """Print a list; `nothing` is said on stderr when it is empty."""
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
        settings.say(nothing)


def put_csv(items: Iterable[Json], columns: Columns) -> None:
    """Print a list as CSV (RFC 4180), for spreadsheets."""
    for row in [list(columns), *([_csv_cell(show(item)) for show in columns.values()] for item in items)]:
        line = io.StringIO()
        csv.writer(line).writerow(row)
        click.echo(line.getvalue(), nl=False)


def _csv_cell(value: object) -> str:
    """Return a cell that no spreadsheet takes for a formula (OWASP, CSV injection): a device may be called `=1+1`."""
    text = _cell(value)
    return f"'{text}" if text.startswith(FORMULA) else text


def put_object(settings: Settings, item: Json, lines: Iterable[str]) -> None:
    """Print one thing: `lines` for people."""
    if settings.output == "table":
        for line in lines:
            click.echo(printable(line))
    else:
        click.echo(as_json(item, indent=2 if settings.output == "json" else None))


def put_done(settings: Settings, item: Json, text: str) -> None:
    """Tell what was done: `text` on stderr, and with -o json what the controller answered on stdout."""
    settings.say(text)
    if settings.output != "table":
        put_object(settings, item, ())


def table(rows: Sequence[Json], columns: Columns) -> Iterable[str]:
    """Yield the lines of a table."""
    cells = [list(columns), *([_cell(show(row)) for show in columns.values()] for row in rows)]
    widths = [max(min(len(row[i]), _WIDEST) for row in cells) for i in range(len(columns))]
    for row in cells:
        yield _GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def fields(pairs: Iterable[tuple[str, object]]) -> Iterable[str]:
    """Yield one line for each pair that has a value, names aligned."""
    given = [(printable(name), _cell(value)) for name, value in pairs]
    given = [(name, text) for name, text in given if text]
    width = max((len(name) for name, _ in given), default=0)
    for name, text in given:
        yield f"{name.ljust(width)}{_GAP}{text}"


def _cell(value: object) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(_cell(v) for v in value)
    return printable(str(value))


def as_json(value: object, *, indent: int | None = None) -> str:
    """Return JSON that is safe on a terminal: with the C1 controls escaped, which JSON does not ask for."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return _C1.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def printable(text: str) -> str:
    """Return a text on one line and without control sequences: a device may send anything."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
