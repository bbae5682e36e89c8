"""Why a device is, or is not, being updated: one sentence, from the facts.

The first that holds: the device is unknown or not accepted; no deployment concerns it (then: what its last one came
to); it is offline; the update that it carries out, or else its oldest unfinished deployment, is under way, waits, or
does not fit it. Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wainwright_common.messages import WhyCode
from wainwright_common.statuses import ACTIVE, DeviceStatus
from wainwright_controller.records import Deployment, Device, DeviceDeployment, DeviceState
from wainwright_controller.rules import pace
from wainwright_controller.rules.selection import NOT_ACCEPTED, Candidate, choose_artifact, unmet, wait_of
from wainwright_controller.rules.spans import span


class Answer(NamedTuple):
    """A stable code and a sentence; `deployment_id` names the deployment that it is about."""

    code: str
    text: str
    deployment_id: str | None = None


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
    first = min(candidates, key=lambda c: (c.part.status not in ACTIVE, c.deployment.sequence))
    return _waiting(device, first, now)


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
    part, deployment = candidate.part, candidate.deployment
    release = part.restore_name or deployment.artifact_name
    silent = f"it is offline since {span(now - (device.online_since or device.last_seen_at))}"
    if part.status in ACTIVE:
        tail = "" if device.online else f"; {silent}"
        if deployment.policy.download_only is True:
            tail += "; it does not install before it is let: wainwright deployment install"
        where = f"in {deployment.name}, attempt {part.attempt}{_step(part)}"
        return Answer("in-progress", f"It is {part.status}{_done(part)} {release} {where}{tail}.", deployment.id)
    wait = wait_of(candidate, now)
    if wait is not None:
        last = f" Last attempt: {part.error_code}: {part.error_text}" if part.error_code is not None else ""
        return Answer(str(wait[0]), wait[1] + last, deployment.id)
    if not device.online:
        return Answer("offline", f"{deployment.name} waits for it, but {silent}.", deployment.id)
    if part.offered:
        return Answer("offered", f"{release} was offered to it in {deployment.name}.", deployment.id)
    if device.last_why == WhyCode.BUSY:
        text = (
            f"{deployment.name} waits for it: when it asked last, it was busy with another update, such as one by hand."
        )
        return Answer(device.last_why, text, deployment.id)
    code, text = _next(device, candidate, release, now)
    return Answer(code, text, deployment.id)


def _next(device: Device, candidate: Candidate, release: str, now: float) -> tuple[str, str]:
    """Say what the next check-in brings to a device for which an open phase waits."""
    deployment, artifacts = candidate.deployment, candidate.artifacts
    if deployment.rolls_back is not None and device.artifact_name != deployment.artifact_name:
        bad = deployment.artifact_name
        return "already-installed", f"It does not run {bad}, which {deployment.name} undoes: nothing to do."
    if deployment.rolls_back is None and device.artifact_name == release and not deployment.force:
        return "already-installed", f"It runs {release} already."
    if choose_artifact(artifacts, device) is None:
        reasons = "; ".join(f"{a.id[:8]} {', '.join(unmet(a, device))}" for a in artifacts[:3])
        return "incompatible", f"No artifact of {release} fits it: {reasons}."
    late = pace.wait_of(deployment, candidate.under_way, now)
    if late:
        return str(WhyCode.RATE_LIMITED), late
    return "due", f"It gets {release} at its next check-in."


def _step(part: DeviceDeployment) -> str:
    """Return the substate, in the device's words, where it says more than the status: ` (wait-window)`."""
    return "" if not part.substate or part.status.startswith(part.substate) else f" ({part.substate})"


def _done(part: DeviceDeployment) -> str:
    if part.status is not DeviceStatus.DOWNLOADING or part.progress_done is None or not part.progress_total:
        return ""
    return f" ({100 * part.progress_done // part.progress_total} %)"
