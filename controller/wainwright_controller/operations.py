"""What operators do: each call is one transaction, written to the timeline; it wakes whom it concerns after the commit.

Raises Refused (not possible in this state), NotFound (no such thing) or BadPlan (cannot be carried out as written); the
store is then as it was.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated

import msgspec
from msgspec.structs import replace
from sqlalchemy import Connection, delete, insert, select

from wainwright_common.errors import WainwrightError
from wainwright_common.messages import CommandName
from wainwright_common.statuses import DeploymentStatus, DeviceStatus, Outcome
from wainwright_common.topics import check_device_id
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.ledger import Ledger
from wainwright_controller.records import (
    Artifact,
    Deployment,
    Device,
    DeviceDeployment,
    DeviceState,
    Opens,
    Strategy,
)
from wainwright_controller.rows import (
    ARTIFACT,
    DEPLOYMENT,
    DEVICE,
    GROUP,
    LOG_LINE,
    MEMBER,
    PART,
    from_row,
    in_chunks,
    to_row,
)
from wainwright_controller.rules import lifecycle, phases
from wainwright_controller.rules.lifecycle import Act, Refused
from wainwright_controller.rules.phases import PhaseSpec
from wainwright_controller.rules.why import Answer, why
from wainwright_controller.store import Store
from wainwright_controller.waker import Waker

RETRIES_MAX = 100  # more would hide a broken release
TIMEOUT_S = 24 * 3600.0  # a device that is silent for a day in the middle of an update is worth a look
LISTED_MAX = 5  # ids that an error names before it says "and n more"


class NotFound(WainwrightError):  # noqa: N818  the name is the sentence: "not found: …"
    """There is no such device, group, artifact, release or deployment."""


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


def listed(ids: Sequence[str]) -> str:
    """Print ids for a sentence, the first few of many."""
    more = f" and {len(ids) - LISTED_MAX} more" if len(ids) > LISTED_MAX else ""
    return ", ".join(ids[:LISTED_MAX]) + more


class Operations:
    """See the module; safe to share between threads."""

    def __init__(self, store: Store, bulletin: Bulletin, waker: Waker, clock: Callable[[], float] = time.time) -> None:
        self.store = store
        self._bulletin = bulletin
        self._waker = waker
        self._clock = clock

    @contextmanager
    def _transaction(self) -> Iterator[Ledger]:
        """Yield a ledger that is flushed and committed at the end; then wake and tell."""
        with self.store.write() as connection:
            ledger = Ledger(connection, self._clock())
            yield ledger
            ledger.flush()
        self._waker.wake(ledger.wakes)
        self._bulletin.post(ledger.changed)

    # ---- devices ----------------------------------------------------------------------------------------------

    def decide_devices(self, ids: Sequence[str], state: DeviceState, actor: str) -> list[str]:
        """Accept or reject devices; returns those that changed. Raises NotFound when one is unknown."""
        with self._transaction() as ledger:
            ledger.load_devices(ids)
            unknown = [i for i in ids if i not in ledger.devices]
            if unknown:
                raise NotFound(f"No such device: {listed(unknown)}. `wainwright device list` shows all.")
            changed = [i for i in dict.fromkeys(ids) if ledger.devices[i].state is not state]
            for device_id in changed:
                ledger.put_device(replace(ledger.devices[device_id], state=state))
                ledger.note("device", str(state), actor, device_id=device_id)
            if state is DeviceState.ACCEPTED:
                ledger.wakes += changed
        return changed

    def preauthorize(self, ids: Sequence[str], actor: str) -> list[str]:
        """Accept devices before they are heard of; returns those that changed. Raises BadTopic for what is no id."""
        with self._transaction() as ledger:
            ledger.load_devices([check_device_id(i) for i in ids])
            changed = []
            for device_id in dict.fromkeys(ids):
                known = ledger.devices.get(device_id)
                if known is not None and known.state is DeviceState.ACCEPTED:
                    continue
                device = known or Device(id=device_id, created_at=ledger.now)
                ledger.put_device(replace(device, state=DeviceState.ACCEPTED))
                ledger.note("device", "accepted before it was heard of", actor, device_id=device_id)
                changed.append(device_id)
            ledger.wakes += changed
        return changed

    def decommission(self, device_id: str, actor: str) -> None:
        """Take a device out of the fleet; its unfinished deployments end as `decommissioned`."""
        with self._transaction() as ledger:
            device = self._device(ledger, device_id)
            ledger.load_open_parts([device_id])
            for candidate in ledger.candidates(device_id):
                ended = replace(
                    candidate.part,
                    status=DeviceStatus.DECOMMISSIONED,
                    finished_at=ledger.now,
                    updated_at=ledger.now,
                    next_attempt_at=None,
                    deadline_at=None,
                )
                ledger.put_part(ended, actor)
            ledger.put_device(replace(device, state=DeviceState.DECOMMISSIONED))
            ledger.connection.execute(delete(MEMBER).where(MEMBER.c.device_id == device_id))
            ledger.note("device", "decommissioned", actor, device_id=device_id)
            ledger.wakes.append(device_id)

    def check_in_now(self, ids: Sequence[str], actor: str) -> int:
        """Ask devices to check in; returns how many were asked. Raises NotFound when one is unknown."""
        with self._transaction() as ledger:
            for device_id in ids:
                self._device(ledger, device_id)
                ledger.note("device", "asked to check in", actor, device_id=device_id)
            ledger.wakes += ids
        return len(ids)

    def _device(self, ledger: Ledger, device_id: str) -> Device:
        ledger.load_devices([device_id])
        if device_id not in ledger.devices:
            raise NotFound(f"No such device: {device_id}. `wainwright device list` shows all.")
        return ledger.devices[device_id]

    def why(self, device_id: str) -> Answer:
        """Say in one sentence why a device is, or is not, being updated."""
        with self.store.read() as connection:
            ledger = Ledger(connection, self._clock())
            ledger.load_devices([device_id])
            ledger.load_open_parts([device_id])
            candidates = ledger.candidates(device_id)
            last = None if candidates else self._last(ledger, device_id)
            return why(ledger.devices.get(device_id), candidates, last, ledger.now)

    @staticmethod
    def _last(ledger: Ledger, device_id: str) -> tuple[DeviceDeployment, Deployment] | None:
        query = select(PART.c.deployment_id).where(PART.c.device_id == device_id)
        newest = query.order_by(PART.c.finished_at.desc(), PART.c.sequence.desc()).limit(1)
        deployment_id = ledger.connection.execute(newest).scalar()
        if deployment_id is None:
            return None
        ledger.load_parts([(deployment_id, device_id)])
        return ledger.parts[deployment_id, device_id], ledger.deployments[deployment_id]

    # ---- groups -----------------------------------------------------------------------------------------------

    def create_group(self, name: str, device_ids: Sequence[str], actor: str) -> None:
        """Make a static group; a device that is in another moves over."""
        with self._transaction() as ledger:
            if ledger.connection.execute(select(GROUP.c.name).where(GROUP.c.name == name)).first():
                raise Refused("group-exists", f"There is a group {name} already: add devices to it, or delete it.")
            ledger.connection.execute(insert(GROUP), {"name": name, "created_at": ledger.now})
            self._join(ledger, name, device_ids)
            ledger.note("group", f"group {name} created with {len(device_ids)} devices", actor)

    def add_to_group(self, name: str, device_ids: Sequence[str], actor: str) -> None:
        """Add devices to a static group; a device that is in another moves over."""
        with self._transaction() as ledger:
            self._group(ledger.connection, name)
            self._join(ledger, name, device_ids)
            ledger.note("group", f"{len(device_ids)} devices added to group {name}", actor)

    def remove_from_group(self, name: str, device_ids: Sequence[str], actor: str) -> None:
        """Take devices out of a static group; running deployments keep them."""
        with self._transaction() as ledger:
            self._group(ledger.connection, name)
            for chunk in in_chunks(device_ids):
                members = delete(MEMBER).where(MEMBER.c.group_name == name, MEMBER.c.device_id.in_(chunk))
                ledger.connection.execute(members)
            ledger.note("group", f"{len(device_ids)} devices removed from group {name}", actor)

    def delete_group(self, name: str, actor: str) -> None:
        """Delete a static group; its devices stay, and running deployments keep them."""
        with self._transaction() as ledger:
            self._group(ledger.connection, name)
            ledger.connection.execute(delete(MEMBER).where(MEMBER.c.group_name == name))
            ledger.connection.execute(delete(GROUP).where(GROUP.c.name == name))
            ledger.note("group", f"group {name} deleted", actor)

    @staticmethod
    def _group(connection: Connection, name: str) -> None:
        if not connection.execute(select(GROUP.c.name).where(GROUP.c.name == name)).first():
            raise NotFound(f"No such group: {name}. `wainwright group list` shows all.")

    def _join(self, ledger: Ledger, name: str, device_ids: Sequence[str]) -> None:
        ledger.load_devices(device_ids)
        unknown = [i for i in device_ids if i not in ledger.devices]
        if unknown:
            raise NotFound(f"No such device: {listed(unknown)}. `wainwright device list` shows all.")
        for chunk in in_chunks(list(dict.fromkeys(device_ids))):
            ledger.connection.execute(delete(MEMBER).where(MEMBER.c.device_id.in_(chunk)))
            ledger.connection.execute(insert(MEMBER), [{"device_id": i, "group_name": name} for i in chunk])

    # ---- artifacts --------------------------------------------------------------------------------------------

    def add_artifact(self, artifact: Artifact, actor: str) -> Artifact:
        """Record a stored artifact; (name, depends) is unique."""
        with self._transaction() as ledger:
            row = to_row(artifact)
            same = select(ARTIFACT.c.id).where(
                ARTIFACT.c.name == artifact.name, ARTIFACT.c.depends_key == row["depends_key"]
            )
            if (known := ledger.connection.execute(same).scalar()) is not None:
                raise Refused(
                    "artifact-exists",
                    f"Release {artifact.name} has an artifact for the same devices already ({known[:8]}):"
                    " delete that one first, or give this one another name.",
                )
            ledger.connection.execute(insert(ARTIFACT), row)
            ledger.note("artifact", f"artifact {artifact.id[:8]} of release {artifact.name} stored", actor)
        return artifact

    def delete_artifact(self, artifact_id: str, actor: str) -> Artifact:
        """Forget an artifact; its file is the caller's. Refused while an unfinished deployment has its release."""
        with self._transaction() as ledger:
            row = ledger.connection.execute(select(ARTIFACT).where(ARTIFACT.c.id == artifact_id)).mappings().first()
            if row is None:
                raise NotFound(f"No such artifact: {artifact_id}. `wainwright artifact list` shows all.")
            artifact = from_row(Artifact, row)
            self._forget(ledger, [artifact], actor)
        return artifact

    def delete_release(self, name: str, actor: str) -> list[Artifact]:
        """Forget all artifacts of a release, as `delete_artifact` does."""
        with self._transaction() as ledger:
            rows = ledger.connection.execute(select(ARTIFACT).where(ARTIFACT.c.name == name)).mappings().all()
            if not rows:
                raise NotFound(f"No such release: {name}. `wainwright release list` shows all.")
            artifacts = [from_row(Artifact, row) for row in rows]
            self._forget(ledger, artifacts, actor)
        return artifacts

    @staticmethod
    def _forget(ledger: Ledger, artifacts: Sequence[Artifact], actor: str) -> None:
        name = artifacts[0].name
        users = select(DEPLOYMENT.c.name).where(
            DEPLOYMENT.c.artifact_name == name, DEPLOYMENT.c.status != DeploymentStatus.FINISHED
        )
        if (user := ledger.connection.execute(users).scalar()) is not None:
            raise Refused(
                "artifact-in-use", f"Release {name} is being deployed by {user}: abort that, or wait until it finishes."
            )
        ledger.connection.execute(delete(ARTIFACT).where(ARTIFACT.c.id.in_([a.id for a in artifacts])))
        ledger.note("artifact", f"{len(artifacts)} artifact(s) of release {name} deleted", actor)

    # ---- deployments ------------------------------------------------------------------------------------------

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
            laid_out = phases.lay_out(deployment_id, specs, len(device_ids))
            ledger.note("deployment", f"created for {len(device_ids)} devices", actor, deployment_id)
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
            under_way = ledger.end_parts(deployment_id, DeviceStatus.ABORTED, actor)
            ledger.note("deployment", _with_reason("abort", reason), actor, deployment_id)
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

    @staticmethod
    def _deployment(ledger: Ledger, deployment_id: str) -> Deployment:
        ledger.load_deployments([deployment_id])
        if deployment_id not in ledger.deployments:
            raise NotFound(f"No such deployment: {deployment_id}. `wainwright deployment list` shows all.")
        return ledger.deployments[deployment_id]


def _with_reason(act: str, reason: str) -> str:
    return f"{act}: {reason}" if reason else act
