"""How a deployment moves on after something happened to it: limits, health, phases, its end, the end of a rollback.

Gathers the facts from the store and lets the rules decide; the ledger writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from msgspec.structs import replace
from sqlalchemy import and_, case, func, select

from wainwright_common.statuses import GOOD, DeploymentStatus, DeviceStatus, Hold, Outcome
from wainwright_controller import rollbacks
from wainwright_controller.records import Deployment, DeviceState, OnFailures, Phase, Tally
from wainwright_controller.rows import DEVICE, PART
from wainwright_controller.rules import gates, lifecycle, phases

if TYPE_CHECKING:
    from wainwright_controller.ledger import Ledger

CONTROLLER = "controller"


def settle(ledger: Ledger, deployment_id: str, *, begun: bool) -> None:
    """Move a loaded, unfinished deployment on, as far as the facts of this transaction allow."""
    tally = ledger.tally(deployment_id)
    if _stopped(ledger, deployment_id, tally):
        tally = ledger.tally(deployment_id)
    deployment, plan = ledger.deployments[deployment_id], ledger.phases[deployment_id]
    if deployment.status is not DeploymentStatus.FINISHED:
        ailment = ailment_of(ledger, deployment, plan)
        moved, opened = lifecycle.advance(deployment, plan, tally, ledger.now, begun=begun, ailment=ailment)
        ledger.put_deployment(moved, opened)


def ailment_of(ledger: Ledger, deployment: Deployment, plan: list[Phase]) -> str:
    """Return what is wrong with the phase whose health decides now whether the next one opens."""
    phase = None if lifecycle.is_held(deployment) else phases.judged(plan, ledger.now)
    if phase is None:
        return ""
    nothing = phases.shown_nothing(ledger.tally(deployment.id), phase.number)
    if nothing or not phase.soak_s:
        return nothing
    found = health(ledger, deployment, phase)
    return found.ailment if found.devices else phases.none_of(phase.size)


def health(ledger: Ledger, deployment: Deployment, phase: Phase) -> gates.Health:
    """Count the devices of a phase that ended well, and which of them are offline or run something else now."""
    offline = case((DEVICE.c.online.is_(False), 1), else_=0)
    elsewhere = case((DEVICE.c.artifact_name != deployment.artifact_name, 1), else_=0)
    query = (
        select(func.count(), func.coalesce(func.sum(offline), 0), func.coalesce(func.sum(elsewhere), 0))
        .select_from(PART)
        .join(DEVICE, and_(DEVICE.c.id == PART.c.device_id, DEVICE.c.state == DeviceState.ACCEPTED))
        .where(
            PART.c.deployment_id == deployment.id,
            PART.c.phase == phase.number,
            PART.c.status.in_(GOOD),
        )
    )
    return gates.Health(*ledger.connection.execute(query).one())


def _stopped(ledger: Ledger, deployment_id: str, tally: Tally) -> bool:
    """Act on a broken limit; says whether there was one."""
    deployment = ledger.deployments[deployment_id]
    if not deployment.limits or deployment.rollback_id is not None:
        return False
    broken = gates.broken(deployment, tally, failures_by_code(ledger, deployment))
    if broken is None or (broken.limit.action is OnFailures.PAUSE and deployment.hold is Hold.PAUSED):
        return False
    if broken.limit.action is not OnFailures.PAUSE:  # whose reason stays with the deployment, and is told with it
        ledger.note("limit", f"{broken.text}: {broken.limit.action}", CONTROLLER, deployment_id)
    match broken.limit.action:
        case OnFailures.PAUSE:
            paused = replace(deployment, hold=Hold.PAUSED, hold_reason=broken.text)
            ledger.put_deployment(paused, ledger.phases[deployment_id])
        case OnFailures.ABORT:
            ledger.end_parts(deployment_id, DeviceStatus.ABORTED, CONTROLLER)
            ended = lifecycle.finish(ledger.deployments[deployment_id], Outcome.ABORTED, ledger.now)
            ledger.put_deployment(ended, ledger.phases[deployment_id])
        case OnFailures.ROLLBACK:
            rollbacks.begin(ledger, deployment_id, CONTROLLER)
    return True


def failures_by_code(ledger: Ledger, deployment: Deployment) -> dict[str, int]:
    """Count the failures by error code, where a limit asks for that."""
    if not any(limit.codes for limit in deployment.limits):
        return {}
    numbers = [phase.number for phase in ledger.phases[deployment.id]]  # the index is by phase, and then by status
    failed = select(PART.c.error_code, func.count()).where(
        PART.c.deployment_id == deployment.id, PART.c.phase.in_(numbers), PART.c.status == DeviceStatus.FAILURE
    )
    by_code = {str(code): n for code, n in ledger.connection.execute(failed.group_by(PART.c.error_code))}
    return by_code | {gates.REGRESSED: deployment.regressed}
