"""`wainwright deployment …`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from wainwright_controller.cli.client import ServerEvent, seg
from wainwright_controller.cli.deployment_actions import ACTIONS
from wainwright_controller.cli.deployment_create import create, plan
from wainwright_controller.cli.deployment_show import PARTS, about
from wainwright_controller.cli.device import put_log
from wainwright_controller.cli.exits import ExitCode
from wainwright_controller.cli.narration import standing
from wainwright_controller.cli.output import Columns, Json, printable, put_list, put_object
from wainwright_controller.cli.settings import Group, Settings, in_settings
from wainwright_controller.cli.watch import find, follow, watch
from wainwright_controller.cli.words import Moment, Span, ago, api_stamp, short, stamp

FAILURES_SHOWN = 10
SORTS = [f"{sign}{key}" for key in ("created", "updated", "name", "status") for sign in ("", "-")]

COLUMNS: Columns = {
    "ID": lambda d: short(d["id"]),
    "NAME": lambda d: d["name"],
    "RELEASE": lambda d: d["artifact_name"],
    "STATUS": standing,
    "PROGRESS": lambda d: d["summary"],
    "FAILED": lambda d: d["counts"].get("failure", 0),
    "CREATED": lambda d: ago(d["created_at"]),
}
EVENTS: Columns = {
    "AT": lambda e: api_stamp(e["at"]),
    "WHO": lambda e: e["actor"],
    "DEVICE": lambda e: e.get("device_id"),
    "WHAT": lambda e: e["text"],
}


@click.group(cls=Group)
def deployment() -> None:
    """Deployments: roll releases out, watch them, stop them.

    DEPLOYMENT is an id, the beginning of one (4 characters or more), or a name.
    """


for _command in (create, plan, *ACTIONS):
    deployment.add_command(_command)


@deployment.command("list")
@click.option(
    "--status",
    type=click.Choice(["pending", "inprogress", "finished"]),
    multiple=True,
    help="Only these. Repeatable.",
)
@click.option(
    "--strategy",
    type=click.Choice(["immediate", "canary", "rolling", "phased"]),
    multiple=True,
    help="Only these. Repeatable.",
)
@click.option("--search", "q", metavar="TEXT", help="Only where name or release has this text.")
@click.option("--release", metavar="NAME", help="Only of exactly this release.")
@click.option("--creator", metavar="WHO", help="Only those that this person made.")
@click.option("--since", type=Moment(), help="Only those made at this time or later.")
@click.option("--until", type=Moment(), help="Only those made before this time.")
@click.option(
    "--sort", type=click.Choice(SORTS), default="-created", show_default=True, help="By what; - is downwards."
)
@click.option("--limit", type=click.IntRange(1), help="At most so many. [all]")
@in_settings
def list_(
    settings: Settings,
    /,
    *,
    since: datetime | None,
    until: datetime | None,
    **filters: Any,  # noqa: ANN401  as the API takes them
) -> None:
    """List deployments, newest first unless --sort says otherwise."""
    times = {"since": stamp(since) if since else None, "until": stamp(until) if until else None}
    found = settings.client.items("deployments", **filters | times)
    put_list(settings, found, COLUMNS, "No deployments.")


@deployment.command()
@click.argument("deployment")
@click.option("--devices", "lists_devices", is_flag=True, help="List all its devices instead.")
@in_settings
def show(settings: Settings, deployment: str, lists_devices: bool) -> None:  # noqa: FBT001  click passes options by name
    """Show how far a deployment is."""
    found = find(settings.client, deployment)
    path = f"deployments/{seg(found['id'])}/devices"
    if lists_devices:
        put_list(settings, settings.client.items(path), PARTS, "It has no devices.")
        return
    failed: list[Json] = []
    if settings.output == "table" and found["counts"].get("failure"):
        failed = list(settings.client.items(path, limit=FAILURES_SHOWN, status="failure"))
    put_object(settings, found, about(found, failed))


@deployment.command("watch", short_help="Follow a deployment to its end.")
@click.argument("deployment")
@click.option("--timeout", "timeout_s", type=Span(), help="Stop watching after so long, with exit code 8.")
@in_settings
def watch_(settings: Settings, deployment: str, timeout_s: float | None) -> int:
    """Follow a deployment to its end: bars on a terminal, else one sentence for each change.

    Ctrl+C stops watching; the deployment goes on. Exit code 0 when it succeeds, 1 when it does not.
    """
    return watch(settings, find(settings.client, deployment)["id"], after="now", timeout_s=timeout_s)


@deployment.command()
@click.argument("deployment")
@click.option("--device", "ids", metavar="ID", multiple=True, help="Only this device's. Repeatable.")
@in_settings
def logs(settings: Settings, deployment: str, ids: tuple[str, ...]) -> None:
    """Print what the devices of a deployment logged."""
    found = find(settings.client, deployment)
    path = f"deployments/{seg(found['id'])}/devices"
    devices = ids or [part["device_id"] for part in settings.client.items(path)]
    logs = ((i, settings.client.items(f"devices/{seg(i)}/logs/{seg(found['id'])}")) for i in devices)
    if settings.output != "table":
        put_list(settings, ({"device_id": i} | line for i, lines in logs for line in lines), {}, "")
        return
    printed = [put_log(settings, lines, f"{i} " if len(devices) > 1 else "") for i, lines in logs]
    if not any(printed):
        settings.say("The devices have logged nothing.")


@deployment.command(short_help="Print the timeline of a deployment.")
@click.argument("deployment")
@click.option("--follow", "follows", is_flag=True, help="Go on until the deployment is finished.")
@in_settings
def events(settings: Settings, deployment: str, follows: bool) -> int:  # noqa: FBT001  click passes options by name
    """Print the timeline of a deployment: who did what, and what came of it."""
    found = find(settings.client, deployment)
    if not follows:
        timeline = settings.client.items(f"deployments/{seg(found['id'])}/timeline")
        put_list(settings, timeline, EVENTS, "Nothing has happened.")
        return ExitCode.DONE
    for event in follow(settings, found["id"], after=0, timeout_s=None):
        _put_event(settings, event)
    return ExitCode.DONE


def _put_event(settings: Settings, event: ServerEvent) -> None:
    if event.kind != "timeline":
        return
    if settings.output == "table":
        click.echo(printable("  ".join(str(show(event.data) or "-") for show in EVENTS.values())))
    else:
        put_object(settings, event.data, ())
