"""Whether the demo ended as it should: the facts of every device and of the deployment, against what was planned.

Pure: facts in, sentences about what is wrong out. None means that all is well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from wainwright_controller.demo.api import Json


class Plan(NamedTuple):
    """Who was meant to end how."""

    former: str
    release: str
    canaries: frozenset[str]
    rigged: str
    killed: str


class Facts(NamedTuple):
    """What is so at the end. `software` is what each device really runs, read from its files."""

    deployment: Json
    parts: dict[str, Json]
    devices: dict[str, Json]
    software: dict[str, str]
    types: dict[str, str]
    progress_when_killed: float


def problems(plan: Plan, facts: Facts) -> list[str]:
    """Return what is not as it should be."""
    return [*_devices(plan, facts), *_counts(plan, facts), *_phases(plan, facts), *_kill(plan, facts)]


def _devices(plan: Plan, facts: Facts) -> Iterator[str]:
    if set(facts.parts) != set(facts.types):
        yield f"The deployment has {len(facts.parts)} devices, not the {len(facts.types)} of the demo."
    for device_id, part in facts.parts.items():
        expected = "failure" if device_id == plan.rigged else "success"
        release = plan.former if device_id == plan.rigged else plan.release
        if part["status"] != expected:
            yield f"{device_id} ended as {part['status']}, not {expected}: {part.get('error', 'no error')}."
        if part["attempt"] != 1:
            yield f"{device_id} needed attempt {part['attempt']}: every device has one."
        if part["inconsistent"]:
            yield f"{device_id} is left inconsistent."
        wanted = f"{release} for {facts.types[device_id]}"
        if facts.software[device_id] != wanted:
            yield f"{device_id} really runs {facts.software[device_id]!r}, not {wanted!r}."
        known = facts.devices[device_id].get("artifact_name")
        if known != release:
            yield f"The controller believes that {device_id} runs {known}, not {release}."
    code = facts.parts[plan.rigged].get("error", {}).get("code")
    if code != "install-failed":
        yield f"{plan.rigged} failed with {code}, not install-failed."


def _counts(plan: Plan, facts: Facts) -> Iterator[str]:
    rows = Counter(part["status"] for part in facts.parts.values())
    if dict(rows) != facts.deployment["counts"]:
        yield f"The deployment counts {facts.deployment['counts']}, its devices are {dict(rows)}."
    if facts.deployment["status"] != "finished" or facts.deployment.get("outcome") != "partial":
        yield (
            f"The deployment of {plan.release} is {facts.deployment['status']}, outcome"
            f" {facts.deployment.get('outcome')}: one of its devices failed, so it should be finished, partial."
        )


def _phases(plan: Plan, facts: Facts) -> Iterator[str]:
    canaries = {device_id for device_id, part in facts.parts.items() if part["phase"] == 1}
    if canaries != plan.canaries:
        yield f"The canaries were {sorted(canaries)}, not {sorted(plan.canaries)}."
    first, second = facts.deployment["phases"]
    if not first.get("done_at") or not second.get("opened_at") or second["opened_at"] < first["done_at"]:
        yield "The rest was let in before the canaries were done."


def _kill(plan: Plan, facts: Facts) -> Iterator[str]:
    if not 0 < facts.progress_when_killed < 1:
        yield f"{plan.killed} was killed at {facts.progress_when_killed:.0%}, not in the middle of its download."


def table(plan: Plan, facts: Facts) -> Sequence[str]:
    """Return what happened, device by device, as the lines of a table."""
    rows = [("DEVICE", "PHASE", "BEFORE", "NOW", "RESULT", "WHAT HAPPENED")]
    for device_id, part in facts.parts.items():
        now = facts.software[device_id].partition(" for ")[0]
        before, phase = part.get("former_name", "-"), str(part["phase"])
        rows.append((device_id, phase, before, now, part["status"], _happened(plan, facts, device_id)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    return [
        "  ".join([*(f"{cell:{width}}" for cell, width in zip(row[:-1], widths, strict=True)), row[-1]]).rstrip()
        for row in rows
    ]


def _happened(plan: Plan, facts: Facts, device_id: str) -> str:
    if device_id == plan.rigged:
        return "did not start, went back"
    if device_id == plan.killed:
        return f"killed at {facts.progress_when_killed:.0%}, came back"
    return "canary" if device_id in plan.canaries else ""
