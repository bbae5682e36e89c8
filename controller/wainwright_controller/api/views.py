"""Deployments and device deployments as they are shown, read with a fixed number of queries however many there are.

Counts come from the tally, which is exact; derived fields come from the rules.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, RowMapping, Table, case, or_, select

from wainwright_common.statuses import ACTIVE, GOOD, DeviceStatus, Hold, margo_of_deployment, margo_of_device
from wainwright_controller.api.failures import failures_of
from wainwright_controller.api.models import (
    DeploymentOut,
    DeploymentState,
    ErrorOut,
    FailureOut,
    Limit,
    Pace,
    PartOut,
    PhaseOut,
    Policy,
    ProgressOut,
    RefusalOut,
    RollbackOut,
    TimeLimits,
    known_moment,
    moment,
)
from wainwright_controller.api.problems import Ambiguous
from wainwright_controller.operations import NotFound
from wainwright_controller.prospects import prospects
from wainwright_controller.records import Artifact, Deployment, DeviceDeployment, Phase, Tally
from wainwright_controller.rows import ARTIFACT, DEPLOYMENT, EVENT, PART, PHASE, TALLY, from_row, in_chunks
from wainwright_controller.rules.lifecycle import is_being_undone
from wainwright_controller.rules.phases import waits_for
from wainwright_controller.rules.possible import Prospects, possible, refusals

PREFIX_MIN = 4  # characters of an id that are enough to name it, if no other begins so
LAST_AT = (
    select(EVENT.c.at)
    .where(EVENT.c.deployment_id == DEPLOYMENT.c.id)
    .order_by(EVENT.c.id.desc())
    .limit(1)
    .scalar_subquery()
)
"""When anything last happened to a deployment: by the index of (deployment, id) one row is read."""
_UNDOING, _ROLLBACK = PART.alias("undoing_part"), DEPLOYMENT.alias("rollback")
_STANDS = (
    select(_UNDOING.c.status)
    .join(_ROLLBACK, _ROLLBACK.c.id == _UNDOING.c.deployment_id)
    .where(_UNDOING.c.device_id == PART.c.device_id, _ROLLBACK.c.rolls_back == PART.c.deployment_id)
    .order_by(_UNDOING.c.sequence.desc())
    .limit(1)
    .correlate(PART)
    .scalar_subquery()
)
_UNDONE = case((DEPLOYMENT.c.rollback_id.is_not(None), _STANDS))
PARTS = select(PART, _UNDONE.label("undoing")).join(DEPLOYMENT, DEPLOYMENT.c.id == PART.c.deployment_id)
"""Device deployments, each with where its device stands in the latest rollback of the deployment that it is part of."""
ACTIVE_SHOWN = 20  # devices under way that a live listener gets: what fits on a screen
FAILURES_SHOWN = 5  # different failures that he gets: as above
RESUMED = "the deployment to be resumed"


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


def deployments_out(
    connection: Connection, deployments: Sequence[Deployment], now: float, *, says_why_not: bool = False
) -> list[DeploymentOut]:
    """Return the views of deployments, in their order, with four queries for all of them, or six.

    With `says_why_not` each has the refusal of what is not allowed.
    """
    phases: defaultdict[str, list[Phase]] = defaultdict(list)
    tallies: defaultdict[str, Tally] = defaultdict(dict)
    updated: dict[str, float] = {}
    undoing: dict[str, Deployment] = {}
    found: dict[str, Prospects] = {}
    for piece in in_chunks(deployments):
        ids = [deployment.id for deployment in piece]
        rollback_ids = [deployment.rollback_id for deployment in piece if deployment.rollback_id is not None]
        query = select(PHASE).where(PHASE.c.deployment_id.in_(ids)).order_by(PHASE.c.deployment_id, PHASE.c.number)
        for row in connection.execute(query).mappings():
            phases[row["deployment_id"]].append(from_row(Phase, row))
        wanted = TALLY.c.deployment_id.in_([*ids, *rollback_ids])
        for row in connection.execute(select(TALLY).where(wanted, TALLY.c.n > 0)).mappings():
            tallies[row["deployment_id"]][row["phase"], DeviceStatus(row["status"])] = row["n"]
        changes = connection.execute(select(DEPLOYMENT.c.id, LAST_AT.label("at")).where(DEPLOYMENT.c.id.in_(ids)))
        updated |= {row.id: row.at for row in changes}
        for row in connection.execute(select(DEPLOYMENT).where(DEPLOYMENT.c.id.in_(rollback_ids))).mappings():
            undoing[row["id"]] = from_row(Deployment, row)
        found |= prospects(connection, piece, tallies)
    return [
        DeploymentOut(
            **_shown(d, phases[d.id], tallies[d.id], now)
            | _actions(d, phases[d.id], found[d.id], says_why_not=says_why_not)
            | {
                "updated_at": known_moment(max(updated.get(d.id) or 0.0, d.created_at)),
                "rollback": _rollback_out(d, undoing.get(d.rollback_id or ""), tallies[d.rollback_id or ""]),
            }
        )
        for d in deployments
    ]


def deployment_out(connection: Connection, deployment: Deployment, now: float) -> DeploymentOut:
    """Return the view of one deployment; `now` is what spans in its sentences are counted from."""
    return deployments_out(connection, [deployment], now, says_why_not=True)[0]


def state_of(connection: Connection, deployment: Deployment, now: float) -> DeploymentState:
    """Return what a live listener gets: the deployment, ACTIVE_SHOWN devices under way, and FAILURES_SHOWN failures."""
    out = deployment_out(connection, deployment, now)
    moving = [p.number for p in out.phases if any(status in ACTIVE for status in p.counts)]
    active: list[DeviceDeployment] = []
    if moving:
        # Not ordered here: by the index of (deployment, phase, status) the limit ends the search early.
        query = select(PART).where(
            PART.c.deployment_id == deployment.id, PART.c.phase.in_(moving), PART.c.status.in_(sorted(ACTIVE))
        )
        rows = connection.execute(query.limit(ACTIVE_SHOWN)).mappings()
        active = sorted((from_row(DeviceDeployment, row) for row in rows), key=lambda part: part.device_id)
    return DeploymentState(
        **dict(out),
        active=[part_out(part) for part in active],
        failures=failures(connection, out, FAILURES_SHOWN)[0],
    )


def failures(connection: Connection, shown: DeploymentOut, limit: int) -> tuple[list[FailureOut], int]:
    """Return the most frequent failures of a deployment, and how many different ones there are."""
    failed = [phase.number for phase in shown.phases if DeviceStatus.FAILURE in phase.counts]
    if not failed and not shown.retries:
        return [], 0
    return failures_of(connection, shown.id, failed, limit, retries=shown.retries > 0)


def _shown(deployment: Deployment, phases: Sequence[Phase], tally: Tally, now: float) -> dict[str, Any]:
    kept = {name: getattr(deployment, name) for name in DeploymentOut.model_fields if hasattr(deployment, name)}
    undone = is_being_undone(deployment)
    return kept | {
        "where": deployment.filter,
        "closed_at": moment(deployment.closed_at),
        "hold_reason": deployment.hold_reason or None,
        "margo_state": margo_of_deployment(deployment.status, deployment.outcome, is_being_undone=undone),
        "counts": _counts(tally),
        "summary": summary(tally, deployment.device_count),
        "phases": [_phase_out(deployment, phases, number, tally, now) for number in range(1, len(phases) + 1)],
        "time_limits": TimeLimits(**msgspec.to_builtins(deployment.time_limits)),
        "limits": [Limit(**msgspec.to_builtins(limit)) for limit in deployment.limits],
        "pace": Pace(**msgspec.to_builtins(deployment.pace)),
        "policy": Policy.of(deployment.policy),
        "created_at": known_moment(deployment.created_at),
        "started_at": moment(deployment.started_at),
        "finished_at": moment(deployment.finished_at),
    }


def _actions(
    deployment: Deployment, phases: Sequence[Phase], found: Prospects, *, says_why_not: bool
) -> dict[str, Any]:
    shown: dict[str, Any] = {"allowed": possible(deployment, phases, found)}
    if says_why_not:
        refused = refusals(deployment, phases, found)
        shown["refused"] = {act: RefusalOut(code=why.code, text=str(why)) for act, why in refused.items()}
    return shown


def _counts(tally: Tally, phase: int | None = None) -> dict[DeviceStatus, int]:
    """Return how many devices stand where, in one phase or in all, in the order of the statuses."""
    counts: defaultdict[DeviceStatus, int] = defaultdict(int)
    for (number, status), n in tally.items():
        if phase in {None, number}:
            counts[status] += n
    return {status: counts[status] for status in DeviceStatus if counts.get(status)}


def _rollback_out(undone: Deployment, rollback: Deployment | None, tally: Tally) -> RollbackOut | None:
    if rollback is None:
        return None
    kept = {name: getattr(rollback, name) for name in ("id", "name", "status", "hold", "outcome", "device_count")}
    return RollbackOut(
        **kept,
        summary=summary(tally, rollback.device_count),
        counts=_counts(tally),
        ended_at=moment(undone.rollback_ended_at),
    )


def _phase_out(deployment: Deployment, phases: Sequence[Phase], number: int, tally: Tally, now: float) -> PhaseOut:
    phase = phases[number - 1]
    waits = waits_for(phases, number, now)
    if waits and deployment.hold is Hold.PAUSED:  # until then nothing else is looked at
        waits = RESUMED
    return PhaseOut(
        number=number,
        size=phase.size,
        capacity=phase.capacity,
        opens=phase.opens,
        opens_at=moment(phase.opens_at),
        delay_s=phase.delay_s,
        soak_s=phase.soak_s,
        opened_at=moment(phase.opened_at),
        done_at=moment(phase.done_at),
        waits_for=waits or None,
        ailment=phase.ailment or None,
        counts=_counts(tally, number),
    )


def part_fields(part: DeviceDeployment, undoing: DeviceStatus | None = None) -> dict[str, Any]:
    """Return the fields of a part's view; `undoing` is as in `margo_of_device`."""
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
        "margo_state": margo_of_device(part.status, undoing),
        "attempt": part.attempt,
        "substate": part.substate or None,
        "progress": progress,
        "error": error,
        "inconsistent": part.inconsistent,
        "artifact_id": part.artifact_id,
        "former_name": part.former_name,
        "restore_name": part.restore_name,
        "offered": part.offered,
        "offered_at": moment(part.offered_at),
        "created_at": known_moment(part.created_at),
        "started_at": moment(part.started_at),
        "updated_at": known_moment(part.updated_at),
        "finished_at": moment(part.finished_at),
        "next_attempt_at": moment(part.next_attempt_at),
        "deadline_at": moment(part.deadline_at),
        "regressed_at": moment(part.regressed_at),
    }


def part_out(part: DeviceDeployment, undoing: DeviceStatus | None = None) -> PartOut:
    """Return the view of one device's part in a deployment."""
    return PartOut(**part_fields(part, undoing))


def undoing_of(row: RowMapping) -> DeviceStatus | None:
    """Return where the device of a row of PARTS stands in the rollback of its deployment; None without one."""
    status = row["undoing"]
    return None if status is None else DeviceStatus(status)
