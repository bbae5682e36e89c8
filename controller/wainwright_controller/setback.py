"""What a clock that was ahead has written, and is brought back to the present when it has been set right.

Else a retry, a limit or a soak that began by it would wait until the clock has caught up. It is looked for after every
break (hearing.py): a clock that is set is one, and so is a restart, before which nobody knows what the clock said.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec.structs import replace
from sqlalchemy import Connection, select

from wainwright_common.statuses import DeploymentStatus
from wainwright_controller.ledger import Ledger
from wainwright_controller.rows import DEPLOYMENT, PART, PHASE
from wainwright_controller.rules import phases, timeouts
from wainwright_controller.rules.pace import AHEAD_MAX_S
from wainwright_controller.rules.retries import PAUSE_MAX_S
from wainwright_controller.working_set import Key

AT_ONCE_MAX = 500  # parts in one transaction


class Ahead(NamedTuple):
    """What is dated later than this clock could have done: attempts, waits for another one, deployments' phases."""

    attempts: list[Key]
    waits: list[Key]
    deployments: list[str]


def find(connection: Connection, now: float) -> Ahead:
    """Return what is ahead of `now`, some of it at a time."""
    keys = select(PART.c.deployment_id, PART.c.device_id).limit(AT_ONCE_MAX)
    ahead = now + AHEAD_MAX_S
    attempts = keys.where(PART.c.deadline_at > ahead, PART.c.updated_at > ahead)  # all that are under way have one
    waits = keys.where(PART.c.next_attempt_at > now + PAUSE_MAX_S)
    deployments = (
        select(DEPLOYMENT.c.id)
        .join(PHASE, PHASE.c.deployment_id == DEPLOYMENT.c.id)
        .where(DEPLOYMENT.c.status != DeploymentStatus.FINISHED, PHASE.c.done_at > ahead)
        .distinct()
    )
    return Ahead(
        [(row[0], row[1]) for row in connection.execute(attempts)],
        [(row[0], row[1]) for row in connection.execute(waits)],
        list(connection.execute(deployments).scalars()),
    )


def bring_back(ledger: Ledger, found: Ahead) -> None:
    """Put what was found as if it had begun now; a wait for another attempt is over."""
    now = ledger.now
    ledger.load_parts([*found.attempts, *found.waits])
    ledger.load_deployments(found.deployments)
    for key in ledger.parts.keys() & set(found.attempts):
        part = timeouts.not_after(ledger.parts[key], now)
        if part.deadline_at is not None:
            part = replace(part, deadline_at=timeouts.deadline_of(part, ledger.deployments[key[0]]))
        ledger.put_part(part, actor="controller")
    for key in ledger.parts.keys() & set(found.waits):
        part = ledger.parts[key]
        if part.next_attempt_at is not None:
            ledger.put_part(replace(part, next_attempt_at=min(part.next_attempt_at, now)), actor="controller")
    for deployment_id in ledger.deployments.keys() & set(found.deployments):
        plan = [phases.not_after(phase, now) for phase in ledger.phases[deployment_id]]
        ledger.put_deployment(ledger.deployments[deployment_id], plan)
