"""`wainwright deployment create`."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import click

from wainwright_controller.cli.client import seg
from wainwright_controller.cli.exits import ExitCode
from wainwright_controller.cli.output import put_done
from wainwright_controller.cli.plan import BadOption, plan_of
from wainwright_controller.cli.settings import Command, Settings, in_settings
from wainwright_controller.cli.watch import watch
from wainwright_controller.cli.words import Moment, Span, count, short

RETRIES_MAX = 100  # the controller's limit


@click.command(cls=Command)
@click.argument("release")
@click.option("--to", "group", metavar="GROUP", help="To the present members of a group.")
@click.option("--device", "devices", metavar="ID", multiple=True, help="To a device. Repeatable.")
@click.option("--all", "all_devices", is_flag=True, help="To all accepted devices.")
@click.option("--name", metavar="N", help="Name of the deployment. [RELEASE to TARGET]")
@click.option(
    "--strategy",
    type=click.Choice(["immediate", "canary", "rolling"]),
    help="How it spreads: to all at once; to 10% and after a promotion to the rest; in batches of 25%.",
)
@click.option("--canary", metavar="SIZE[+DURATION]", help="To so many first; the rest after a promotion, or by itself.")
@click.option("--batch", metavar="SIZE[+DURATION|?]", help="In equal batches; ? asks before each but the first.")
@click.option(
    "--phase",
    "phases",
    metavar="SIZE[@TIME|+DURATION|?]",
    multiple=True,
    help="A phase: 10%, 5 or rest; opens at once, at a time, after a while, or when a person promotes. Repeatable.",
)
@click.option("--manual", is_flag=True, help="Wait for `deployment start`.")
@click.option("--at", type=Moment(), help="When the first phase opens.")
@click.option(
    "--retries", type=click.IntRange(0, RETRIES_MAX), default=0, show_default=True, help="More attempts per device."
)
@click.option("--force", is_flag=True, help="Install also where the release runs already.")
@click.option("--in-progress-timeout", "timeout_s", type=Span(), help="Longest silence of a device under way. [1d]")
@click.option("--watch", "watches", is_flag=True, help="Follow it to its end, as `deployment watch` does.")
@in_settings
def create(
    settings: Settings,
    /,
    *,
    release: str,
    group: str | None,
    devices: tuple[str, ...],
    all_devices: bool,
    strategy: str | None,
    canary: str | None,
    batch: str | None,
    phases: tuple[str, ...],
    manual: bool,
    at: datetime | None,
    timeout_s: float | None,
    watches: bool,
    **kept: Any,  # noqa: ANN401  name, retries, force: as the API takes them
) -> int:
    """Roll a release out."""
    if [group is not None, bool(devices), all_devices].count(True) != 1:
        raise click.UsageError("Say where to: --to GROUP, --device ID or --all, exactly one of them.")
    if manual and at is not None:
        raise click.UsageError("--manual waits for a person, --at for a time: give one of them.")
    try:
        plan = plan_of(
            strategy=strategy,
            canary=canary,
            batch=batch,
            phases=phases,
            at=at,
            device_count=lambda: len(devices) or _accepted(settings, group),
        )
    except BadOption as error:
        raise click.UsageError(str(error)) from error
    order = {
        "release": release,
        "devices": list(devices) or None,
        "all_devices": all_devices,
        "group": group,
        "phases": plan.phases,
        "strategy": plan.strategy,
        "manual": manual,
        "in_progress_timeout_s": timeout_s,
        **kept,
    }
    made = settings.client.post("deployments", {key: value for key, value in order.items() if value is not None})
    what = f"{made['name']} ({short(made['id'])}), {count(made['device_count'], 'device')}"
    if watches:
        settings.say(f"Created {what}.")
        return watch(settings, made["id"], after=0, timeout_s=None)
    hint = "start" if made.get("hold") == "awaiting-start" else "watch"
    put_done(settings, made, f"Created {what}. To {hint} it: wainwright deployment {hint} {short(made['id'])}")
    return ExitCode.DONE


def _accepted(settings: Settings, group: str | None) -> int:
    """Return how many accepted devices there are, in a group or in all; an unknown group is the controller's to say."""
    if group is not None:
        settings.client.get(f"groups/{seg(group)}")
    return max(int(settings.client.get("devices", state="accepted", group=group, limit=1)["total"]), 1)
