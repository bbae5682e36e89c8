"""Undoing a deployment: who gets the release back that it had before, and how the two deployments hang together.

1. A rollback is a deployment of its own that `rolls_back` another; its parts say which release each device gets back
   (`restore_name`), noted when the bad one was offered. Its offers say `restore`.
2. It concerns the devices that succeeded, and all others that may run the release from this deployment. Those under way
   are told to stop and undo it themselves, but one that commits before it hears that would keep the release; so did,
   perhaps, one whose part was ended for it, by an abort or a time limit. Not concerned is who was never offered it,
   has said itself that it failed, is not in the fleet any more, or has asked since its end and ran something else.
3. A device that does not run the bad release when its turn comes has nothing to undo: `already-installed`.
4. A device that is rejected, or whose former release is not known, not in the store or not for it any more, ends as
   `noartifact` at once, with the obstacle as its substate: it is known from the start who cannot be restored.
5. The undone deployment ends as `rolled-back` when its rollback brought at least one device back, or found none that
   had the release; otherwise with the outcome that its devices give it.
6. A rollback that has ended may have left devices behind: another one is to those, of which what they ran before is in
   the store by now (prospects.LEFT_BEHIND).

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from msgspec.structs import replace

from wainwright_common.codes import Code
from wainwright_common.statuses import IN_PROGRESS, DeploymentStatus, DeviceStatus, Outcome
from wainwright_controller.records import (
    Artifact,
    Deployment,
    Device,
    DeviceDeployment,
    DeviceState,
    Kind,
    Strategy,
    Tally,
)
from wainwright_controller.rules import lifecycle
from wainwright_controller.rules.selection import choose_artifact, unmet

RETRIES_MIN = 3  # a rollback tries harder than the rollout did: what it leaves behind is known to be bad


class Restore(NamedTuple):
    """What one device gets back, or what stands in the way of it."""

    device_id: str
    name: str | None
    obstacle: str | None


def concerns(part: DeviceDeployment, device: Device | None, release: str) -> bool:
    """Say whether a device may run the release from this part (rule 2)."""
    if device is None or device.state is DeviceState.DECOMMISSIONED:
        return False
    if part.status is DeviceStatus.SUCCESS:
        return True
    was_offered = part.offered or part.attempt > 1
    if not was_offered or part.status is DeviceStatus.DECOMMISSIONED:
        return False
    if part.status in IN_PROGRESS:
        return True
    if part.status is DeviceStatus.FAILURE and part.error_code != Code.TIMEOUT:
        return False
    has_asked_since = (device.last_check_in_at or 0.0) > (part.finished_at or 0.0)
    return not has_asked_since or device.artifact_name == release


def restore_of(part: DeviceDeployment, device: Device | None, artifacts: Sequence[Artifact]) -> Restore:
    """Return what a device gets back; `artifacts` are those of its former release."""
    name = part.former_name
    if device is not None and device.state is not DeviceState.ACCEPTED:  # nobody waits for it: see rule 4
        return Restore(part.device_id, name, f"It is {device.state}, and gets nothing until it is accepted.")
    if name is None:
        return Restore(part.device_id, None, "What it ran before is not known.")
    if not artifacts:
        return Restore(part.device_id, name, f"Its former release {name} is not in the store.")
    if device is not None and choose_artifact(artifacts, device) is None:
        reasons = "; ".join(", ".join(unmet(a, device)) for a in artifacts[:3])
        return Restore(part.device_id, name, f"No artifact of its former release {name} fits it: {reasons}.")
    return Restore(part.device_id, name, None)


def deployment_of(undone: Deployment, deployment_id: str, devices: int, actor: str, now: float) -> Deployment:
    """Return the deployment that undoes another: to all its devices at once, at the pace of the other."""
    return Deployment(
        id=deployment_id,
        sequence=0,
        name=f"rollback of {undone.name}"[:256],
        artifact_name=undone.artifact_name,
        target=f"{devices} device{'' if devices == 1 else 's'} of {undone.name}",
        strategy=Strategy.IMMEDIATE,
        retries=max(undone.retries, RETRIES_MIN),
        in_progress_timeout_s=undone.in_progress_timeout_s,
        force=False,
        device_count=devices,
        created_at=now,
        created_by=actor,
        kind=Kind.STATIC,
        pace=undone.pace,
        time_limits=undone.time_limits,
        tokens_at=now,
        rolls_back=undone.id,
    )


def part_of(restore: Restore, undone: DeviceDeployment, rollback: Deployment) -> DeviceDeployment:
    """Return a device's part in a rollback; finished already when it cannot be restored."""
    part = DeviceDeployment(
        deployment_id=rollback.id,
        device_id=restore.device_id,
        sequence=rollback.sequence,
        phase=1,
        former_name=rollback.artifact_name,
        restore_name=restore.name,
        created_at=rollback.created_at,
        updated_at=rollback.created_at,
    )
    if restore.obstacle is None:
        return part
    text = restore.obstacle
    if undone.status is not DeviceStatus.SUCCESS:
        text += " It was under way." if undone.status in IN_PROGRESS else f" Its update had ended as {undone.status}."
    return replace(
        part, status=DeviceStatus.NOARTIFACT, substate=text[:200], finished_at=rollback.created_at, restore_name=None
    )


def ended(undone: Deployment, tally: Tally, rollback: Outcome | None, now: float) -> Deployment:
    """Return the undone deployment at the end of its rollback; `rollback` is None when there was nothing to do."""
    outcome = Outcome.ROLLED_BACK if rollback in {None, Outcome.SUCCESS, Outcome.PARTIAL} else None
    closed = replace(undone, rollback_ended_at=now)
    if undone.status is DeploymentStatus.FINISHED:
        return replace(closed, outcome=outcome or undone.outcome)
    return lifecycle.finish(closed, outcome or lifecycle.outcome_of(tally), now)


def tells(deployments: Mapping[str, Deployment], rollback: Deployment) -> Deployment | None:
    """Return the deployment that a finished rollback has undone, if it still exists and waits for it."""
    undone = deployments.get(rollback.rolls_back or "")
    if undone is None or undone.rollback_id != rollback.id or undone.rollback_ended_at is not None:
        return None
    return undone
