"""Which deployment a device gets when it checks in.

1. Only an accepted device gets any.
2. Its unfinished parts are tried in the order in which their deployments were made, oldest first.
3. What the oldest waits for (its phase, a hold, the next attempt) the device waits for: a newer one does not overtake.
4. No compatible artifact ends a part as `noartifact`, running the release already ends it as `already-installed`
   (unless the deployment forces it); either way the next part is tried in the same check-in.
5. Compatible means: `device_type` and every other depends is met by what the device provides. Of several the one
   with the most depends wins, then the smallest, then the one stored first.
6. A part that was offered and is not finished is offered again, with the same artifact and a fresh link. The one that
   the device is busy with comes first, whatever older deployment concerns it meanwhile: an update that runs is wanted.
7. A dynamic deployment that the device matches stands in the same order; the device joins it when its turn comes, not
   before (arrivals.py).
8. A first offer waits for the deployment's pace (pace.py), and for a device that is busy with something else.
9. A rollback offers the release that the device had before; a device that does not run the bad one any more has
   nothing to undo.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from wainwright_common.messages import WhyCode
from wainwright_common.statuses import ACTIVE, DeploymentStatus, DeviceStatus, Hold
from wainwright_controller.records import Artifact, Deployment, Device, DeviceDeployment, DeviceState, Phase
from wainwright_controller.rules import pace
from wainwright_controller.rules import phases as phase_rules

_NOT_STARTED = frozenset({Hold.AWAITING_APPROVAL, Hold.AWAITING_START})


class Choice(NamedTuple):
    """What a check-in leads to: the parts that changed, and either an offer or a why."""

    changed: list[DeviceDeployment]
    offer: tuple[DeviceDeployment, Artifact] | None
    why: tuple[WhyCode, str] | None
    retry_at: float | None = None


class Candidate(NamedTuple):
    """One unfinished part of a device with what is needed to decide about it.

    `artifacts` are those of the release that this part installs; `is_new` says that the device has not joined yet;
    `under_way` is how many devices of the deployment are, where its pace asks for that.
    """

    part: DeviceDeployment
    deployment: Deployment
    phases: Sequence[Phase]
    artifacts: Sequence[Artifact]
    is_new: bool = False
    under_way: int = 0


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
    part, deployment, phases = candidate.part, candidate.deployment, candidate.phases
    name = deployment.name
    if part.status in ACTIVE or part.offered:
        return None  # under way: neither a pause nor a phase takes an offer back
    if deployment.hold is Hold.PAUSED:
        return WhyCode.PAUSED, f"{name} is paused{': ' if deployment.hold_reason else ''}{deployment.hold_reason}."
    if deployment.hold is not None and deployment.hold in _NOT_STARTED:
        return WhyCode.PHASE_CLOSED, f"{name} has not started: it is {deployment.hold.replace('-', ' ')}."
    phase = phases[part.phase - 1]
    if phase.opened_at is None:
        waits = phase_rules.waits_for(phases, part.phase, now)
        return WhyCode.PHASE_CLOSED, f"In {name} it is in phase {part.phase} of {len(phases)}, which waits for {waits}."
    if part.next_attempt_at is not None and part.next_attempt_at > now:
        wait = part.next_attempt_at - now
        return WhyCode.RETRY_LATER, f"Attempt {part.attempt} in {name} starts in {wait:.0f} s."
    return None


def _settle(candidate: Candidate, device: Device, now: float) -> tuple[DeviceDeployment, Artifact | None]:
    part, deployment, artifacts = candidate.part, candidate.deployment, candidate.artifacts
    finish = {"finished_at": now, "updated_at": now, "next_attempt_at": None}
    if not part.offered and (substate := _has_it(deployment, device)) is not None:
        return replace(part, status=DeviceStatus.ALREADY_INSTALLED, substate=substate, **finish), None
    if part.artifact_id is not None and part.offered:
        artifact = next((a for a in artifacts if a.id == part.artifact_id), None)
    else:
        artifact = choose_artifact(artifacts, device)
    if artifact is None:
        return replace(part, status=DeviceStatus.NOARTIFACT, **finish), None
    return _offered(part, artifact, device, now), artifact


def _has_it(deployment: Deployment, device: Device) -> str | None:
    """Return, as a substate, why nothing needs to be installed, or None."""
    runs = device.artifact_name
    if deployment.rolls_back is not None:
        return None if runs == deployment.artifact_name else f"It runs {runs or 'another release'}: nothing to undo."
    return "" if runs == deployment.artifact_name and not deployment.force else None


def _offered(part: DeviceDeployment, artifact: Artifact, device: Device, now: float) -> DeviceDeployment:
    if part.offered:
        return part
    return replace(
        part,
        offered=True,
        artifact_id=artifact.id,
        former_name=part.former_name or device.artifact_name or None,
        next_attempt_at=None,
        started_at=part.started_at or now,
        offered_at=now,
        status_at=now,
        updated_at=now,
    )


NOT_ACCEPTED: Mapping[DeviceState, str] = {
    DeviceState.PENDING: "The device is waiting to be accepted.",
    DeviceState.REJECTED: "The device was rejected.",
    DeviceState.DECOMMISSIONED: "The device was decommissioned.",
}


def choose(device: Device, candidates: Iterable[Candidate], now: float, running: str | None = None) -> Choice:
    """Apply the rules of this module to one check-in.

    `candidates` are the device's unfinished parts and those that it would get by joining, in any order; `running` is
    the deployment that the device says it is busy with.
    """
    if device.state is not DeviceState.ACCEPTED:
        return Choice([], None, (WhyCode.NOT_ACCEPTED, NOT_ACCEPTED[device.state]))
    changed: list[DeviceDeployment] = []
    why = (WhyCode.NO_DEPLOYMENT, "No deployment concerns the device.")
    for candidate in sorted(candidates, key=lambda c: (not _is_under_way(c, running), c.deployment.sequence)):
        if candidate.deployment.status is DeploymentStatus.FINISHED:
            continue
        wait, retry_at = _wait(candidate, now, running)
        if wait is not None:
            return Choice(changed + [candidate.part] * candidate.is_new, None, wait, retry_at)
        part, artifact = _settle(candidate, device, now)
        if artifact is not None and not candidate.part.offered:
            late = pace.wait_of(candidate.deployment, candidate.under_way, now)
            if late:
                return Choice(changed + [candidate.part] * candidate.is_new, None, (WhyCode.RATE_LIMITED, late))
        if part is not candidate.part or candidate.is_new:
            changed.append(part)
        if artifact is not None:
            return Choice(changed, (part, artifact), None)
        why = _end_of(part, candidate.deployment)
    return Choice(changed, None, why)


def _is_under_way(candidate: Candidate, running: str | None) -> bool:
    return candidate.part.offered and candidate.deployment.id == running


def _wait(candidate: Candidate, now: float, running: str | None) -> tuple[tuple[WhyCode, str] | None, float | None]:
    """Return what a part waits for before its artifact is looked for, and when to ask again."""
    wait = wait_of(candidate, now)
    if wait is None and running is not None and running != candidate.deployment.id and not candidate.part.offered:
        # When that has ended, it asks by itself.
        return (WhyCode.BUSY, "The device is busy with another update, of a former deployment or by hand."), None
    return wait, candidate.part.next_attempt_at if wait is not None else None


def _end_of(part: DeviceDeployment, deployment: Deployment) -> tuple[WhyCode, str]:
    name = part.restore_name or deployment.artifact_name
    if part.status is DeviceStatus.NOARTIFACT:
        return WhyCode.NO_ARTIFACT, f"No artifact of {name} is compatible with the device."
    if deployment.rolls_back is not None:
        return WhyCode.ALREADY_INSTALLED, f"The device does not run {deployment.artifact_name}: nothing to undo."
    return WhyCode.ALREADY_INSTALLED, f"The device runs {name} already."
