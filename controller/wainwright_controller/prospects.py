"""What a retry and a rollback would find among the devices of deployments: with two queries at most, however many.

Most is known from the tally. What is not is asked by the conditions of the operations themselves, in SQL; that they
agree is tried with random histories (tests/controller/rollouts/test_invariants.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select

from wainwright_common.codes import Code
from wainwright_common.statuses import DeploymentStatus, DeviceStatus
from wainwright_controller.records import Deployment, DeviceState, Tally
from wainwright_controller.rows import DEPLOYMENT, DEVICE, PART, TALLY
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

# As rollback.concerns, of a part that has ended.
_HAS_ASKED_SINCE = func.coalesce(DEVICE.c.last_check_in_at, 0.0) > func.coalesce(PART.c.finished_at, 0.0)
_MAY_RUN_IT = and_(
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


def prospects(
    connection: Connection, deployments: Sequence[Deployment], tallies: Mapping[str, Tally]
) -> dict[str, Prospects]:
    """Return the prospects of each deployment, by its id; `tallies` are theirs, which are exact."""
    there = {d.id: {status for (_, status), n in tallies[d.id].items() if n} for d in deployments}
    failed = [d.id for d in deployments if DeviceStatus.FAILURE in there[d.id] and d.rolls_back is None]
    ended = [d.id for d in deployments if d.status is DeploymentStatus.FINISHED and d.rolls_back is None]
    has_failed = _which(connection, failed, RETRIED)
    has_release = _which(connection, ended, _MAY_RUN_IT)
    return {d.id: Prospects(d.id in has_failed, d.id in has_release) for d in deployments}


def _which(connection: Connection, ids: Iterable[str], condition: ColumnElement[bool]) -> set[str]:
    """Return those of the deployments that have a part, of a device that is known, of which `condition` holds."""
    wanted = list(ids)
    if not wanted:
        return set()
    # By way of the tally each part is found by the index of (deployment, phase, status).
    stand = and_(
        TALLY.c.deployment_id == DEPLOYMENT.c.id,
        TALLY.c.n > 0,
        PART.c.deployment_id == TALLY.c.deployment_id,
        PART.c.phase == TALLY.c.phase,
        PART.c.status == TALLY.c.status,
        PART.c.device_id == DEVICE.c.id,
    )
    is_there = exists(select(1).where(stand, condition).correlate(DEPLOYMENT))
    return set(connection.execute(select(DEPLOYMENT.c.id).where(DEPLOYMENT.c.id.in_(wanted), is_there)).scalars())
