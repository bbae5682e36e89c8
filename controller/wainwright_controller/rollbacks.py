"""Rollbacks in the store: begun in the transaction that stops the deployment, ended in their own last one."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from msgspec.structs import replace
from sqlalchemy import and_, or_

from wainwright_common.statuses import DeploymentStatus, DeviceStatus
from wainwright_controller.prospects import LEFT_BEHIND
from wainwright_controller.records import Deployment, DeviceDeployment
from wainwright_controller.rows import PART, all_parts
from wainwright_controller.rules import phases, rollback
from wainwright_controller.rules.actions import Act, check_allowed
from wainwright_controller.rules.phases import PhaseSpec
from wainwright_controller.rules.possible import check_worth
from wainwright_controller.working_set import WorkingSet

if TYPE_CHECKING:
    from wainwright_controller.ledger import Ledger


def begin(ledger: Ledger, deployment_id: str, actor: str, reason: str = "") -> Deployment:
    """Stop a loaded deployment and make the one that undoes it; returns the deployment that is being undone.

    Raises Refused when its state does not allow that.
    """
    undone = ledger.deployments[deployment_id]
    check_allowed(Act.ROLLBACK, undone)
    ledger.note("deployment", f"rollback: {reason}" if reason else "rollback", actor, deployment_id)
    ledger.tally(deployment_id)  # writes what was put, so that the parts read below are the present ones
    parts, restores = what_it_restores(ledger, undone)
    check_worth(undone, has_release=bool(parts))
    if undone.status is not DeploymentStatus.FINISHED:
        ledger.end_parts(deployment_id, DeviceStatus.ABORTED, actor)
    if not parts:
        ended = rollback.ended(undone, ledger.tally(deployment_id), None, ledger.now)
        ledger.put_deployment(ended, ledger.phases[deployment_id], actor)
        return ledger.deployments[deployment_id]
    child = rollback.deployment_of(undone, str(uuid.uuid4()), len(parts), actor, ledger.now)
    child = ledger.add_empty(child, phases.lay_out(child.id, [PhaseSpec()], len(parts), ledger.now))
    ledger.note("deployment", f"created to undo {undone.name}", actor, child.id)
    ledger.add_parts([rollback.part_of(r, p, child) for p, r in zip(parts, restores, strict=True)])
    stopped = replace(undone, rollback_id=child.id, rollback_ended_at=None, hold=None, hold_reason="")
    ledger.put_deployment(stopped, ledger.phases[deployment_id], actor)
    return ledger.deployments[deployment_id]


def what_it_restores(facts: WorkingSet, undone: Deployment) -> tuple[list[DeviceDeployment], list[rollback.Restore]]:
    """Return the parts that a rollback of a deployment concerns, and what each device gets back, in the same order."""
    wanted = and_(PART.c.deployment_id == undone.id, or_(PART.c.offered.is_(True), PART.c.attempt > 1))
    if undone.rollback_id is not None:
        wanted = and_(wanted, LEFT_BEHIND)
    offered = list(all_parts(facts.connection, wanted))
    facts.load_devices([part.device_id for part in offered])
    name = undone.artifact_name
    parts = [p for p in offered if rollback.concerns(p, facts.devices.get(p.device_id), name)]
    facts.load_artifacts({part.former_name for part in parts if part.former_name})
    restores = [
        rollback.restore_of(p, facts.devices.get(p.device_id), facts.artifacts.get(p.former_name or "", []))
        for p in parts
    ]
    return list(parts), restores


def end(ledger: Ledger, child: Deployment) -> None:
    """Let the deployment that a finished rollback has undone end as well."""
    ledger.load_deployments([child.rolls_back or ""])
    undone = rollback.tells(ledger.deployments, child)
    if undone is not None:
        ended = rollback.ended(undone, ledger.tally(undone.id), child.outcome, ledger.now)
        ledger.put_deployment(ended, ledger.phases[undone.id])
