"""Deployments: made, moved on by people, undone, deleted. What a state does not allow is refused (rules/actions.py)."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec.structs import replace
from sqlalchemy import delete, func, select

from wainwright_common.statuses import DeviceStatus, Hold, Outcome
from wainwright_controller import rollbacks
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations.base import NotFound, Operator
from wainwright_controller.operations.orders import TIMEOUT_S, Order, Target, most_devices, specs_of, target_of
from wainwright_controller.operations.previews import Preview, RollbackPreview, preview, rollback_preview
from wainwright_controller.prospects import MOVED_ON, RETRIED
from wainwright_controller.records import Deployment, Kind, Strategy
from wainwright_controller.rows import ARTIFACT, DEVICE, LOG_LINE, PART
from wainwright_controller.rules import lifecycle, phases
from wainwright_controller.rules.actions import Act, check_allowed
from wainwright_controller.rules.phases import PhaseSpec
from wainwright_controller.rules.possible import check_retry
from wainwright_controller.settling import failures_by_code
from wainwright_controller.targets import joining_devices


class DeploymentOperations(Operator):
    """What operators do with deployments."""

    def create_deployment(self, order: Order, actor: str) -> Deployment:
        """Make a deployment, and wake whom its open phases concern.

        The devices of a static one are fixed now; those of a dynamic one join as they check in.
        """
        specs = specs_of(order, self._clock())
        with self._transaction() as ledger:
            _check_release(ledger, order.release)
            target = target_of(ledger, order)
            deployment = _ordered(order, target, actor, ledger.now)
            if self._asks_for_approval(order, target):
                deployment = replace(deployment, hold=Hold.AWAITING_APPROVAL)
            return _add(ledger, deployment, specs, target, order.max_devices)

    def plan_deployment(self, order: Order) -> Preview:
        """Say what an order would do, and write nothing; raises what `create_deployment` would."""
        specs = specs_of(order, self._clock())
        with self.store.read() as connection:
            ledger = Ledger(connection, self._clock())
            _check_release(ledger, order.release)
            target = target_of(ledger, order)
            return preview(ledger, order, target, specs, needs_approval=self._asks_for_approval(order, target))

    def _asks_for_approval(self, order: Order, target: Target) -> bool:
        if order.approval or self.approval_above is None:
            return order.approval
        return most_devices(order, target) > self.approval_above

    def start(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """Start a deployment that waits for its start, or for its time."""
        with self._acting(Act.START, deployment_id, actor, reason) as ledger:
            deployment, plan = ledger.deployments[deployment_id], ledger.phases[deployment_id]
            ledger.put_deployment(*lifecycle.start(deployment, plan, ledger.now), actor)
        return ledger.deployments[deployment_id]

    def approve(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """Let a deployment go on that waits for an approval; who made it may not."""
        with self._acting(Act.APPROVE, deployment_id, actor, reason) as ledger:
            deployment, plan = ledger.deployments[deployment_id], ledger.phases[deployment_id]
            ledger.put_deployment(lifecycle.approve(deployment, plan, actor, ledger.now), plan, actor)
        return ledger.deployments[deployment_id]

    def deny(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """End a deployment that waits for an approval."""
        return self._end(Act.DENY, deployment_id, actor, reason)

    def promote(self, deployment_id: str, actor: str, reason: str = "", phase: int | None = None) -> Deployment:
        """Open the next phase, whether or not its turn has come; with `phase`, if that is its number."""
        with self._acting(Act.PROMOTE, deployment_id, actor, reason) as ledger:
            deployment, plan = ledger.deployments[deployment_id], ledger.phases[deployment_id]
            opened = lifecycle.promote(deployment, plan, ledger.now, phase)
            ledger.put_deployment(replace(deployment, hold=None), opened, actor)
        return ledger.deployments[deployment_id]

    def pause(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """Make no more offers until it is resumed; devices under way go on."""
        with self._acting(Act.PAUSE, deployment_id, actor, reason) as ledger:
            paused = lifecycle.pause(ledger.deployments[deployment_id], reason or f"by {actor}")
            ledger.put_deployment(paused, ledger.phases[deployment_id], actor)
        return ledger.deployments[deployment_id]

    def resume(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """Go on with a paused deployment; what has failed by now is acknowledged."""
        with self._acting(Act.RESUME, deployment_id, actor, reason) as ledger:
            deployment, plan = ledger.deployments[deployment_id], ledger.phases[deployment_id]
            tally, by_code = ledger.tally(deployment_id), failures_by_code(ledger, deployment)
            resumed = lifecycle.resume(deployment, plan, tally, by_code, ledger.now)
            ledger.put_deployment(resumed, plan, actor)
            ledger.wake_pending(deployment_id)
            if plan[0].opened_at is not None:
                ledger.wake_for(deployment_id, joining_devices(ledger.connection, resumed))
        return ledger.deployments[deployment_id]

    def install(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """Let devices install what they were told to download only; those that have it are woken."""
        with self._acting(Act.INSTALL, deployment_id, actor, reason) as ledger:
            ledger.put_deployment(
                lifecycle.install(ledger.deployments[deployment_id]), ledger.phases[deployment_id], actor
            )
            ledger.wake_under_way(deployment_id)
        return ledger.deployments[deployment_id]

    def abort(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """End a deployment: devices under way are told to stop, and roll back what they have not committed."""
        return self._end(Act.ABORT, deployment_id, actor, reason)

    def finish(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """Let no more devices join a dynamic deployment, and those go that wait: as failed, if an attempt has."""
        with self._acting(Act.FINISH, deployment_id, actor, reason) as ledger:
            ledger.end_parts(deployment_id, DeviceStatus.FAILURE, actor, waiting_only=True)
            ledger.end_parts(deployment_id, DeviceStatus.ABORTED, actor, waiting_only=True)
            closed = replace(ledger.deployments[deployment_id], closed_at=ledger.now, hold=None, hold_reason="")
            ledger.put_deployment(closed, ledger.phases[deployment_id], actor)
        return ledger.deployments[deployment_id]

    def rollback(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """Stop a deployment, and give its devices back what they ran before; returns the deployment that is undone."""
        with self._transaction() as ledger:
            self._deployment(ledger, deployment_id)
            rollbacks.begin(ledger, deployment_id, actor, reason)
        return ledger.deployments[deployment_id]

    def plan_rollback(self, deployment_id: str) -> RollbackPreview:
        """Say what a rollback would do, and write nothing; raises Refused when it is not possible."""
        with self.store.read() as connection:
            ledger = Ledger(connection, self._clock())
            deployment = self._deployment(ledger, deployment_id)
            check_allowed(Act.ROLLBACK, deployment)
            return rollback_preview(ledger, deployment)

    def retry(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """Make a deployment of the same release to the devices that failed, and have not moved on; returns the new one.

        Who runs what a newer deployment brought has moved on: the same release again would take that away.
        """
        with self._acting(Act.RETRY, deployment_id, actor, reason) as ledger:
            failed = _failed_devices(ledger, deployment_id)
            old = ledger.deployments[deployment_id]
            check_retry(old, has_failed=bool(failed))
            plural = "" if len(failed) == 1 else "s"
            left_out = _moved_on(ledger, deployment_id)
            without = f", without {left_out} that {'has' if left_out == 1 else 'have'} moved on" if left_out else ""
            target = Target(Kind.STATIC, f"{len(failed)} failed device{plural} of {old.name}{without}", failed)
            again = _again(old, target, actor, ledger.now)
            made = _add(ledger, again, [PhaseSpec()], target, None)
            told = f"retried for {len(failed)} device{plural} as {again.name}{without}"
            ledger.note("deployment", told, actor, deployment_id)
        return made

    def delete(self, deployment_id: str, actor: str) -> None:
        """Delete a finished deployment with its logs; the devices' own timelines keep it."""
        with self._transaction() as ledger:
            deployment = self._deployment(ledger, deployment_id)
            check_allowed(Act.DELETE, deployment)
            ledger.connection.execute(delete(LOG_LINE).where(LOG_LINE.c.deployment_id == deployment_id))
            ledger.delete_deployment(deployment_id)
            ledger.note("deployment", f"deployment {deployment.name} deleted", actor)

    def _end(self, act: Act, deployment_id: str, actor: str, reason: str) -> Deployment:
        with self._acting(act, deployment_id, actor, reason) as ledger:
            ledger.end_parts(deployment_id, DeviceStatus.ABORTED, actor)
            finished = lifecycle.finish(ledger.deployments[deployment_id], Outcome.ABORTED, ledger.now)
            ledger.put_deployment(finished, ledger.phases[deployment_id], actor)
        return ledger.deployments[deployment_id]

    @contextmanager
    def _acting(self, act: Act, deployment_id: str, actor: str, reason: str) -> Iterator[Ledger]:
        """Yield a ledger with the deployment, whose state allows `act`; what is put is settled and committed."""
        with self._transaction() as ledger:
            check_allowed(act, self._deployment(ledger, deployment_id))
            ledger.note("deployment", f"{act}: {reason}" if reason else str(act), actor, deployment_id)
            yield ledger
            ledger.settle_later(deployment_id)


def _check_release(ledger: Ledger, name: str) -> None:
    if not ledger.connection.execute(select(ARTIFACT.c.id).where(ARTIFACT.c.name == name)).first():
        raise NotFound(f"No such release: {name}. `wainwright release list` shows all.", "release")


def _ordered(order: Order, target: Target, actor: str, now: float) -> Deployment:
    return Deployment(
        id=str(uuid.uuid4()),
        sequence=0,
        name=order.name or f"{order.release} to {target.words}"[:256],
        artifact_name=order.release,
        target=target.words,
        strategy=order.strategy,
        retries=order.retries,
        in_progress_timeout_s=order.in_progress_timeout_s or TIMEOUT_S,
        time_limits=order.time_limits,
        limits=order.limits,
        pace=order.pace,
        policy=order.policy,
        force=order.force,
        kind=target.kind,
        filter=target.filter,
        max_devices=order.max_devices,
        device_count=len(target.device_ids) if target.kind is Kind.STATIC else 0,
        created_at=now,
        created_by=actor,
        tokens_at=now,
    )


def _again(old: Deployment, target: Target, actor: str, now: float) -> Deployment:
    """Return a deployment like `old` for other devices, at their full number at once."""
    kept = {name: getattr(old, name) for name in ("artifact_name", "retries", "time_limits", "pace", "policy", "force")}
    return Deployment(
        **kept,
        id=str(uuid.uuid4()),
        sequence=0,
        name=f"{old.name} (retry)"[:256],
        target=target.words,
        strategy=Strategy.IMMEDIATE,
        in_progress_timeout_s=old.in_progress_timeout_s,
        device_count=len(target.device_ids),
        created_at=now,
        created_by=actor,
        tokens_at=now,
        retry_of=old.id,
    )


def _add(
    ledger: Ledger, deployment: Deployment, specs: list[PhaseSpec], target: Target, max_devices: int | None
) -> Deployment:
    is_dynamic = target.kind is Kind.DYNAMIC
    basis = max_devices or len(target.device_ids)
    plan = phases.lay_out(deployment.id, specs, basis, ledger.now, is_dynamic=is_dynamic)
    count = len(target.device_ids)
    words = "devices that match" if is_dynamic else f"{count} device{'' if count == 1 else 's'}"
    ledger.note("deployment", f"created for {words}", deployment.created_by, deployment.id)
    if is_dynamic:
        ledger.add_empty(deployment, plan)
    else:
        ledger.add_deployment(deployment, plan, target.device_ids)
    ledger.flush()
    return ledger.deployments[deployment.id]


def _failed_devices(ledger: Ledger, deployment_id: str) -> list[str]:
    query = select(DEVICE.c.id).join(PART, PART.c.device_id == DEVICE.c.id).where(PART.c.deployment_id == deployment_id)
    return list(ledger.connection.execute(query.where(RETRIED).order_by(DEVICE.c.id)).scalars())


def _moved_on(ledger: Ledger, deployment_id: str) -> int:
    """Count the devices that a retry leaves out."""
    query = select(func.count()).select_from(PART).join(DEVICE, PART.c.device_id == DEVICE.c.id)
    return ledger.connection.execute(query.where(PART.c.deployment_id == deployment_id, MOVED_ON)).scalar_one()
