"""`wainwright deployment …`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from wainwright_common.statuses import DeviceStatus
from wainwright_controller.cli.client import ServerEvent, seg
from wainwright_controller.cli.deployment_actions import ACTIONS
from wainwright_controller.cli.deployment_create import create, plan
from wainwright_controller.cli.deployment_show import PARTS, about
from wainwright_controller.cli.device import put_log
from wainwright_controller.cli.exits import ExitCode
from wainwright_controller.cli.narration import progress, standing
from wainwright_controller.cli.output import Columns, Json, printable, put_list, put_object
from wainwright_controller.cli.settings import Group, Settings, in_settings
from wainwright_controller.cli.watch import find, follow, watch
from wainwright_controller.cli.words import Moment, Span, ago, api_stamp, short, stamp

FAILURES_SHOWN = 10  # different ones
NO_FAILURES: Json = {"items": [], "total": 0}
SORTS = [f"{sign}{key}" for key in ("created", "updated", "name", "status") for sign in ("", "-")]

COLUMNS: Columns = {
    "ID": lambda d: short(d["id"]),
    "NAME": lambda d: d["name"],
    "RELEASE": lambda d: d["artifact_name"],
    "STATUS": standing,
    "CREATED": lambda d: ago(d["created_at"]),
    "PROGRESS": lambda d: progress(d, "failure"),
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
@click.option("--devices", "lists_devices", is_flag=True, help="List its devices instead.")
@click.option(
    "--status",
    "statuses",
    type=click.Choice([status.value for status in DeviceStatus]),
    multiple=True,
    help="With --devices: only those that stand there. Repeatable.",
)
@in_settings
def show(settings: Settings, deployment: str, lists_devices: bool, statuses: tuple[str, ...]) -> None:  # noqa: FBT001  click passes options by name
    """Show how far a deployment is, and why devices failed in it."""
    if statuses and not lists_devices:
        raise click.UsageError("--status is about devices: give --devices, too.")
    found = find(settings.client, deployment)
    path = f"deployments/{seg(found['id'])}"
    if lists_devices:
        devices = settings.client.items(f"{path}/devices", status=list(statuses) or None)
        put_list(settings, devices, PARTS, "It has no such devices." if statuses else "It has no devices.")
        return
    failures = NO_FAILURES
    if settings.output == "table" and (found["counts"].get("failure") or found["retries"]):
        failures = settings.client.get(f"{path}/failures", limit=FAILURES_SHOWN)
    put_object(settings, found, about(found, failures))


@deployment.command("watch", short_help="Follow a deployment to its end.")
@click.argument("deployment")
@click.option("--timeout", "timeout_s", type=Span(), help="Stop watching after so long, with exit code 8.")
@click.option(
    "--until-held", is_flag=True, help="Stop, with exit code 8, when a person has to act: a pause, a promotion."
)
@in_settings
def watch_(settings: Settings, deployment: str, timeout_s: float | None, until_held: bool) -> int:  # noqa: FBT001  click passes options by name
    """Follow a deployment to its end: bars on a terminal, else one sentence for each change.

    Ctrl+C stops watching; the deployment goes on. Exit code 0 when it succeeds, 1 when it does not.
    """
    found = find(settings.client, deployment)
    return watch(settings, found["id"], after="now", timeout_s=timeout_s, until_held=until_held)


@deployment.command()
@click.argument("deployment")
@click.option("--device", "ids", metavar="ID", multiple=True, help="Only this device's. Repeatable.")
@click.option("--failed", is_flag=True, help="Only of the devices that failed.")
@in_settings
def logs(settings: Settings, deployment: str, ids: tuple[str, ...], failed: bool) -> None:  # noqa: FBT001  click passes options by name
    """Print what the devices of a deployment logged."""
    if ids and failed:
        raise click.UsageError("Name devices, or give --failed.")
    found = find(settings.client, deployment)
    if failed and not found["counts"].get("failure"):
        settings.say("No device has failed in it.")
        return
    path = f"deployments/{seg(found['id'])}/logs"
    lines = settings.client.items(path, device=list(ids) or None, status="failure" if failed else None)
    put_log(settings, lines, names_devices=len(ids) != 1 and found["device_count"] != 1)


@deployment.command(short_help="Print the timeline of a deployment.")
@click.argument("deployment")
@click.option("--brief", is_flag=True, help="Leave out what single devices do.")
@click.option("--device", metavar="ID", help="Only what this device does.")
@click.option("--follow", "follows", is_flag=True, help="Go on until the deployment is finished.")
@in_settings
def events(settings: Settings, deployment: str, brief: bool, device: str | None, follows: bool) -> int:  # noqa: FBT001  click passes options by name
    """Print the timeline of a deployment: who did what, and what came of it."""
    if brief and device is not None:
        raise click.UsageError("--brief leaves all devices out: give it, or --device.")
    found = find(settings.client, deployment)
    if not follows:
        path = f"deployments/{seg(found['id'])}/timeline"
        timeline = settings.client.items(path, devices="false" if brief else None, device=device)
        columns = {name: show for name, show in EVENTS.items() if not (brief and name == "DEVICE")}
        put_list(settings, timeline, columns, "Nothing has happened.")
        return ExitCode.DONE
    for event in follow(settings, found["id"], after=0, timeout_s=None):
        about = event.data.get("device_id")
        if event.kind == "timeline" and (about is None if brief else device in {None, about}):
            _put_event(settings, event)
    return ExitCode.DONE


def _put_event(settings: Settings, event: ServerEvent) -> None:
    if settings.output == "table":
        click.echo(printable("  ".join(str(show(event.data) or "-") for show in EVENTS.values())))
    else:
        put_object(settings, event.data, ())
