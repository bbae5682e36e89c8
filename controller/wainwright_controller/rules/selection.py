"""Which deployment a device gets when it checks in.

1. Only an accepted device gets any.
2. Its unfinished parts are tried in the order in which their deployments were made, oldest first.
3. What the oldest waits for (its phase, a hold, the next attempt) the device waits for: a newer one does not overtake.
4. No compatible artifact ends a part as `noartifact`, running the release already ends it as `already-installed`
   (unless the deployment forces it); either way the next part is tried in the same check-in.
5. Compatible means: `device_type` and every other depends is met by what the device provides. Of several the one
   with the most depends wins, then the smallest, then the one stored first.
6. A part that was offered and is not finished is offered again, with the same artifact and a fresh link.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from wainwright_common.messages import WhyCode
from wainwright_common.statuses import ACTIVE, DeploymentStatus, DeviceStatus, Hold
from wainwright_controller.records import Artifact, Deployment, Device, DeviceDeployment, DeviceState, Phase


class Choice(NamedTuple):
    """What a check-in leads to: the parts that changed, and either an offer or a why."""

    changed: list[DeviceDeployment]
    offer: tuple[DeviceDeployment, Artifact] | None
    why: tuple[WhyCode, str] | None
    retry_at: float | None = None


class Candidate(NamedTuple):
    """One unfinished part of a device with what is needed to decide about it."""

    part: DeviceDeployment
    deployment: Deployment
    phases: Sequence[Phase]
    artifacts: Sequence[Artifact]


def unmet(artifact: Artifact, device: Device) -> list[str]:
    """Return, as sentences, which depends of an artifact a device does not meet; empty when it is compatible."""
    have = {**device.provides, "device_type": device.device_type}
    return [
        f"needs {key} {' or '.join(values)}, has {have.get(key, 'none')}"
        for key, values in artifact.depends.items()
        if have.get(key) not in values
    ]


def choose_artifact(artifacts: Iterable[Artifact], device: Device) -> Artifact | None:
    """Return the artifact of a release for a device (rule 5), or None."""
    fitting = [artifact for artifact in artifacts if not unmet(artifact, device)]
    return min(fitting, key=lambda a: (-len(a.depends), a.size, a.created_at), default=None)


def wait_of(candidate: Candidate, now: float) -> tuple[WhyCode, str] | None:
    """Return what an unfinished part waits for, or None when it may be offered now."""
    part, deployment, phases, _ = candidate
    name = deployment.name
    if part.status in ACTIVE or part.offered:
        return None  # under way: neither a pause nor a phase takes an offer back
    if deployment.hold is Hold.PAUSED:
        return WhyCode.PAUSED, f"{name} is paused."
    phase = phases[part.phase - 1]
    if phase.opened_at is None:
        return WhyCode.PHASE_CLOSED, f"In {name} it is in phase {part.phase} of {len(phases)}, which is not open yet."
    if part.next_attempt_at is not None and part.next_attempt_at > now:
        wait = part.next_attempt_at - now
        return WhyCode.RETRY_LATER, f"Attempt {part.attempt} in {name} starts in {wait:.0f} s."
    return None


def _settle(candidate: Candidate, device: Device, now: float) -> tuple[DeviceDeployment, Artifact | None]:
    part, deployment, _, artifacts = candidate
    finish = {"finished_at": now, "updated_at": now, "next_attempt_at": None, "deadline_at": None}
    if part.artifact_id is not None and part.offered:
        artifact = next((a for a in artifacts if a.id == part.artifact_id), None)
    else:
        artifact = choose_artifact(artifacts, device)
    if artifact is None:
        return replace(part, status=DeviceStatus.NOARTIFACT, **finish), None
    if not part.offered and not deployment.force and device.artifact_name == artifact.name:
        return replace(part, status=DeviceStatus.ALREADY_INSTALLED, **finish), None
    return _offered(part, deployment, artifact, device, now), artifact


def _offered(
    part: DeviceDeployment, deployment: Deployment, artifact: Artifact, device: Device, now: float
) -> DeviceDeployment:
    if part.offered:
        return part
    return replace(
        part,
        offered=True,
        artifact_id=artifact.id,
        former_name=part.former_name or device.artifact_name or None,
        next_attempt_at=None,
        started_at=part.started_at or now,
        updated_at=now,
        deadline_at=now + deployment.in_progress_timeout_s,
    )


NOT_ACCEPTED: Mapping[DeviceState, str] = {
    DeviceState.PENDING: "The device is waiting to be accepted.",
    DeviceState.REJECTED: "The device was rejected.",
    DeviceState.DECOMMISSIONED: "The device was decommissioned.",
}


def choose(device: Device, candidates: Iterable[Candidate], now: float) -> Choice:
    """Apply the rules of this module to one check-in; `candidates` are the device's unfinished parts, in any order."""
    if device.state is not DeviceState.ACCEPTED:
        return Choice([], None, (WhyCode.NOT_ACCEPTED, NOT_ACCEPTED[device.state]))
    changed: list[DeviceDeployment] = []
    why = (WhyCode.NO_DEPLOYMENT, "No deployment concerns the device.")
    for candidate in sorted(candidates, key=lambda c: c.deployment.sequence):
        if candidate.deployment.status is DeploymentStatus.FINISHED:
            continue
        wait = wait_of(candidate, now)
        if wait is not None:
            return Choice(changed, None, wait, candidate.part.next_attempt_at)
        part, artifact = _settle(candidate, device, now)
        if part is not candidate.part:
            changed.append(part)
        if artifact is not None:
            return Choice(changed, (part, artifact), None)
        why = _end_of(part, candidate.deployment)
    return Choice(changed, None, why)


def _end_of(part: DeviceDeployment, deployment: Deployment) -> tuple[WhyCode, str]:
    if part.status is DeviceStatus.NOARTIFACT:
        return WhyCode.NO_ARTIFACT, f"No artifact of {deployment.artifact_name} is compatible with the device."
    return WhyCode.ALREADY_INSTALLED, f"The device runs {deployment.artifact_name} already."
