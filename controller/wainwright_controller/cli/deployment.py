"""`wainwright deployment …`."""

from __future__ import annotations

from collections.abc import Iterable

import click

from wainwright_common.statuses import GOOD
from wainwright_controller.cli.client import ServerEvent, seg
from wainwright_controller.cli.confirm import confirm
from wainwright_controller.cli.deployment_create import create
from wainwright_controller.cli.device import error_of, put_log
from wainwright_controller.cli.exits import ExitCode
from wainwright_controller.cli.narration import WITHOUT, finished, opening, standing, unfinished
from wainwright_controller.cli.output import Columns, Json, fields, printable, put_done, put_list, put_object, table
from wainwright_controller.cli.settings import Group, Settings, in_settings
from wainwright_controller.cli.watch import find, follow, watch
from wainwright_controller.cli.words import Span, ago, api_stamp, count, short

FAILURES_SHOWN = 10
UNDER_WAY = ("downloading", "installing", "rebooting")

COLUMNS: Columns = {
    "ID": lambda d: short(d["id"]),
    "NAME": lambda d: d["name"],
    "RELEASE": lambda d: d["artifact_name"],
    "STATUS": standing,
    "PROGRESS": lambda d: d["summary"],
    "FAILED": lambda d: d["counts"].get("failure", 0),
    "CREATED": lambda d: ago(d["created_at"]),
}
PHASES: Columns = {
    "PHASE": lambda p: p["number"],
    "DEVICES": lambda p: p["size"],
    "WAITING": lambda p: p["counts"].get("pending", 0),
    "WORKING": lambda p: sum(p["counts"].get(status, 0) for status in UNDER_WAY),
    "SUCCEEDED": lambda p: sum(p["counts"].get(status, 0) for status in GOOD),
    "FAILED": lambda p: p["counts"].get("failure", 0),
}
PARTS: Columns = {
    "DEVICE": lambda p: p["device_id"],
    "PHASE": lambda p: p["phase"],
    "STATUS": lambda p: p["status"],
    "ATTEMPT": lambda p: p["attempt"],
    "CHANGED": lambda p: ago(p["updated_at"]),
    "DETAIL": lambda p: error_of(p) or p.get("substate"),
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


deployment.add_command(create)


@deployment.command("list")
@click.option(
    "--status",
    "statuses",
    type=click.Choice(["pending", "inprogress", "finished"]),
    multiple=True,
    help="Only these. Repeatable.",
)
@click.option("--search", metavar="TEXT", help="Only where name or release has this text.")
@click.option("--limit", type=click.IntRange(1), help="At most so many. [all]")
@in_settings
def list_(settings: Settings, statuses: tuple[str, ...], search: str | None, limit: int | None) -> None:
    """List deployments, newest first."""
    found = settings.client.items("deployments", limit=limit, status=list(statuses) or None, q=search)
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
    put_object(settings, found, _about(found, failed))


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
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the timeline.")
@in_settings
def start(settings: Settings, deployment: str, reason: str) -> None:
    """Start a deployment that waits for it."""
    _act(settings, deployment, "start", reason, "started")


@deployment.command()
@click.argument("deployment")
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the timeline.")
@in_settings
def promote(settings: Settings, deployment: str, reason: str) -> None:
    """Open the next phase, which waits for it."""
    _promote(settings, deployment, reason)


@deployment.command("approve-batch")
@click.argument("deployment")
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the timeline.")
@in_settings
def approve_batch(settings: Settings, deployment: str, reason: str) -> None:
    """Open the next batch; the same as `promote`."""
    _promote(settings, deployment, reason)


@deployment.command(short_help="End a deployment.")
@click.argument("deployment")
@click.option("--reason", metavar="TEXT", default="", help="Why; kept in the timeline.")
@in_settings
def abort(settings: Settings, deployment: str, reason: str) -> None:
    """End a deployment: devices under way stop, and roll back what they have not committed."""
    found = find(settings.client, deployment)
    if found["status"] != "finished":  # else the controller says why not, and nobody is asked in vain
        confirm(settings, found["name"], "abort", _consequence(found["counts"]))
    _act(settings, found["id"], "abort", reason, "aborted")


@deployment.command()
@click.argument("deployment")
@in_settings
def delete(settings: Settings, deployment: str) -> None:
    """Delete a finished deployment with its logs."""
    found = find(settings.client, deployment)
    if found["status"] == "finished":  # else as in `abort`
        confirm(settings, found["name"], "delete", f"This deletes {found['name']}, its timeline and its logs.")
    settings.client.delete(f"deployments/{seg(found['id'])}")
    settings.say(f"{found['name']} deleted.")


@deployment.command()
@click.argument("deployment")
@click.option("--device", "ids", metavar="ID", multiple=True, help="Only this device's. Repeatable.")
@in_settings
def logs(settings: Settings, deployment: str, ids: tuple[str, ...]) -> None:
    """Print what the devices of a deployment logged."""
    found = find(settings.client, deployment)
    path = f"deployments/{seg(found['id'])}/devices"
    devices = ids or [part["device_id"] for part in settings.client.items(path)]
    for device_id in devices:
        lines = settings.client.items(f"devices/{seg(device_id)}/logs/{seg(found['id'])}")
        if settings.output != "table":
            lines = ({"device_id": device_id} | line for line in lines)
        put_log(settings, lines, f"{device_id} " if len(devices) > 1 else "")


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


def _consequence(counts: dict[str, int]) -> str:
    """Return what an abort does to the devices that are there."""
    said = [
        (counts.get("pending", 0), "waiting will keep what they have"),
        (sum(counts.get(status, 0) for status in UNDER_WAY), "under way will stop and roll back"),
        (sum(counts.get(status, 0) for status in GOOD), "already updated will stay so"),
    ]
    told = "; ".join(f"{count(n, 'device')} {what}" for n, what in said if n)
    return f"This ends the deployment: {told}. It cannot be resumed."


def _promote(settings: Settings, reference: str, reason: str) -> None:
    """Open the next phase, and say whom of those before it nobody waits for any more."""
    found = find(settings.client, reference)
    answer = settings.client.post(f"deployments/{seg(found['id'])}/promote", {"reason": reason})
    text = f"{answer['name']} promoted: {standing(answer)}, {answer['summary']}."
    for phase in found["phases"]:
        if phase.get("opened_at") and finished(phase) < phase["size"]:
            text += f" Phase {phase['number']} still has {' and '.join(unfinished(phase['counts']))}."
    put_done(settings, answer, text)


def _act(settings: Settings, reference: str, verb: str, reason: str, done: str) -> None:
    found = find(settings.client, reference)
    answer = settings.client.post(f"deployments/{seg(found['id'])}/{verb}", {"reason": reason})
    put_done(settings, answer, f"{answer['name']} {done}: {standing(answer)}, {answer['summary']}.")


def _about(deployment: Json, failed: list[Json]) -> Iterable[str]:
    yield from fields(
        [
            ("name", deployment["name"]),
            ("id", deployment["id"]),
            ("release", deployment["artifact_name"]),
            ("to", _target(deployment)),
            ("strategy", deployment["strategy"]),
            ("status", f"{standing(deployment)}, {deployment['summary']}"),
            ("retries", deployment["retries"] or None),
            ("created", f"{ago(deployment['created_at'])} by {deployment['created_by']}"),
            ("started", ago(deployment.get("started_at"))),
            ("finished", ago(deployment.get("finished_at"))),
        ]
    )
    yield from table(deployment["phases"], _phase_columns(deployment))
    if failed:
        yield "failed:"
        yield from (f"  {line}" for line in table(failed, PARTS))
        if (more := deployment["counts"]["failure"] - len(failed)) > 0:
            yield f"  and {more} more: wainwright deployment show {short(deployment['id'])} --devices"


def _target(deployment: Json) -> str:
    devices = count(deployment["device_count"], "device")
    return devices if deployment["target"] == devices else f"{deployment['target']}, {devices}"


def _phase_columns(deployment: Json) -> Columns:
    """Return the columns of a deployment's phases; the rare ones where there is something in them."""
    is_over = deployment["status"] == "finished"
    rare: Columns = {
        word.upper(): lambda p, status=status: p["counts"].get(status, 0)  # type: ignore[misc]  # bound for the loop
        for status, word in WITHOUT.items()
        if status != "failure" and deployment["counts"].get(status)
    }
    return {**PHASES, **rare, "": lambda p: opening(p, is_over=is_over)}
