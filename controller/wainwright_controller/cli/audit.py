"""`wainwright audit …`."""

from __future__ import annotations

from datetime import datetime

import click

from wainwright_controller.cli.exits import ExitCode
from wainwright_controller.cli.output import Columns, Json, as_json, put_csv, put_list, put_object
from wainwright_controller.cli.settings import CsvCommand, Group, Settings, in_settings
from wainwright_controller.cli.words import Moment, ago, count, stamp

LIMIT = 50  # entries of a table, for a person; a file gets all of them


def _verdict(entry: Json) -> str:
    return f"refused: {entry['code']}" if "code" in entry else str(entry["verdict"])


def _change(entry: Json) -> str:
    """Return what differs, as `thing.field: before → after`."""
    parts = []
    for thing in dict.fromkeys([*entry["before"], *entry["after"]]):
        before, after = entry["before"].get(thing), entry["after"].get(thing)
        if isinstance(before, dict) and isinstance(after, dict):
            fields = ", ".join(f"{k}: {before.get(k, '')} → {after.get(k, '')}" for k in {**before, **after})
            parts.append(fields)
        elif thing == "and more":
            parts.append(f"and {after} more")
        else:
            parts.append("made" if before is None else "removed")
    return "; ".join(dict.fromkeys(parts))


COLUMNS: Columns = {
    "NO": lambda e: e["number"],
    "WHEN": lambda e: ago(e["at"]),
    "WHO": lambda e: e["who"],
    "FROM": lambda e: e["address"],
    "ACTION": lambda e: e["action"],
    "OBJECT": lambda e: e["object"],
    "CHANGE": _change,
    "VERDICT": _verdict,
}
CSV: Columns = {
    "number": lambda e: e["number"],
    "at": lambda e: e["at"],
    "who": lambda e: e["who"],
    "role": lambda e: e["role"],
    "address": lambda e: e["address"],
    "action": lambda e: e["action"],
    "object": lambda e: e["object"],
    "before": lambda e: as_json(e["before"]),
    "after": lambda e: as_json(e["after"]),
    "verdict": lambda e: e["verdict"],
    "code": lambda e: e.get("code"),
    "hash": lambda e: e["hash"],
}


@click.group(cls=Group, short_help="The audit log: who changed what, and who was refused.")
def audit() -> None:
    """The audit log: who changed what, and who was refused."""


@audit.command("list", cls=CsvCommand)
@click.option("--who", metavar="NAME", help="Only what this person did.")
@click.option("--action", metavar="TEXT", help="Only actions that have this text, such as deployment.")
@click.option("--object", "object_", metavar="TEXT", help="Only objects whose name has this text.")
@click.option("--refused", is_flag=True, help="Only what was refused.")
@click.option("--since", type=Moment(), help="Only from this time on.")
@click.option("--until", type=Moment(), help="Only before this time.")
@click.option("--limit", type=click.IntRange(min=1), help=f"The newest so many. [a table: {LIMIT}; else all]")
@in_settings
def list_(
    settings: Settings,
    who: str | None,
    action: str | None,
    object_: str | None,
    refused: bool,  # noqa: FBT001  click names it
    since: datetime | None,
    until: datetime | None,
    limit: int | None,
) -> None:
    """List changes and refusals, newest first; -o csv is for spreadsheets."""
    entries = settings.client.items(
        "audit",
        limit or (LIMIT if settings.output == "table" else None),
        who=who,
        action=action,
        object=object_,
        verdict="refused" if refused else None,
        since=stamp(since) if since else None,
        until=stamp(until) if until else None,
    )
    if settings.output == "csv":
        put_csv(entries, CSV)
    else:
        put_list(settings, entries, COLUMNS, "No entries.")


@audit.command()
@click.option("--anchor", metavar="NUMBER:HASH", help="An entry noted elsewhere: is it still in the log?")
@in_settings
def verify(settings: Settings, anchor: str | None) -> int:
    """Compute the chain of hashes: exit code 0 if the log is whole, 1 if it was cut or changed."""
    found = settings.client.get("audit/verify", anchor=anchor)
    if found["whole"]:
        lines = [f"The audit log is whole: {count(found['entries'], 'entry', 'entries')}.", f"anchor {found['anchor']}"]
    else:
        lines = [f"The audit log is NOT whole. {found['fault']}", f"whole up to {found['anchor']}"]
    put_object(settings, found, lines)
    return ExitCode.DONE if found["whole"] else ExitCode.FAILED
