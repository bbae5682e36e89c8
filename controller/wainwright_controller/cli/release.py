"""`wainwright release …`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from wainwright_controller.cli.artifact import COLUMNS as ARTIFACT_COLUMNS
from wainwright_controller.cli.client import seg
from wainwright_controller.cli.confirm import confirm
from wainwright_controller.cli.output import Columns, Json, fields, put_list, put_object, table
from wainwright_controller.cli.settings import Group, Settings, in_settings
from wainwright_controller.cli.words import ago, count, size

COLUMNS: Columns = {
    "NAME": lambda r: r["name"],
    "ARTIFACTS": lambda r: r["artifact_count"],
    "TYPES": lambda r: r["device_types"],
    "SIZE": lambda r: size(r["size"]),
    "RUNS ON": lambda r: count(r["running"], "device"),
    "UPLOADED": lambda r: ago(r["created_at"]),
}


@click.group(cls=Group, short_help="Releases: all artifacts of one name.")
def release() -> None:
    """Releases: all artifacts of one name, for all device types together."""


@release.command("list")
@click.option("--search", metavar="TEXT", help="Only where the name has this text.")
@in_settings
def list_(settings: Settings, search: str | None) -> None:
    """List releases."""
    put_list(settings, settings.client.items("releases", q=search), COLUMNS, "No releases.")


@release.command()
@click.argument("name")
@in_settings
def show(settings: Settings, name: str) -> None:
    """Show a release with its artifacts."""
    found = settings.client.get(f"releases/{seg(name)}")
    put_object(settings, found, _about(found))


@release.command()
@click.argument("name")
@in_settings
def delete(settings: Settings, name: str) -> None:
    """Delete all artifacts of a release."""
    found = settings.client.get(f"releases/{seg(name)}")
    consequence = f"This deletes release {name} with {count(found['artifact_count'], 'artifact')}."
    confirm(settings, name, "delete", consequence)
    settings.client.delete(f"releases/{seg(name)}")
    settings.say(f"Release {name} deleted.")


def _about(release: Json) -> Iterable[str]:
    yield from fields(
        [
            ("name", release["name"]),
            ("types", release["device_types"]),
            ("size", size(release["size"])),
            ("uploaded", ago(release["created_at"])),
            ("runs on", count(release["running"], "device")),
            ("needed by", release["deployments"]),
        ]
    )
    columns = {name: show for name, show in ARTIFACT_COLUMNS.items() if name != "RELEASE"}
    yield from table(release["artifacts"], columns)
    if release["running"]:
        yield f"""What runs it: wainwright device list --where 'artifact_name = "{release["name"]}"'"""
