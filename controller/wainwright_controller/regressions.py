"""Devices that fall back after their success: found when a check-in tells another release than the one before.

Its success stays what it was, because it was true; it is marked, shown, and counts as a failure for the limits of the
deployment (rules/gates.py). What a person did by hand, or a newer deployment, is no regression.
"""

from __future__ import annotations

from msgspec.structs import replace
from sqlalchemy import select

from wainwright_common.statuses import DeploymentStatus, DeviceStatus
from wainwright_controller.ledger import Ledger
from wainwright_controller.records import Device
from wainwright_controller.rows import PART


def note_regression(ledger: Ledger, device: Device, name: str) -> None:
    """Mark the success that a device has lost, if it has: it ran `device.artifact_name`, and runs `name` now."""
    if not device.artifact_name or any(c.part.offered for c in ledger.candidates(device.id)):
        return  # what a device runs in the middle of an update says nothing yet
    deployment_id = _newest_success(ledger, device.id)
    if deployment_id is None:
        return
    ledger.load_parts([(deployment_id, device.id)])
    part, deployment = ledger.parts[deployment_id, device.id], ledger.deployments[deployment_id]
    installed = part.restore_name or deployment.artifact_name
    if part.regressed_at is not None or installed != device.artifact_name or installed == name:
        return
    text = f"fell back from {installed} to {name or 'an unknown release'} after its success"
    ledger.put_part(replace(part, regressed_at=ledger.now))
    ledger.note("regression", text, "device", deployment_id, device.id)
    grown = replace(deployment, regressed=deployment.regressed + 1)
    ledger.put_deployment(grown, ledger.phases[deployment_id])
    if deployment.status is not DeploymentStatus.FINISHED:
        ledger.settle_now(deployment_id)


def _newest_success(ledger: Ledger, device_id: str) -> str | None:
    if (part := ledger.just_succeeded(device_id)) is not None:  # its report came with the check-in, in one batch
        return part.deployment_id
    newest = (
        select(PART.c.deployment_id)
        .where(PART.c.device_id == device_id, PART.c.status == DeviceStatus.SUCCESS)
        .order_by(PART.c.finished_at.desc(), PART.c.sequence.desc())
        .limit(1)
    )
    deployment_id: str | None = ledger.connection.execute(newest).scalar()
    return deployment_id
