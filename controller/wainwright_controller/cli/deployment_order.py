"""The options that `deployment create` and `deployment plan` share, and the order that they make."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

from wainwright_controller.cli.client import seg
from wainwright_controller.cli.conditions import limits_of, pace_of, policy_of
from wainwright_controller.cli.plan import BadOption, plan_of, with_soak
from wainwright_controller.cli.settings import Settings
from wainwright_controller.cli.words import Moment, Span

RETRIES_MAX = 100  # the controller's limit
DEVICES_MAX = 1_000_000  # as above
Json = dict[str, Any]
F = TypeVar("F", bound=Callable[..., Any])

_OPTIONS = [
    click.option("--to", "group", metavar="GROUP", help="To a group: its present members, or who meets its filter."),
    click.option("--device", "devices", metavar="ID", multiple=True, help="To a device. Repeatable."),
    click.option("--all", "all_devices", is_flag=True, help="To all accepted devices."),
    click.option("--where", metavar="FILTER", help="To all that meet a filter, now or later."),
    click.option(
        "--max-devices", type=click.IntRange(1, DEVICES_MAX), help="With a filter: to so many devices at most."
    ),
    click.option("--name", metavar="N", help="Name of the deployment. [RELEASE to TARGET]"),
    click.option(
        "--strategy",
        type=click.Choice(["immediate", "canary", "rolling"]),
        help="How it spreads: to all at once; to 10% and after a promotion to the rest; in batches of 25%.",
    ),
    click.option(
        "--canary", metavar="SIZE[+DURATION]", help="To so many first; the rest after a promotion, or by itself."
    ),
    click.option("--batch", metavar="SIZE[+DURATION|?]", help="In equal batches; ? asks before each but the first."),
    click.option(
        "--phase",
        "phases",
        metavar="SIZE[@TIME|+DURATION|?]",
        multiple=True,
        help="A phase: 10%, 5 or rest; opens at once, at a time, after a while, or when a person promotes. Repeatable.",
    ),
    click.option(
        "--soak", type=Span(), help="Watch each phase so long after it is done; the next opens only if it is healthy."
    ),
    click.option("--manual", is_flag=True, help="Wait for `deployment start`."),
    click.option("--at", type=Moment(), help="When the first phase opens."),
    click.option("--approval", is_flag=True, help="Wait until another admin approves."),
    click.option(
        "--max-failures",
        "failures",
        metavar="N|P%",
        multiple=True,
        help="Stop when more have failed: devices, or a part of those that were tried. Repeatable.",
    ),
    click.option(
        "--failure-code",
        "codes",
        metavar="CODE",
        multiple=True,
        help="Only failures with this error code count; `regressed` are those that fell back. Repeatable.",
    ),
    click.option(
        "--on-failures",
        "on_failures",
        type=click.Choice(["pause", "abort", "rollback"]),
        help="What happens then. [pause]",
    ),
    click.option(
        "--min-sample", type=click.IntRange(1, DEVICES_MAX), help="Devices tried before a percentage counts. [1]"
    ),
    click.option("--rate", metavar="N/min", help="Offers in a unit of time: s, min or h."),
    click.option(
        "--ramp", metavar="FACTOR/EVERY[/MAX]", help="Multiply the rate after every so many offers, up to MAX a minute."
    ),
    click.option("--concurrency", type=click.IntRange(1, DEVICES_MAX), help="At most so many devices under way."),
    click.option(
        "--window",
        "window_texts",
        metavar="'[DAYS ]HH:MM-HH:MM'",
        multiple=True,
        help="Install only then, by the device's clock: 'mon-fri 22:00-04:00'. Repeatable.",
    ),
    click.option("--bandwidth", metavar="BYTES/s", help="Download no faster, each device: 500k, 2M."),
    click.option(
        "--download-only", is_flag=True, help="Download, and install when they are let: `deployment install`."
    ),
    click.option(
        "--retries", type=click.IntRange(0, RETRIES_MAX), default=0, show_default=True, help="More attempts per device."
    ),
    click.option("--force", is_flag=True, help="Install also where the release runs already."),
    click.option("--in-progress-timeout", "timeout_s", type=Span(), help="Longest silence of a device under way. [1d]"),
    click.option("--attempt-timeout", "attempt_s", type=Span(), help="Longest attempt, from its offer on."),
    click.option("--downloading-timeout", "downloading_s", type=Span(), help="Longest time at `downloading`."),
    click.option("--installing-timeout", "installing_s", type=Span(), help="Longest time at `installing`."),
    click.option("--rebooting-timeout", "rebooting_s", type=Span(), help="Longest time at `rebooting`."),
]


def order_options(command: F) -> F:
    """Give a command the options of an order; it gets them as keywords, for `order_of`."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def order_of(release: str, given: Json, device_count: Callable[[Json], int]) -> Json:
    """Return the order that the options describe, as the API takes it; raises UsageError.

    `device_count` is asked how many devices they mean, for batches of a count only.
    """
    targets = [given["group"] is not None, bool(given["devices"]), given["all_devices"], given["where"] is not None]
    if targets.count(True) != 1:
        raise click.UsageError("Say where to: --to GROUP, --device ID, --where FILTER or --all, exactly one of them.")
    if given["manual"] and given["at"] is not None:
        raise click.UsageError("--manual waits for a person, --at for a time: give one of them.")
    try:
        plan = plan_of(
            strategy=given["strategy"],
            canary=given["canary"],
            batch=given["batch"],
            phases=given["phases"],
            at=given["at"],
            device_count=lambda: device_count(given),
        )
        order = {
            "release": release,
            "devices": list(given["devices"]) or None,
            "phases": with_soak(plan.phases, given["soak"]),
            "strategy": plan.strategy,
            "limits": limits_of(
                given["failures"], codes=given["codes"], action=given["on_failures"], min_sample=given["min_sample"]
            ),
            "pace": pace_of(rate=given["rate"], ramp=given["ramp"], concurrency=given["concurrency"]),
            "policy": policy_of(
                window_texts=given["window_texts"],
                bandwidth=given["bandwidth"],
                download_only=given["download_only"],
            ),
            "time_limits": {key: given[key] for key in _TIME_LIMITS if given[key] is not None},
            "in_progress_timeout_s": given["timeout_s"],
        }
    except BadOption as error:
        raise click.UsageError(str(error)) from error
    order |= {key: given[key] for key in _AS_THEY_ARE}
    return {key: value for key, value in order.items() if value not in (None, {}, [])}


_TIME_LIMITS = ("attempt_s", "downloading_s", "installing_s", "rebooting_s")
_AS_THEY_ARE = (
    "group",
    "all_devices",
    "where",
    "max_devices",
    "name",
    "retries",
    "force",
    "manual",
    "approval",
)


def device_count(settings: Settings, given: Json) -> int:
    """Return how many devices batches divide: those of a filter up to --max-devices, the accepted ones of the rest."""
    if given["devices"]:
        return len(given["devices"])
    if given["max_devices"] is not None:
        return int(given["max_devices"])
    if given["group"] is not None:
        settings.client.get(f"groups/{seg(given['group'])}")  # an unknown group is the controller's to say
    where, group = given["where"], given["group"]
    found = settings.client.get("devices", state="accepted", group=group, where=where, limit=1)
    return max(int(found["total"]), 1)
