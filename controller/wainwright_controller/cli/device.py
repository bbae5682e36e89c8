"""`wainwright device …` and `wainwright why`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import click

from wainwright_controller.cli.client import seg
from wainwright_controller.cli.confirm import confirm
from wainwright_controller.cli.enrolment import CERTIFICATES, REASONS, about_key
from wainwright_controller.cli.exits import CliError, ExitCode
from wainwright_controller.cli.filters import nobody
from wainwright_controller.cli.output import Columns, Json, fields, hung, printable, put_done, put_list, put_object
from wainwright_controller.cli.settings import Command, Group, Settings, in_settings
from wainwright_controller.cli.tags import label, unlabel
from wainwright_controller.cli.words import ago, api_stamp, count, short

STATES = ("pending", "accepted", "rejected", "decommissioned")
UNKNOWN = "unknown-device"  # the code of an answer about a device that nobody has heard of
FAILED = "failed"  # the code of an answer about a device that failed in its last deployment
BY_HAND = "by-hand"  # the kind of timeline line that says what a technician installed
IDS_AT_ONCE = 10_000  # in one request


def error_of(part: Json) -> str:
    """Return the error of a device's part in a deployment, and when it tries again."""
    error = part.get("error")
    text = f"{error['code']}: {error['text']}" if error else ""
    again = part.get("next_attempt_at")
    return f"{text}; tries again {ago(again)}" if again else text


COLUMNS: Columns = {
    "ID": lambda d: d["id"],
    "STATE": lambda d: d["state"],
    "LINK": lambda d: "online" if d["online"] else "offline",
    "TYPE": lambda d: d.get("device_type"),
    "RUNS": lambda d: d.get("artifact_name"),
    "GROUP": lambda d: d.get("group"),
    "SEEN": lambda d: ago(d.get("last_seen_at")),
}
HISTORY: Columns = {
    # A line of the timeline, which is what a technician did, has the last two columns only.
    "DEPLOYMENT": lambda p: short(p["deployment_id"]) if "status" in p else BY_HAND,
    "RELEASE": lambda p: p.get("artifact_name"),
    "STATUS": lambda p: p.get("status"),
    "ATTEMPT": lambda p: p.get("attempt"),
    "CHANGED": lambda p: ago(_when(p)),
    "NOTE": lambda p: error_of(p) if "status" in p else p["text"],
}


def _when(entry: Json) -> str:
    """Return when an entry of a history has changed last."""
    return str(entry["updated_at"] if "status" in entry else entry["at"])


@click.group(cls=Group)
def device() -> None:
    """The devices of the fleet: who takes part, what they run."""


device.add_command(label)
device.add_command(unlabel)


@device.command("list")
@click.option("--state", "states", type=click.Choice(STATES), multiple=True, help="Only these. Repeatable.")
@click.option("--group", metavar="G", help="Only members of this group.")
@click.option("--where", metavar="FILTER", help="Only what meets this filter, such as 'tags.site = \"north\"'.")
@click.option("--search", metavar="TEXT", help="Only where id, type or release has this text.")
@click.option("--online/--offline", "online", default=None, help="Only devices that are, or are not, connected.")
@click.option("--limit", type=click.IntRange(1), help="At most so many. [all]")
@in_settings
def list_(
    settings: Settings,
    states: tuple[str, ...],
    group: str | None,
    where: str | None,
    search: str | None,
    online: bool | None,  # noqa: FBT001  click passes options by name
    limit: int | None,
) -> None:
    """List devices."""
    wanted = None if online is None else str(online).lower()
    chosen: Json = {"state": list(states) or None, "group": group, "where": where, "q": search, "online": wanted}
    found = settings.client.items("devices", limit=limit, **chosen)
    put_list(settings, found, COLUMNS, lambda: nobody(settings, where))
    if limit is not None and settings.output == "table":
        total = settings.client.get("devices", limit=1, **chosen)["total"]
        if total > limit:
            settings.say(f"These are {limit} of {count(total, 'device')}.")


@device.command()
@click.argument("device_id", metavar="DEVICE")
@in_settings
def show(settings: Settings, device_id: str) -> None:
    """Show a device with its tags and its inventory."""
    found = settings.client.get(f"devices/{seg(device_id)}")
    put_object(settings, found, _about(found))


def _about(device: Json) -> list[str]:
    seen = device.get("last_seen_at")
    link = "online" if device["online"] else "offline"
    known = [
        ("id", device["id"]),
        ("state", device["state"]),
        ("link", f"{link}, since {api_stamp(since)}" if (since := device.get("online_since")) else link),
        ("type", device.get("device_type")),
        ("runs", device.get("artifact_name")),
        ("group", device.get("group")),
        ("agent", device.get("agent_version")),
        ("last seen", ago(seen)),
        ("last check-in", ago(device.get("last_check_in_at"))),
        ("first seen", ago(device["created_at"])),
    ]
    lines = list(fields(known))
    if device["keys"]:
        lines += ["keys:", *(f"  {line}" for line in fields((key["digest"], about_key(key)) for key in device["keys"]))]
    parts = (("tags", device["tags"]), ("provides", device["provides"]), ("inventory", device["attributes"]))
    for title, pairs in parts:
        if pairs:
            lines += [f"{title}:", *fields(sorted(pairs.items()), indent=2)]
    return lines


@device.command()
@click.argument("ids", metavar="DEVICE...", nargs=-1)
@click.option("--all", "all_pending", is_flag=True, help="All that are pending.")
@click.option("--key", metavar="SHA256", help="Give the device's name to this key, of several; 4 digits may be enough.")
@in_settings
def accept(settings: Settings, ids: tuple[str, ...], all_pending: bool, key: str | None) -> int:  # noqa: FBT001  click passes options by name
    """Let devices take part, with the keys that ask for their names; they are asked to check in."""
    if bool(ids) == all_pending:
        raise click.UsageError("Name the devices, or give --all.")
    if key is not None:
        return _accept_key(settings, ids, key)
    if not all_pending:
        return _change(settings, "accept", ids, "accepted")
    answer = settings.client.post("devices/accept", {"all_pending": True})
    if not answer["changed"]:
        put_done(settings, answer, "No device is pending.")
        return ExitCode.NOTHING_TO_DO
    put_done(settings, answer, f"{count(len(answer['changed']), 'device')} accepted.")
    return ExitCode.DONE


@device.command()
@click.argument("ids", metavar="DEVICE...", nargs=-1, required=True)
@in_settings
def reject(settings: Settings, ids: tuple[str, ...]) -> int:
    """Keep devices out."""
    return _change(settings, "reject", ids, "rejected")


def _accept_key(settings: Settings, ids: tuple[str, ...], key: str) -> int:
    if len(ids) != 1:
        raise click.UsageError("--key is of one device: name it.")
    found = settings.client.get(f"devices/{seg(ids[0])}")
    if former := [one for one in found["keys"] if one["state"] == "accepted" and not one["digest"].startswith(key)]:
        text = f"This takes the name {ids[0]} from the key {former[0]['digest'][:16]}…, and revokes its certificates."
        confirm(settings, ids[0], "give to another key", text)
    answer = settings.client.post(f"devices/{seg(ids[0])}/accept-key", {"key": key.lower()})
    put_done(settings, answer, f"The key {answer['digest']} is {ids[0]}'s.")
    return ExitCode.DONE


@device.command()
@click.argument("ids", metavar="DEVICE...", nargs=-1, required=True)
@click.option("--key", metavar="SHA256", help="Digest of the device's public key: it gets a certificate at once.")
@in_settings
def preauthorize(settings: Settings, ids: tuple[str, ...], key: str | None) -> int:
    """Accept devices before they are heard of.

    With --key, which is for one device, nobody is asked when it enrols. docs/enrolment.md says how to compute it.
    """
    if key is None:
        return _change(settings, "preauthorize", ids, "accepted in advance")
    if len(ids) != 1:
        raise click.UsageError("--key is of one device: name it.")
    answer = settings.client.post("devices/preauthorize", {"keys": {ids[0]: key.lower()}})
    put_done(settings, answer, f"{ids[0]} is accepted in advance, with the key {key.lower()}.")
    return ExitCode.DONE


@device.command("check-in")
@click.argument("ids", metavar="DEVICE...", nargs=-1, required=True)
@in_settings
def check_in(settings: Settings, ids: tuple[str, ...]) -> int:
    """Ask devices to check in now."""
    return _change(settings, "check-in", ids, "asked to check in")


@device.command()
@click.argument("device_id", metavar="DEVICE")
@in_settings
def decommission(settings: Settings, device_id: str) -> None:
    """Take a device out of the fleet for good."""
    found = settings.client.get(f"devices/{seg(device_id)}")
    confirm(
        settings,
        found["id"],
        "decommission",
        f"This takes {found['id']} out of the fleet; its unfinished deployments end, its keys are revoked.",
    )
    answer = settings.client.post(f"devices/{seg(found['id'])}/decommission")
    put_done(settings, answer, f"{found['id']} is decommissioned{'' if answer['changed'] else ' already'}.")


@device.command()
@click.argument("device_id", metavar="DEVICE")
@in_settings
def recommission(settings: Settings, device_id: str) -> None:
    """Let a device that was decommissioned ask again.

    It is pending then, as a new one is, and needs a new key where devices have certificates. Former deployments stay
    ended.
    """
    answer = settings.client.post(f"devices/{seg(device_id)}/recommission")
    put_done(settings, answer, f"{device_id} is pending. To let it take part: wainwright device accept {device_id}")


@device.command()
@click.argument("device_id", metavar="DEVICE")
@click.option("--key", metavar="SHA256", help="This key alone, with its certificates; 4 digits may be enough.")
@click.option("--reason", type=click.Choice(REASONS), default=REASONS[0], show_default=True, help="What the list says.")
@in_settings
def revoke(settings: Settings, device_id: str, key: str | None, reason: str) -> None:
    """Revoke a device's keys and certificates, and disconnect it; it stays in the fleet.

    It may ask for a certificate with a new key, and waits until somebody accepts that.
    """
    what = f"the key {key}…" if key else "all keys"
    confirm(settings, device_id, "revoke", f"This revokes {what} of {device_id}, for good, and disconnects it.")
    body = {"reason": reason} | ({"key": key.lower()} if key else {})
    answer = settings.client.post(f"devices/{seg(device_id)}/revoke", body)
    put_done(settings, answer, f"{count(len(answer['serials']), 'certificate')} of {device_id} revoked.")


@device.command()
@click.argument("device_id", metavar="DEVICE")
@in_settings
def certificates(settings: Settings, device_id: str) -> None:
    """List the certificates that a device was given, newest first."""
    found = settings.client.items("certificates", name=device_id, kind="device")
    put_list(settings, found, CERTIFICATES, f"{device_id} has no certificate.")


@device.command()
@click.argument("device_id", metavar="DEVICE")
@click.option("--limit", type=click.IntRange(1), help="At most so many. [all]")
@in_settings
def history(settings: Settings, device_id: str, limit: int | None) -> None:
    """List what was installed on a device, by deployments and by hand, newest first."""
    path = f"devices/{seg(device_id)}"
    deployments = settings.client.items(f"{path}/history", limit=limit)
    by_hand = settings.client.items(f"{path}/timeline", limit=limit, kind=BY_HAND)
    newest_first = sorted([*deployments, *by_hand], key=lambda one: datetime.fromisoformat(_when(one)), reverse=True)
    put_list(settings, newest_first[:limit], HISTORY, f"Nothing has been installed on {device_id}.")


@device.command(short_help="Print what a device logged in a deployment.")
@click.argument("device_id", metavar="DEVICE")
@click.argument("deployment", required=False)
@in_settings
def logs(settings: Settings, device_id: str, deployment: str | None) -> int:
    """Print what a device logged in a deployment; without DEPLOYMENT, in its newest one."""
    if deployment is None:
        newest = next(settings.client.items(f"devices/{seg(device_id)}/history", limit=1), None)
        if newest is None:
            settings.say(f"No deployment has concerned {device_id}.")
            return ExitCode.NOTHING_TO_DO
        deployment = str(newest["deployment_id"])
    put_log(settings, settings.client.items(f"devices/{seg(device_id)}/logs/{seg(deployment)}"))
    return ExitCode.DONE


@click.command(cls=Command)
@click.argument("device_id", metavar="DEVICE")
@in_settings
def why(settings: Settings, device_id: str) -> None:
    """Say in one sentence why a device is, or is not, being updated."""
    answer = settings.client.get(f"devices/{seg(device_id)}/why")
    if answer["code"] == UNKNOWN:
        raise CliError(ExitCode.FAILED, f"{device_id}: {answer['text']}")
    put_object(settings, answer, [f"{device_id}: {answer['text']}"])
    if answer["code"] == FAILED and settings.output == "table":
        settings.say(f"Its log: wainwright device logs {device_id} {short(answer['deployment_id'])}")


def put_log(settings: Settings, lines: Iterable[Json], *, names_devices: bool = False) -> None:
    """Print log lines, behind the device's id where there are several; as they come, since a log may be long."""
    if settings.output != "table":
        put_list(settings, lines, {}, "")
        return
    last: tuple[object, int] | None = None
    for line in lines:
        device, attempt = line.get("device_id"), line["attempt"]
        prefix = f"{device} " if names_devices else ""
        if attempt > 1 and last != (device, attempt):  # most logs are of the only one
            settings.say(f"{prefix}attempt {attempt}:")
        last = (device, attempt)
        before = f"{prefix}{api_stamp(line['at'])} {printable(line['level']):<7} "
        for shown in hung(before, printable(line["text"])):
            click.echo(shown)
    if last is None:
        settings.say("No log has come yet: devices send it while they work, and when they are online again.")


def _change(settings: Settings, verb: str, ids: tuple[str, ...], done: str) -> int:
    changed: list[str] = []
    for start in range(0, len(ids), IDS_AT_ONCE):
        answer = settings.client.post(f"devices/{verb}", {"ids": list(ids[start : start + IDS_AT_ONCE])})
        changed += answer["changed"]
    same = len(set(ids)) - len(changed)
    tail = f"; {count(same, 'device')} already" if same > 0 else ""
    put_done(settings, {"changed": changed}, f"{count(len(changed), 'device')} {done}{tail}.")
    return ExitCode.DONE
