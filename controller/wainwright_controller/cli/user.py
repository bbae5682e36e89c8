"""`wainwright user …`."""

from __future__ import annotations

import click

from wainwright_controller.cli.client import seg
from wainwright_controller.cli.confirm import confirm
from wainwright_controller.cli.output import Columns, put_done, put_list
from wainwright_controller.cli.settings import Group, Settings, in_settings
from wainwright_controller.cli.words import ago

ROLES = click.Choice(["viewer", "operator", "admin"])
COLUMNS: Columns = {
    "NAME": lambda u: u["name"],
    "ROLE": lambda u: u["role"],
    "CREATED": lambda u: ago(u["created_at"]),
    "BY": lambda u: u["created_by"],
    "REVOKED": lambda u: ago(u.get("revoked_at")),
}


@click.group(cls=Group, short_help="Users: who may look, operate, or administer.")
def user() -> None:
    """Users: viewers look, operators run the fleet, admins also manage people and read the audit log."""


@user.command("list")
@in_settings
def list_(settings: Settings) -> None:
    """List users, the revoked ones too."""
    put_list(settings, settings.client.items("users"), COLUMNS, "No users.")


@user.command()
@click.argument("name")
@click.option("--role", type=ROLES, required=True, help="What the user may do.")
@in_settings
def create(settings: Settings, name: str, role: str) -> None:
    """Make a user. A name is used once, for good: the audit log means one person by it."""
    made = settings.client.post("users", {"name": name, "role": role})
    put_done(settings, made, f"User {name} made, as {role}. Next: wainwright token create --user {name}")


@user.command("role")
@click.argument("name")
@click.argument("role", type=ROLES)
@in_settings
def change_role(settings: Settings, name: str, role: str) -> None:
    """Give a user another role, from the next request on."""
    changed = settings.client.post(f"users/{seg(name)}/role", {"role": role})
    put_done(settings, changed, f"User {name} is {role} now.")


@user.command()
@click.argument("name")
@in_settings
def revoke(settings: Settings, name: str) -> None:
    """End a user with all his tokens, at once and for good."""
    confirm(settings, name, "revoke", f"This ends user {name} with all tokens; the name cannot be used again.")
    gone = settings.client.post(f"users/{seg(name)}/revoke")
    put_done(settings, gone, f"User {name} revoked.")
