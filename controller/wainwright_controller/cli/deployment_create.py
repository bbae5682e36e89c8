"""`wainwright deployment create` and `wainwright deployment plan`."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from typing import Any

import click

from wainwright_controller.cli.conditions import first_failures, unlimited
from wainwright_controller.cli.deployment_order import device_count, order_of, order_options
from wainwright_controller.cli.deployment_show import conditions
from wainwright_controller.cli.exits import ExitCode
from wainwright_controller.cli.filters import nobody, unknown_told
from wainwright_controller.cli.narration import condition, next_step
from wainwright_controller.cli.output import Columns, Json, fields, put_done, put_object, table
from wainwright_controller.cli.settings import Command, Settings, in_settings
from wainwright_controller.cli.watch import watch
from wainwright_controller.cli.words import count, short, size, span

LEFT_SHOWN = 10  # devices that would not get it, named on a terminal; -o json has the first 1,000

PHASES: Columns = {
    "PHASE": lambda p: p["number"],
    "DEVICES": lambda p: p["size"],
    "GET IT": lambda p: p["updated"],
    "SOAK": lambda p: span(p["soak_s"]) if p["soak_s"] else "",
    "": condition,
}
ARTIFACTS: Columns = {
    "ARTIFACT": lambda a: short(a["artifact_id"]),
    "DEVICES": lambda a: a["devices"],
    "SIZE": lambda a: size(a["size"]),
    "TOGETHER": lambda a: size(a["bytes"]),
}
LEFT: Columns = {"DEVICE": lambda d: d["device_id"], "WHY": lambda d: d["text"]}


@click.command(cls=Command)
@click.argument("release")
@order_options
@click.option("--watch", "watches", is_flag=True, help="Follow it to its end, as `deployment watch` does.")
@click.option("--until-held", is_flag=True, help="With --watch: stop, with exit code 8, when a person has to act.")
@in_settings
def create(settings: Settings, /, *, release: str, watches: bool, until_held: bool, **given: Any) -> int:  # noqa: ANN401  as click gives them
    """Roll a release out."""
    if until_held and not watches:
        raise click.UsageError("--until-held is about watching: give --watch, too.")
    order = order_of(release, given, partial(device_count, settings))
    made = settings.client.post("deployments", order)
    told = f"Created {made['name']} ({short(made['id'])}) for {_whom(settings, made)}."
    told = "\n".join([told, *_warnings(order, made["kind"], made["device_count"])])
    if watches:
        settings.say(told)
        return watch(settings, made["id"], after=0, timeout_s=None, until_held=until_held)
    step = next_step(made) or f"To watch it: wainwright deployment watch {short(made['id'])}"
    put_done(settings, made, f"{told}\n{step}")
    return ExitCode.DONE


def _warnings(order: Json, kind: str, devices: int) -> list[str]:
    """Return what a limit on failures, or its absence, does that an operator may not expect."""
    limits = order.get("limits", [])
    return [*first_failures(limits, devices if kind == "static" else None), *unlimited(order["phases"], limits)]


def _whom(settings: Settings, made: Json) -> str:
    """Return whom a new deployment is for; of one by a filter, how many meet it now, and what looks like a mistake."""
    if made["kind"] == "static":
        return count(made["device_count"], "device")
    meant = settings.client.get("filters", where=made["where"])
    told = f"all devices that match, now {meant['devices']}"
    return f"{told}; {unknown}" if (unknown := unknown_told(meant)) else told


@click.command(cls=Command)
@click.argument("release")
@order_options
@in_settings
def plan(settings: Settings, /, *, release: str, **given: Any) -> None:  # noqa: ANN401  as click gives them
    """Say what `create` with the same options would do, and do nothing."""
    order = order_of(release, given, partial(device_count, settings))
    found = settings.client.post("deployments/plan", order)
    put_object(settings, found, _told(order, found))
    if settings.output == "table" and order.get("where") and not found["devices"]:
        settings.say(nobody(settings, order["where"]))


def _told(order: Json, plan: Json) -> Iterable[str]:
    """Yield what a plan says: the numbers, the conditions, the phases, and who would not get it."""
    whom = f"{plan['updated']} of {count(plan['devices'], 'device')}"
    yield from fields(
        [
            ("release", order["release"]),
            ("to", plan["target"] + ("" if plan["kind"] == "static" else ", and who matches later")),
            ("would get it", f"{whom}, {size(plan['bytes'])} to download"),
            ("offline now", plan["offline"] or None),
            ("in another first", plan["waiting"] or None),
            ("approval", "by another admin" if plan["needs_approval"] else None),
            *conditions(order),
        ]
    )
    yield from _warnings(order, plan["kind"], plan["devices"])
    yield from table(plan["phases"], PHASES)
    if len(plan["artifacts"]) > 1:
        yield from table(plan["artifacts"], ARTIFACTS)
    left = sum(plan["left_counts"].values())
    if left:
        reasons = ", ".join(f"{n} {code}" for code, n in sorted(plan["left_counts"].items()))
        yield f"would not get it: {reasons}"
        yield from table(plan["left"][:LEFT_SHOWN], LEFT, indent=2)
    if left > LEFT_SHOWN:
        yield f"  and {left - LEFT_SHOWN} more: -o json names the first 1,000"
    yield "Nothing was started: `deployment create` with the same options does it."
