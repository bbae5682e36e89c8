"""`wainwright token …`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import click

from wainwright_controller.cli.client import seg
from wainwright_controller.cli.confirm import confirm
from wainwright_controller.cli.output import Columns, put_list, put_object
from wainwright_controller.cli.settings import Group, Settings, in_settings
from wainwright_controller.cli.words import ago, moment_of, span_s

COLUMNS: Columns = {
    "ID": lambda t: t["id"],
    "USER": lambda t: t["user"],
    "NOTE": lambda t: t.get("note"),
    "CREATED": lambda t: ago(t["created_at"]),
    "USED": lambda t: ago(t.get("last_used_at")),
    "EXPIRES": lambda t: ago(t.get("expires_at")),
    "REVOKED": lambda t: ago(t.get("revoked_at")),
}


class Expiry(click.ParamType[datetime]):
    """A span of time from now (90d), or a time (2027-01-01T00:00Z). Gives an aware datetime."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401  click's signature
        """Return the time."""
        moment = value if isinstance(value, datetime) else _expiry(value)
        if moment is None:
            self.fail(f"{value!r} is neither a span nor a time: write 90d, or 2027-01-01T00:00Z.", param, ctx)
        return moment


def _expiry(text: str) -> datetime | None:
    seconds = span_s(text)
    try:
        return moment_of(text) if seconds is None else datetime.now(UTC) + timedelta(seconds=seconds)
    except OverflowError:  # beyond the year 9999
        return None


@click.group(cls=Group, short_help="Tokens: how users show who they are.")
def token() -> None:
    """Tokens: how users show who they are. One begins with wwt_ID_, by which it is known again."""


@token.command("list")
@click.option("--user", metavar="NAME", help="Only those of this user.")
@in_settings
def list_(settings: Settings, user: str | None) -> None:
    """List tokens, the revoked ones too."""
    put_list(settings, settings.client.items("tokens", user=user), COLUMNS, "No tokens.")


@token.command()
@click.option("--user", metavar="NAME", required=True, help="Whose token it is.")
@click.option("--expires", type=Expiry(), help="When it expires: 90d, or a time. Else it holds until it is revoked.")
@click.option("--note", metavar="TEXT", default="", help="What it is for, for the list.")
@in_settings
def create(settings: Settings, user: str, expires: datetime | None, note: str) -> None:
    """Make a token, and print it on stdout this once."""
    body = {"user": user, "note": note}
    if expires is not None:
        body["expires_at"] = expires.isoformat()
    made = settings.client.post("tokens", body)
    settings.say(f"Token {made['id']} of {user}; it is shown this once, and kept nowhere:")
    put_object(settings, made, [made["token"]])


@token.command()
@click.argument("token_id", metavar="ID")
@in_settings
def revoke(settings: Settings, token_id: str) -> None:
    """End a token, at once and for good."""
    confirm(settings, token_id, "revoke", f"This ends token {token_id}: whoever uses it is refused from now on.")
    settings.client.post_nothing(f"tokens/{seg(token_id)}/revoke")
    settings.say(f"Token {token_id} revoked.")
