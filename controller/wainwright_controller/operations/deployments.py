"""Deployments: made, opened phase by phase, aborted, deleted."""

from __future__ import annotations

import uuid
from typing import Annotated

import msgspec
from msgspec.structs import replace
from sqlalchemy import delete, select

from wainwright_common.messages import CommandName
from wainwright_common.statuses import DeviceStatus, Outcome
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations.base import NotFound, Operator, listed
from wainwright_controller.records import (
    Deployment,
    DeviceState,
    Opens,
    Strategy,
)
from wainwright_controller.rows import (
    ARTIFACT,
    DEVICE,
    LOG_LINE,
    MEMBER,
)
from wainwright_controller.rules import lifecycle, phases
from wainwright_controller.rules.lifecycle import Act
from wainwright_controller.rules.phases import PhaseSpec

RETRIES_MAX = 100  # more would hide a broken release
TIMEOUT_S = 24 * 3600.0  # a device that is silent for a day in the middle of an update is worth a look


class Order(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A deployment as an operator orders it: a release, exactly one kind of target, and a plan."""

    release: Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
    devices: list[str] | None = None
    all_devices: bool = False
    group: str | None = None
    name: Annotated[str, msgspec.Meta(min_length=1, max_length=256)] | None = None
    phases: list[PhaseSpec] = []
    strategy: Strategy = Strategy.IMMEDIATE
    retries: Annotated[int, msgspec.Meta(ge=0, le=RETRIES_MAX)] = 0
    in_progress_timeout_s: Annotated[float, msgspec.Meta(gt=0, le=365 * 86400)] | None = None
    force: bool = False
    manual: bool = False


class DeploymentOperations(Operator):
    """What operators do with deployments."""

    def create_deployment(self, order: Order, actor: str) -> Deployment:
        """Make a deployment; its devices are fixed now, and those of the first phase are woken."""
        specs = order.phases or [PhaseSpec()]
        phases.check(specs)
        if order.manual:
            specs = [replace(specs[0], opens=Opens.APPROVAL), *specs[1:]]
        with self._transaction() as ledger:
            if not ledger.connection.execute(select(ARTIFACT.c.id).where(ARTIFACT.c.name == order.release)).first():
                raise NotFound(f"No such release: {order.release}. `wainwright release list` shows all.")
            device_ids, target = self._targets(ledger, order)
            deployment_id = str(uuid.uuid4())
            deployment = Deployment(
                id=deployment_id,
                sequence=0,
                name=order.name or f"{order.release} to {target}",
                artifact_name=order.release,
                target=target,
                strategy=order.strategy,
                retries=order.retries,
                in_progress_timeout_s=order.in_progress_timeout_s or TIMEOUT_S,
                force=order.force,
                device_count=len(device_ids),
                created_at=ledger.now,
                created_by=actor,
            )
            laid_out = phases.lay_out(deployment_id, specs, len(device_ids), ledger.now)
            ledger.note(
                "deployment",
                f"created for {len(device_ids)} device{'s' if len(device_ids) > 1 else ''}",
                actor,
                deployment_id,
            )
            ledger.add_deployment(deployment, laid_out, device_ids)
            ledger.flush()
            return ledger.deployments[deployment_id]

    def _targets(self, ledger: Ledger, order: Order) -> tuple[list[str], str]:
        kinds = [order.devices is not None, order.all_devices, order.group is not None]
        if sum(kinds) != 1:
            raise phases.BadPlan("A deployment goes to devices, to a group or to all: give exactly one of these.")
        accepted = select(DEVICE.c.id).where(DEVICE.c.state == DeviceState.ACCEPTED).order_by(DEVICE.c.id)
        if order.devices is not None:
            ids = list(dict.fromkeys(order.devices))
            ledger.load_devices(ids)
            wrong = [i for i in ids if i not in ledger.devices or ledger.devices[i].state is not DeviceState.ACCEPTED]
            if wrong:
                raise NotFound(f"Not an accepted device: {listed(wrong)}. `wainwright device list` shows all.")
            target = ids[0] if len(ids) == 1 else f"{len(ids)} devices"
        elif order.group is not None:
            self._group(ledger.connection, order.group)
            members = select(MEMBER.c.device_id).where(MEMBER.c.group_name == order.group)
            ids = list(ledger.connection.execute(accepted.where(DEVICE.c.id.in_(members))).scalars())
            target = f"group {order.group}"
        else:
            ids = list(ledger.connection.execute(accepted).scalars())
            target = "all devices"
        if not ids:
            raise phases.BadPlan(f"There is no accepted device in {target}: accept some, or choose another target.")
        return ids, target

    def start(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """Start a deployment that awaits its start."""
        return self._open_next(Act.START, deployment_id, actor, reason)

    def promote(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """Open the next phase, which waits for a person."""
        return self._open_next(Act.PROMOTE, deployment_id, actor, reason)

    def _open_next(self, act: Act, deployment_id: str, actor: str, reason: str) -> Deployment:
        with self._transaction() as ledger:
            deployment = self._deployment(ledger, deployment_id)
            lifecycle.check_allowed(act, deployment)
            opened = lifecycle.promote(deployment, ledger.phases[deployment_id], ledger.now)
            ledger.note("deployment", _with_reason(str(act), reason), actor, deployment_id)
            ledger.put_deployment(replace(deployment, hold=None), opened, actor)
            ledger.settle_later(deployment_id)
            ledger.flush()
            return ledger.deployments[deployment_id]

    def abort(self, deployment_id: str, actor: str, reason: str = "") -> Deployment:
        """End a deployment: devices under way are told to stop, and roll back what they have not committed."""
        with self._transaction() as ledger:
            deployment = self._deployment(ledger, deployment_id)
            lifecycle.check_allowed(Act.ABORT, deployment)
            ledger.note("deployment", _with_reason("abort", reason), actor, deployment_id)
            under_way = ledger.end_parts(deployment_id, DeviceStatus.ABORTED, actor)
            finished = lifecycle.finish(deployment, Outcome.ABORTED, ledger.now)
            ledger.put_deployment(finished, ledger.phases[deployment_id], actor)
        for device_id in under_way:
            self._waker.command(device_id, CommandName.ABORT, deployment_id)
        return finished

    def delete(self, deployment_id: str, actor: str) -> None:
        """Delete a finished deployment with its logs; the devices' own timelines keep it."""
        with self._transaction() as ledger:
            deployment = self._deployment(ledger, deployment_id)
            lifecycle.check_allowed(Act.DELETE, deployment)
            ledger.connection.execute(delete(LOG_LINE).where(LOG_LINE.c.deployment_id == deployment_id))
            ledger.delete_deployment(deployment_id)
            ledger.note("deployment", f"deployment {deployment.name} deleted", actor)


def _with_reason(act: str, reason: str) -> str:
    return f"{act}: {reason}" if reason else act
