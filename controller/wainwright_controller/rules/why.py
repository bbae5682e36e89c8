"""Why a device is, or is not, being updated: one sentence, from the facts.

The first that holds: the device is unknown or not accepted; no deployment concerns it (then: what its last one came
to); it is offline; its oldest unfinished deployment is under way, waits, or does not fit it. Nothing here reads a
clock, the store or the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wainwright_common.statuses import ACTIVE, DeviceStatus
from wainwright_controller.records import Deployment, Device, DeviceDeployment, DeviceState
from wainwright_controller.rules.selection import NOT_ACCEPTED, Candidate, choose_artifact, unmet, wait_of


class Answer(NamedTuple):
    """A stable code and a sentence; `deployment_id` names the deployment that it is about."""

    code: str
    text: str
    deployment_id: str | None = None


def ago(seconds: float) -> str:
    """Print a span of time for a person: 8 s, 5 min, 3 h, 12 days."""
    for unit, size in (("days", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def why(
    device: Device | None,
    candidates: Sequence[Candidate],
    last: tuple[DeviceDeployment, Deployment] | None,
    now: float,
) -> Answer:
    """Answer for one device; `candidates` are its unfinished parts, `last` the part that it finished last."""
    if device is None:
        return Answer(
            "unknown-device", "No device of this id has ever been heard of: check the id, and its agent's log."
        )
    if device.state is not DeviceState.ACCEPTED:
        return Answer("not-accepted", NOT_ACCEPTED[device.state])
    if not candidates:
        return _nothing_to_do(device, last)
    oldest = min(candidates, key=lambda c: c.deployment.sequence)
    return _waiting(device, oldest, now)


def _nothing_to_do(device: Device, last: tuple[DeviceDeployment, Deployment] | None) -> Answer:
    running = f"it runs {device.artifact_name or 'an unknown release'}"
    if last is None:
        return Answer("no-deployment", f"No deployment concerns it; {running}.")
    part, deployment = last
    told = {
        DeviceStatus.SUCCESS: ("up-to-date", f"installed {deployment.artifact_name}"),
        DeviceStatus.ALREADY_INSTALLED: ("already-installed", f"already had {deployment.artifact_name}"),
        DeviceStatus.NOARTIFACT: ("incompatible", f"fits no artifact of {deployment.artifact_name}"),
        DeviceStatus.ABORTED: ("aborted", "was aborted"),
        DeviceStatus.DECOMMISSIONED: ("decommissioned", "was decommissioned"),
    }
    if part.status is DeviceStatus.FAILURE:
        attempts = f"{part.attempt} attempt{'s' if part.attempt > 1 else ''}"
        return Answer(
            "failed",
            f"It failed in {deployment.name} after {attempts} ({part.error_code}: {part.error_text}); {running}.",
            deployment.id,
        )
    code, text = told[part.status]
    tail = "" if part.status is DeviceStatus.SUCCESS else f"; {running}"
    return Answer(
        code, f"In its last deployment, {deployment.name}, it {text}{tail}; no other concerns it.", deployment.id
    )


def _waiting(device: Device, candidate: Candidate, now: float) -> Answer:
    part, deployment, phases, artifacts = candidate
    silent = f"it is offline since {ago(now - (device.online_since or device.last_seen_at))}"
    if part.status in ACTIVE:
        done = ""
        if part.status is DeviceStatus.DOWNLOADING and part.progress_done is not None and part.progress_total:
            done = f" ({100 * part.progress_done // part.progress_total} %)"
        tail = "" if device.online else f"; {silent}"
        text = (
            f"It is {part.status}{done} {deployment.artifact_name} in {deployment.name}, attempt {part.attempt}{tail}."
        )
        return Answer("in-progress", text, deployment.id)
    wait = wait_of(candidate, now)
    if wait is not None:
        text = wait[1]
        if part.error_code is not None:
            text += f" Last attempt: {part.error_code}: {part.error_text}"
        if part.phase > 1:
            before = phases[part.phase - 2]
            if before.done_at is None and phases[part.phase - 1].opened_at is None:
                text += f" It waits for phase {before.number} to finish."
        return Answer(str(wait[0]), text, deployment.id)
    if not device.online:
        return Answer("offline", f"{deployment.name} waits for it, but {silent}.", deployment.id)
    if part.offered:
        return Answer("offered", f"{deployment.artifact_name} was offered to it in {deployment.name}.", deployment.id)
    if choose_artifact(artifacts, device) is None:
        reasons = "; ".join(f"{a.id[:8]} {', '.join(unmet(a, device))}" for a in artifacts[:3])
        return Answer("incompatible", f"No artifact of {deployment.artifact_name} fits it: {reasons}.", deployment.id)
    if device.artifact_name == deployment.artifact_name and not deployment.force:
        return Answer("already-installed", f"It runs {deployment.artifact_name} already.", deployment.id)
    return Answer("due", f"It gets {deployment.artifact_name} at its next check-in.", deployment.id)
