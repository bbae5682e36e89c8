"""Devices that fall back after their success: found when a check-in tells another release than the one before.

Its success stays what it was, because it was true; it is marked, shown, and counts as a failure for the limits of the
deployment (rules/gates.py). What a person did by hand is no regression, nor what the device was offered since: its own
deployment tells how that went.
"""

from __future__ import annotations

from msgspec.structs import replace
from sqlalchemy import or_, select

from wainwright_common.statuses import DeploymentStatus, DeviceStatus
from wainwright_controller.ledger import Ledger
from wainwright_controller.records import Device, DeviceDeployment
from wainwright_controller.rows import DEPLOYMENT, PART

INCONSISTENT = "_INCONSISTENT"  # what an agent adds to the name of a release that it may run a part of


def note_regression(ledger: Ledger, device: Device, name: str) -> None:
    """Mark the success that a device has lost, if it has: it ran `device.artifact_name`, and runs `name` now."""
    part = _newest_success(ledger, device.id)
    if part is None or part.regressed_at is not None:
        return
    deployment = ledger.deployments[part.deployment_id]
    installed = part.restore_name or deployment.artifact_name
    known = {installed, *_offered_since(ledger, part)}
    if device.artifact_name.removesuffix(INCONSISTENT) not in known or name.removesuffix(INCONSISTENT) in known:
        return
    text = f"fell back from {installed} to {name or 'an unknown release'} after its success"
    ledger.put_part(replace(part, regressed_at=ledger.now))
    ledger.note("regression", text, "device", deployment.id, device.id)
    grown = replace(deployment, regressed=deployment.regressed + 1)
    ledger.put_deployment(grown, ledger.phases[deployment.id])
    if deployment.status is not DeploymentStatus.FINISHED:
        ledger.settle_now(deployment.id)


def _newest_success(ledger: Ledger, device_id: str) -> DeviceDeployment | None:
    if (part := ledger.just_succeeded(device_id)) is not None:  # its report came with the check-in, in one batch
        return part
    newest = (
        select(PART.c.deployment_id)
        .where(PART.c.device_id == device_id, PART.c.status == DeviceStatus.SUCCESS)
        .order_by(PART.c.finished_at.desc(), PART.c.sequence.desc())
        .limit(1)
    )
    deployment_id: str | None = ledger.connection.execute(newest).scalar()
    if deployment_id is None:
        return None
    ledger.load_parts([(deployment_id, device_id)])
    return ledger.parts[deployment_id, device_id]


def _offered_since(ledger: Ledger, success: DeviceDeployment) -> set[str]:
    """Return the releases that a device was offered after a success, of this transaction or of former ones.

    Also of an attempt that has failed and is to be made again: one that was given up as silent may have gone on.
    """
    query = (
        select(PART.c.restore_name, DEPLOYMENT.c.artifact_name)
        .join(DEPLOYMENT, DEPLOYMENT.c.id == PART.c.deployment_id)
        .where(PART.c.device_id == success.device_id, or_(PART.c.offered.is_(True), PART.c.attempt > 1))
        .where(PART.c.deployment_id != success.deployment_id)
        .where(or_(PART.c.finished_at.is_(None), PART.c.finished_at >= success.finished_at))
    )
    stored = {restored or installed for restored, installed in ledger.connection.execute(query)}
    open_now = [c for c in ledger.candidates(success.device_id) if c.part.offered or c.part.attempt > 1]
    return stored | {c.part.restore_name or c.deployment.artifact_name for c in open_now}
