"""`wainwright group …`."""

from __future__ import annotations

import click

from wainwright_controller.cli.client import seg
from wainwright_controller.cli.confirm import confirm
from wainwright_controller.cli.device import COLUMNS as DEVICE_COLUMNS
from wainwright_controller.cli.output import Columns, fields, put_done, put_list, put_object
from wainwright_controller.cli.settings import Group, Settings, in_settings
from wainwright_controller.cli.words import ago, count

COLUMNS: Columns = {
    "NAME": lambda g: g["name"],
    "DEVICES": lambda g: g["device_count"],
    "CREATED": lambda g: ago(g["created_at"]),
}


@click.group(cls=Group)
def group() -> None:
    """Groups: lists of devices with a name. A device is in one at most."""


@group.command("list")
@in_settings
def list_(settings: Settings) -> None:
    """List groups."""
    put_list(settings, settings.client.items("groups"), COLUMNS, "No groups.")


@group.command()
@click.argument("name")
@in_settings
def show(settings: Settings, name: str) -> None:
    """Show a group."""
    found = settings.client.get(f"groups/{seg(name)}")
    put_object(
        settings,
        found,
        fields([("name", found["name"]), ("devices", found["device_count"]), ("created", ago(found["created_at"]))]),
    )


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
@in_settings
def create(settings: Settings, name: str, ids: tuple[str, ...]) -> None:
    """Make a group; a device that is in another moves over."""
    made = settings.client.post("groups", {"name": name, "ids": list(ids)})
    put_done(settings, made, f"Group {name} made, with {count(made['device_count'], 'device')}.")


@group.command()
@click.argument("name")
@click.argument("ids", metavar="DEVICE...", nargs=-1, required=True)
@in_settings
def add(settings: Settings, name: str, ids: tuple[str, ...]) -> None:
    """Add devices; one that is in another group moves over."""
    answer = settings.client.post(f"groups/{seg(name)}/add", {"ids": list(ids)})
    put_done(settings, answer, f"{count(len(ids), 'device')} added to {name}.")


@group.command()
@click.argument("name")
@click.argument("ids", metavar="DEVICE...", nargs=-1, required=True)
@in_settings
def remove(settings: Settings, name: str, ids: tuple[str, ...]) -> None:
    """Take devices out; running deployments keep them."""
    answer = settings.client.post(f"groups/{seg(name)}/remove", {"ids": list(ids)})
    put_done(settings, answer, f"{count(len(ids), 'device')} removed from {name}.")


@group.command()
@click.argument("name")
@in_settings
def delete(settings: Settings, name: str) -> None:
    """Delete a group; its devices stay."""
    found = settings.client.get(f"groups/{seg(name)}")
    consequence = f"This deletes group {name}; its {count(found['device_count'], 'device')} will be in no group."
    confirm(settings, name, "delete", consequence)
    settings.client.delete(f"groups/{seg(name)}")
    settings.say(f"Group {name} deleted.")
