"""What a retry and a rollback would find among the devices of deployments: with two queries at most, however many.

Most is known from the tally. What is not is asked by the conditions of the operations themselves, in SQL; that they
agree is tried with random histories (tests/controller/rollouts/test_invariants.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select

from wainwright_common.codes import Code
from wainwright_common.statuses import GOOD, DeploymentStatus, DeviceStatus
from wainwright_controller.records import Deployment, DeviceState, Tally
from wainwright_controller.rows import ARTIFACT, DEPLOYMENT, DEVICE, PART, PHASE, TALLY
from wainwright_controller.rules.possible import Prospects

# Who runs, as far as is known, what a newer deployment brought: a retry of the older one would take that away.
_NEWER, _NEWER_DEPLOYMENT = PART.alias(), DEPLOYMENT.alias()
_RUNS_IT = or_(
    DEVICE.c.artifact_name == _NEWER_DEPLOYMENT.c.artifact_name,
    func.coalesce(DEVICE.c.last_check_in_at, 0.0) <= func.coalesce(_NEWER.c.finished_at, 0.0),
)
_HAS_MOVED_ON = exists(
    select(1)
    .where(
        _NEWER.c.device_id == PART.c.device_id,
        _NEWER.c.sequence > PART.c.sequence,
        _NEWER.c.status == DeviceStatus.SUCCESS,
        _NEWER.c.deployment_id == _NEWER_DEPLOYMENT.c.id,
        _NEWER_DEPLOYMENT.c.rolls_back.is_(None),
        _RUNS_IT,
    )
    .correlate(PART, DEVICE)
)
_FAILED = and_(PART.c.status == DeviceStatus.FAILURE, DEVICE.c.state == DeviceState.ACCEPTED)
RETRIED = and_(_FAILED, ~_HAS_MOVED_ON)
"""Which parts, joined with their devices, a retry is for."""
MOVED_ON = and_(_FAILED, _HAS_MOVED_ON)
"""And which it leaves out, because the device runs what a newer deployment brought."""

# Whom a rollback that has ended left behind, of whom another one could bring back: it may run the release still, as far
# as is known, what it ran before is in the store, and no rollback has found that there is nothing to undo any more.
_THERE, _UNDONE, _UNDOING, _ROLLBACK = DEVICE.alias(), DEPLOYMENT.alias(), PART.alias(), DEPLOYMENT.alias()
_RUNS_IT_STILL = exists(
    select(1)
    .where(
        _THERE.c.id == PART.c.device_id,
        _THERE.c.state == DeviceState.ACCEPTED,
        _UNDONE.c.id == PART.c.deployment_id,
        or_(
            func.coalesce(_THERE.c.last_check_in_at, 0.0) <= func.coalesce(PART.c.finished_at, 0.0),
            _THERE.c.artifact_name == _UNDONE.c.artifact_name,
        ),
    )
    .correlate(PART)
)
_IS_UNDONE = exists(
    select(1)
    .where(
        _UNDOING.c.device_id == PART.c.device_id,
        _UNDOING.c.status.in_(GOOD),
        _UNDOING.c.deployment_id == _ROLLBACK.c.id,
        _ROLLBACK.c.rolls_back == PART.c.deployment_id,
    )
    .correlate(PART)
)
_HAS_THE_FORMER = exists(select(1).where(ARTIFACT.c.name == PART.c.former_name).correlate(PART))
LEFT_BEHIND = and_(_RUNS_IT_STILL, _HAS_THE_FORMER, ~_IS_UNDONE)
"""Which parts of a deployment another rollback is for, where one has ended; beyond what any is for."""

# As rollback.concerns, of a part that has ended.
_HAS_ASKED_SINCE = func.coalesce(DEVICE.c.last_check_in_at, 0.0) > func.coalesce(PART.c.finished_at, 0.0)
_MAY_RUN_IT = and_(
    or_(DEPLOYMENT.c.rollback_id.is_(None), LEFT_BEHIND),
    DEVICE.c.state != DeviceState.DECOMMISSIONED,
    or_(
        PART.c.status == DeviceStatus.SUCCESS,
        and_(
            or_(PART.c.offered.is_(True), PART.c.attempt > 1),
            PART.c.status != DeviceStatus.DECOMMISSIONED,
            or_(PART.c.status != DeviceStatus.FAILURE, PART.c.error_code == Code.TIMEOUT),
            or_(~_HAS_ASKED_SINCE, DEVICE.c.artifact_name == DEPLOYMENT.c.artifact_name),
        ),
    ),
)

# Nothing was offered to any part of a phase that never opened: of a canary that was stopped that is nearly all.
_WAS_OPENED = exists(
    select(1)
    .where(
        PHASE.c.deployment_id == TALLY.c.deployment_id,
        PHASE.c.number == TALLY.c.phase,
        PHASE.c.opened_at.is_not(None),
    )
    .correlate(TALLY)
)


def prospects(
    connection: Connection, deployments: Sequence[Deployment], tallies: Mapping[str, Tally]
) -> dict[str, Prospects]:
    """Return the prospects of each deployment, by its id; `tallies` are theirs, which are exact."""
    there = {d.id: {status for (_, status), n in tallies[d.id].items() if n} for d in deployments}
    failed = [d.id for d in deployments if DeviceStatus.FAILURE in there[d.id] and d.rolls_back is None]
    ended = [d.id for d in deployments if d.status is DeploymentStatus.FINISHED and d.rolls_back is None]
    has_failed = _which(connection, failed, RETRIED, TALLY.c.status == DeviceStatus.FAILURE)
    has_release = _which(connection, ended, _MAY_RUN_IT, _WAS_OPENED)
    return {d.id: Prospects(d.id in has_failed, d.id in has_release) for d in deployments}


def _which(
    connection: Connection, ids: Iterable[str], condition: ColumnElement[bool], where: ColumnElement[bool]
) -> set[str]:
    """Return those of the deployments that have a part, of a device that is known, of which `condition` holds.

    `where` says of a row of the tally whether there may be one among its parts: they are then found by the index of
    (deployment, phase, status), and the others are not looked at.
    """
    wanted = list(ids)
    if not wanted:
        return set()
    part = select(1).where(
        PART.c.deployment_id == TALLY.c.deployment_id,
        PART.c.phase == TALLY.c.phase,
        PART.c.status == TALLY.c.status,
        PART.c.device_id == DEVICE.c.id,
        condition,
    )
    counted = and_(DEPLOYMENT.c.id.in_(wanted), TALLY.c.deployment_id == DEPLOYMENT.c.id, TALLY.c.n > 0)
    query = select(DEPLOYMENT.c.id).distinct().where(counted, where, exists(part.correlate(DEPLOYMENT, TALLY)))
    return set(connection.execute(query).scalars())
