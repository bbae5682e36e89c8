"""`wainwright group …`."""

from __future__ import annotations

import click

from wainwright_controller.cli.client import seg
from wainwright_controller.cli.confirm import confirm
from wainwright_controller.cli.device import COLUMNS as DEVICE_COLUMNS
from wainwright_controller.cli.output import Columns, Json, fields, put_done, put_list, put_object
from wainwright_controller.cli.settings import Group, Settings, in_settings
from wainwright_controller.cli.words import ago, count

SHOWN = 20  # members that `show` lists: a terminal's height, with what is above
COLUMNS: Columns = {
    "NAME": lambda g: g["name"],
    "KIND": lambda g: g["kind"],
    "DEVICES": lambda g: g["device_count"],
    "CREATED": lambda g: ago(g["created_at"]),
    "FILTER": lambda g: g.get("where"),
}


@click.group(cls=Group)
def group() -> None:
    """Groups: devices with a name.

    A static group is a list; a device is in one at most. A dynamic group is a filter: whatever meets it is in it, for
    as long as it does. docs/filters.md has the language.
    """


@group.command("list")
@in_settings
def list_(settings: Settings) -> None:
    """List groups."""
    put_list(settings, settings.client.items("groups"), COLUMNS, "No groups.")


@group.command()
@click.argument("name")
@in_settings
def show(settings: Settings, name: str) -> None:
    """Show a group, and the first of its present members."""
    found = settings.client.get(f"groups/{seg(name)}")
    first = [d["id"] for d in settings.client.items("devices", limit=SHOWN, group=name)]
    about = [
        ("name", found["name"]),
        ("kind", found["kind"]),
        ("filter", found.get("where")),
        ("devices", found["device_count"]),
        ("created", ago(found["created_at"])),
    ]
    more = found["device_count"] - len(first)
    ending = [f"  and {more} more: wainwright group members {name}"] if more > 0 else []
    listed = ["members:", *(f"  {i}" for i in first), *ending] if first else []
    put_object(settings, found, [*fields(about), *listed])


@group.command()
@click.argument("name")
@in_settings
def members(settings: Settings, name: str) -> None:
    """List the devices of a group."""
    settings.client.get(f"groups/{seg(name)}")  # or a group that does not exist would look empty
    put_list(settings, settings.client.items("devices", group=name), DEVICE_COLUMNS, f"{name} has no devices.")


@group.command()
@click.argument("name")
@click.option("--device", "ids", metavar="ID", multiple=True, help="A device to begin with. Repeatable.")
@click.option("--where", metavar="FILTER", help="Make a dynamic group, of all that meet this filter at any time.")
@in_settings
def create(settings: Settings, name: str, ids: tuple[str, ...], where: str | None) -> None:
    """Make a group; a device that is in another static one moves over."""
    if where is not None and ids:
        raise click.UsageError("A group is a list or a filter: give --device or --where.")
    body: Json = {"name": name, "ids": list(ids)}
    made = settings.client.post("groups", body if where is None else body | {"where": where})
    put_done(settings, made, f"Group {name} made, with {count(made['device_count'], 'device')}.")


@group.command()
@click.argument("name")
@click.option("--where", metavar="FILTER", required=True, help="The new filter.")
@in_settings
def change(settings: Settings, name: str, where: str) -> None:
    """Give a dynamic group another filter."""
    made = settings.client.put(f"groups/{seg(name)}/filter", {"where": where})
    put_done(settings, made, f"Group {name} changed; it has {count(made['device_count'], 'device')} now.")


@group.command()
@click.argument("name")
@click.argument("ids", metavar="DEVICE...", nargs=-1, required=True)
@in_settings
def add(settings: Settings, name: str, ids: tuple[str, ...]) -> None:
    """Add devices to a static group; one that is in another moves over."""
    answer = settings.client.post(f"groups/{seg(name)}/add", {"ids": list(ids)})
    put_done(settings, answer, f"{count(len(ids), 'device')} added to {name}.")


@group.command()
@click.argument("name")
@click.argument("ids", metavar="DEVICE...", nargs=-1, required=True)
@in_settings
def remove(settings: Settings, name: str, ids: tuple[str, ...]) -> None:
    """Take devices out of a static group; running deployments keep them."""
    answer = settings.client.post(f"groups/{seg(name)}/remove", {"ids": list(ids)})
    put_done(settings, answer, f"{count(len(ids), 'device')} removed from {name}.")


@group.command()
@click.argument("name")
@in_settings
def delete(settings: Settings, name: str) -> None:
    """Delete a group; its devices stay."""
    found = settings.client.get(f"groups/{seg(name)}")
    devices = count(found["device_count"], "device")
    tail = f"its {devices} will be in no group" if found["kind"] == "static" else f"{devices} meet its filter now"
    consequence = f"This deletes group {name}; {tail}."
    confirm(settings, name, "delete", consequence)
    settings.client.delete(f"groups/{seg(name)}")
    settings.say(f"Group {name} deleted.")
