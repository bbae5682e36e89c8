"""`wainwright enrolment …`: who asks for certificates, and the tokens that answer without a person."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import click

from wainwright_controller.cli.client import seg
from wainwright_controller.cli.confirm import confirm
from wainwright_controller.cli.output import Columns, Json, put_list, put_object
from wainwright_controller.cli.settings import Group, Settings, in_settings
from wainwright_controller.cli.token import Expiry
from wainwright_controller.cli.words import ago, count

STATES = ("pending", "accepted", "replaced", "revoked")
REASONS = ("key-compromise", "superseded", "unspecified")
EXPIRY = timedelta(days=7)  # of a token, if nothing is said: it lies about in installers' pockets
KEYS: Columns = {
    "DEVICE": lambda k: k["device"],
    "KEY": lambda k: k["digest"],
    "STATE": lambda k: k["state"],
    "ASKED": lambda k: ago(k.get("last_asked_at")),
    "FROM": lambda k: k.get("address"),
    "DECIDED BY": lambda k: k.get("decided_by"),
}
TOKENS: Columns = {
    "ID": lambda t: t["id"],
    "USED": lambda t: f"{t['used']} of {t['budget']}",
    "DEVICE": lambda t: t.get("device"),
    "NOTE": lambda t: t.get("note"),
    "CREATED BY": lambda t: t["created_by"],
    "EXPIRES": lambda t: ago(t["expires_at"]),
    "REVOKED": lambda t: ago(t.get("revoked_at")),
}
CERTIFICATES: Columns = {
    "SERIAL": lambda c: c["serial"],
    "NAME": lambda c: c["name"],
    "ISSUED": lambda c: ago(c["issued_at"]),
    "ENDS": lambda c: ago(c["ends_at"]),
    "KEY": lambda c: c["key"][:16],
    "REVOKED": lambda c: f"{ago(c['revoked_at'])}: {c['reason']}" if c.get("revoked_at") else None,
}


def about_key(key: Json) -> str:
    """Say of a key what it is good for, and since when."""
    asked = f", asked {ago(key['last_asked_at'])}" if key.get("last_asked_at") else ""
    place = f" from {key['address']}" if key.get("address") else ""
    by = f", decided by {key['decided_by']}" if key.get("decided_by") else ""
    return f"{key['state']}{asked}{place}{by}"


@click.group(cls=Group)
def enrolment() -> None:
    """How devices get their certificates: who asks for one, and tokens by which they are accepted."""


@enrolment.command("list")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only these. Repeatable. [pending]")
@in_settings
def list_(settings: Settings, states: tuple[str, ...]) -> None:
    """List the keys that ask for a device's name, or had one.

    `wainwright device accept DEVICE` lets the device in whose key this is; compare the key with what `wain test` shows.
    """
    found = settings.client.items("enrolment/keys", state=list(states) or ["pending"])
    put_list(settings, found, KEYS, "No device waits." if not states else "No keys.")


@enrolment.group(cls=Group)
def token() -> None:
    """Tokens of enrolment: a device that brings one is accepted at once. One begins with wwe_ID_."""


@token.command()
@click.option("--expires", type=Expiry(), help="When it expires: 2h, 7d, or a time. [7d]")
@click.option("--budget", type=click.IntRange(1, 1_000_000), default=1, show_default=True, help="For so many devices.")
@click.option("--device", metavar="ID", help="For this device alone.")
@click.option("--note", metavar="TEXT", default="", help="What it is for, for the list.")
@in_settings
def create(settings: Settings, expires: datetime | None, budget: int, device: str | None, note: str) -> None:
    """Make a token, and print it on stdout this once."""
    body = {"expires_at": (expires or datetime.now(UTC) + EXPIRY).isoformat(), "budget": budget, "note": note}
    made = settings.client.post("enrolment/tokens", body | ({"device": device} if device else {}))
    whom = device or count(budget, "device")
    settings.say(f"Token {made['id']} for {whom}, {ago(made['expires_at'])} it ends; shown this once, kept nowhere:")
    put_object(settings, made, [made["token"]])


@token.command("list")
@in_settings
def list_tokens(settings: Settings) -> None:
    """List tokens, the used and revoked ones too."""
    put_list(settings, settings.client.items("enrolment/tokens"), TOKENS, "No tokens.")


@token.command()
@click.argument("token_id", metavar="ID")
@in_settings
def revoke(settings: Settings, token_id: str) -> None:
    """End a token; devices that were accepted by it stay."""
    confirm(settings, token_id, "revoke", f"This ends token {token_id}: no further device is accepted by it.")
    settings.client.post_nothing(f"enrolment/tokens/{seg(token_id)}/revoke")
    settings.say(f"Token {token_id} revoked.")
