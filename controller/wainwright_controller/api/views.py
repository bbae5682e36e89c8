"""Deployments and device deployments as they are shown, read with a fixed number of queries however many there are.

Counts come from the tally, which is exact; derived fields come from the rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Table, or_, select

from wainwright_common.statuses import ACTIVE, GOOD, DeviceStatus, margo_of_deployment, margo_of_device
from wainwright_controller.api.models import (
    DeploymentOut,
    DeploymentState,
    ErrorOut,
    PartOut,
    PhaseOut,
    ProgressOut,
    known_moment,
    moment,
)
from wainwright_controller.api.problems import Ambiguous
from wainwright_controller.operations import NotFound
from wainwright_controller.records import Artifact, Deployment, DeviceDeployment, Phase, Tally
from wainwright_controller.rows import ARTIFACT, DEPLOYMENT, PART, PHASE, TALLY, from_row, in_chunks

PREFIX_MIN = 4  # characters of an id that are enough to name it, if no other begins so
ACTIVE_SHOWN = 20  # devices under way that a live listener gets: what fits on a screen


def summary(tally: Tally, device_count: int) -> str:
    """Return how far a deployment is, for a person; devices that had the release already count as successful."""
    done = sum(n for (_, status), n in tally.items() if status in GOOD)
    return f"{done}/{device_count} successful"


def find_deployment(connection: Connection, reference: str) -> Deployment:
    """Return the deployment of an id, of the beginning of one, or of a name; raises NotFound and Ambiguous."""
    rows = _named(connection, DEPLOYMENT, DEPLOYMENT.c.sequence.desc(), reference)
    return from_row(Deployment, _one(rows, "deployment", reference))


def find_artifact(connection: Connection, reference: str) -> Artifact:
    """Return the artifact of an id, of the beginning of one, or of a name; raises NotFound and Ambiguous."""
    rows = _named(connection, ARTIFACT, ARTIFACT.c.created_at.desc(), reference)
    return from_row(Artifact, _one(rows, "artifact", reference))


def _named(
    connection: Connection,
    table: Table,
    order: ColumnElement[Any],
    reference: str,
) -> Sequence[RowMapping]:
    named = [table.c.id == reference, table.c.name == reference]
    if len(reference) >= PREFIX_MIN:
        named.append(table.c.id.startswith(reference, autoescape=True))
    rows = connection.execute(select(table).where(or_(*named)).order_by(order).limit(3)).mappings().all()
    return [row for row in rows if row["id"] == reference] or rows


def _one(rows: Sequence[RowMapping], noun: str, reference: str) -> RowMapping:
    if not rows:
        raise NotFound(f"No such {noun}: {reference}. `wainwright {noun} list` shows all.")
    if len(rows) > 1:
        ids = ", ".join(row["id"] for row in rows[:2])
        raise Ambiguous(f"Several {noun}s are called {reference}: use an id, for example one of {ids}.")
    return rows[0]


def deployments_out(connection: Connection, deployments: Sequence[Deployment]) -> list[DeploymentOut]:
    """Return the views of deployments, in their order, with two queries for all of them."""
    phases: defaultdict[str, list[Phase]] = defaultdict(list)
    tallies: defaultdict[str, Tally] = defaultdict(dict)
    for ids in in_chunks([deployment.id for deployment in deployments]):
        query = select(PHASE).where(PHASE.c.deployment_id.in_(ids)).order_by(PHASE.c.deployment_id, PHASE.c.number)
        for row in connection.execute(query).mappings():
            phases[row["deployment_id"]].append(from_row(Phase, row))
        for row in connection.execute(select(TALLY).where(TALLY.c.deployment_id.in_(ids), TALLY.c.n > 0)).mappings():
            tallies[row["deployment_id"]][row["phase"], DeviceStatus(row["status"])] = row["n"]
    return [DeploymentOut(**_shown(d, phases[d.id], tallies[d.id])) for d in deployments]


def deployment_out(connection: Connection, deployment: Deployment) -> DeploymentOut:
    """Return the view of one deployment."""
    return deployments_out(connection, [deployment])[0]


def state_of(connection: Connection, deployment: Deployment) -> DeploymentState:
    """Return what a live listener gets: the deployment, and up to ACTIVE_SHOWN devices that are under way."""
    out = deployment_out(connection, deployment)
    moving = [p.number for p in out.phases if any(status in ACTIVE for status in p.counts)]
    active: list[DeviceDeployment] = []
    if moving:
        # Not ordered here: by the index of (deployment, phase, status) the limit ends the search early.
        query = select(PART).where(
            PART.c.deployment_id == deployment.id, PART.c.phase.in_(moving), PART.c.status.in_(sorted(ACTIVE))
        )
        rows = connection.execute(query.limit(ACTIVE_SHOWN)).mappings()
        active = sorted((from_row(DeviceDeployment, row) for row in rows), key=lambda part: part.device_id)
    return DeploymentState(**dict(out), active=[part_out(part) for part in active])


def _shown(deployment: Deployment, phases: Sequence[Phase], tally: Tally) -> dict[str, Any]:
    counts: defaultdict[DeviceStatus, int] = defaultdict(int)
    for (_, status), n in tally.items():
        counts[status] += n
    return msgspec.structs.asdict(deployment) | {
        "margo_state": margo_of_deployment(deployment.status, deployment.outcome),
        "counts": _in_order(counts),
        "summary": summary(tally, deployment.device_count),
        "phases": [_phase_out(phase, tally) for phase in phases],
        "created_at": known_moment(deployment.created_at),
        "started_at": moment(deployment.started_at),
        "finished_at": moment(deployment.finished_at),
    }


def _in_order(counts: Mapping[DeviceStatus, int]) -> dict[DeviceStatus, int]:
    return {status: counts[status] for status in DeviceStatus if counts.get(status)}


def _phase_out(phase: Phase, tally: Tally) -> PhaseOut:
    return PhaseOut(
        number=phase.number,
        size=phase.size,
        opens=phase.opens,
        opens_at=moment(phase.opens_at),
        delay_s=phase.delay_s,
        soak_s=phase.soak_s,
        opened_at=moment(phase.opened_at),
        done_at=moment(phase.done_at),
        counts=_in_order({status: n for (number, status), n in tally.items() if number == phase.number}),
    )


def part_fields(part: DeviceDeployment) -> dict[str, Any]:
    """Return the fields of a part's view."""
    progress = None
    if part.progress_done is not None and part.progress_total is not None:
        progress = ProgressOut(done=part.progress_done, total=part.progress_total)
    error = None
    if part.error_code is not None:
        error = ErrorOut(code=part.error_code, text=part.error_text or "")
    return {
        "deployment_id": part.deployment_id,
        "device_id": part.device_id,
        "phase": part.phase,
        "status": part.status,
        "margo_state": margo_of_device(part.status),
        "attempt": part.attempt,
        "substate": part.substate or None,
        "progress": progress,
        "error": error,
        "inconsistent": part.inconsistent,
        "artifact_id": part.artifact_id,
        "former_name": part.former_name,
        "created_at": known_moment(part.created_at),
        "started_at": moment(part.started_at),
        "updated_at": known_moment(part.updated_at),
        "finished_at": moment(part.finished_at),
        "next_attempt_at": moment(part.next_attempt_at),
        "deadline_at": moment(part.deadline_at),
    }


def part_out(part: DeviceDeployment) -> PartOut:
    """Return the view of one device's part in a deployment."""
    return PartOut(**part_fields(part))
