"""One transaction's view of the records, and the only writer of device deployments, tallies and events.

A cause (a batch of messages, an operator's action, the clock) loads what it concerns, puts changed records, and
flushes: rows, counts and timeline are then written together, so that counts are exact whatever dies afterwards.
`flush` also moves the deployments on (phases, status, outcome) and collects the devices to be woken, which the
caller does after the commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from msgspec.structs import replace
from sqlalchemy import (
    BindParameter,
    Connection,
    bindparam,
    delete,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite

from wainwright_common.statuses import DeploymentStatus, DeviceStatus
from wainwright_controller import timeline
from wainwright_controller.attribute_store import Source, put_attributes
from wainwright_controller.records import (
    Deployment,
    Device,
    DeviceDeployment,
    Event,
    Phase,
    Tally,
)
from wainwright_controller.rows import (
    DEPLOYMENT,
    DEVICE,
    EVENT,
    PART,
    PHASE,
    TALLY,
    Bulk,
    to_row,
)
from wainwright_controller.rules import lifecycle
from wainwright_controller.rules.filters.attributes import reported
from wainwright_controller.rules.why import ago
from wainwright_controller.working_set import Key, WorkingSet

_FIXED = {"deployment_id", "device_id", "sequence", "phase", "created_at"}
_PROGRESS = ("last_seq", "seen", "substate", "progress_done", "progress_total", "updated_at")


def _update_parts(columns: Iterable[str]) -> Bulk:
    key = PART.c.deployment_id == bindparam("key_deployment"), PART.c.device_id == bindparam("key_device")
    values: dict[str, BindParameter[object]] = {name: bindparam(name) for name in columns}
    renamed = {"key_deployment": "deployment_id", "key_device": "device_id"}
    return Bulk(update(PART).where(*key).values(values), renamed)


_UPDATE_PART = _update_parts(c.name for c in PART.c if c.name not in _FIXED)
_UPDATE_PROGRESS = _update_parts(_PROGRESS)  # touches no index, and is what most reports need
_UPDATE_DEPLOYMENT = (
    update(DEPLOYMENT)
    .where(DEPLOYMENT.c.id == bindparam("key"))
    .values({name: bindparam(name) for name in ("status", "hold", "outcome", "started_at", "finished_at")})
)
_UPDATE_PHASE = (
    update(PHASE)
    .where(PHASE.c.deployment_id == bindparam("key"), PHASE.c.number == bindparam("key_number"))
    .values(opened_at=bindparam("opened_at"), done_at=bindparam("done_at"))
)


class Ledger(WorkingSet):
    """See the module. `now` is the time of the cause, in seconds since the epoch."""

    def __init__(self, connection: Connection, now: float) -> None:
        super().__init__(connection)
        self.now = now
        self.changed: set[str] = set()
        self.wakes: list[str] = []
        self._before: dict[Key, DeviceDeployment] = {}
        self._new_devices: set[str] = set()
        self._put_devices: set[str] = set()
        self._told: set[str] = set()
        self._tally: Counter[tuple[str, int, DeviceStatus]] = Counter()
        self._begun: set[str] = set()
        self._unsettled: set[str] = set()
        self._events: list[Event] = []
        self._turned: set[Key] = set()

    # ---- changing ---------------------------------------------------------------------------------------------

    def put_device(self, device: Device) -> None:
        """Replace a device, or add it."""
        before = self.devices.get(device.id)
        if before is None:
            self._new_devices.add(device.id)
        if before is None or reported(device) != reported(before):
            self._told.add(device.id)
        self.devices[device.id] = device
        self._put_devices.add(device.id)

    def put_part(self, part: DeviceDeployment, actor: str = "device") -> None:
        """Replace a part; writes the timeline when its status or its attempt changed."""
        key = (part.deployment_id, part.device_id)
        before = self.parts[key]
        if part is before:
            return
        self._before.setdefault(key, before)
        self.parts[key] = part
        if part.offered and not before.offered:
            self._begun.add(part.deployment_id)
            self._unsettled.add(part.deployment_id)
        if (part.status, part.attempt) != (before.status, before.attempt):
            self._unsettled.add(part.deployment_id)
            if {part.status, before.status} == timeline.TURNING:
                self._turned.add(key)
            self.note("device", _sentence(part, before), actor, part.deployment_id, part.device_id)
        self.changed.add(part.deployment_id)

    def note(
        self, kind: str, text: str, actor: str, deployment_id: str | None = None, device_id: str | None = None
    ) -> None:
        """Add a line to the timeline."""
        self._events.append(
            Event(at=self.now, kind=kind, text=text, actor=actor, deployment_id=deployment_id, device_id=device_id)
        )
        if deployment_id is not None:
            self.changed.add(deployment_id)

    def put_deployment(self, deployment: Deployment, phases: Sequence[Phase], actor: str = "controller") -> None:
        """Replace a loaded deployment and its phases; wakes the devices of every phase that this opens."""
        before, phases_before = self.deployments[deployment.id], self.phases[deployment.id]
        self.deployments[deployment.id], self.phases[deployment.id] = deployment, list(phases)
        for old, new in zip(phases_before, phases, strict=True):
            if old is not new and old != new:
                self.connection.execute(_UPDATE_PHASE, _phase_change(new))
            if old.opened_at is None and new.opened_at is not None:
                self.note("phase", f"phase {new.number} of {len(phases)} opened", actor, deployment.id)
                self.wakes += self._pending_in(new)
            if old.done_at is None and new.done_at is not None:
                self.note("phase", f"phase {new.number} of {len(phases)} is done", actor, deployment.id)
        if deployment != before:
            self.connection.execute(_UPDATE_DEPLOYMENT, _deployment_change(deployment))
            if (deployment.status, deployment.hold) != (before.status, before.hold):
                self.note("deployment", _standing(deployment), actor, deployment.id)
        self.changed.add(deployment.id)

    def settle_later(self, deployment_id: str) -> None:
        """Have `flush` move this loaded deployment on, although no part of it changed."""
        self._unsettled.add(deployment_id)

    def _pending_in(self, phase: Phase) -> list[str]:
        query = select(PART.c.device_id).where(
            PART.c.deployment_id == phase.deployment_id,
            PART.c.phase == phase.number,
            PART.c.status == DeviceStatus.PENDING,
        )
        return list(self.connection.execute(query).scalars())

    # ---- writing ----------------------------------------------------------------------------------------------

    def add_deployment(self, deployment: Deployment, phases: Sequence[Phase], device_ids: Iterable[str]) -> Deployment:
        """Store a new deployment with one part for each device, in order; returns it with its sequence number."""
        row = to_row(deployment)
        del row["sequence"]
        sequence = self.connection.execute(insert(DEPLOYMENT).returning(DEPLOYMENT.c.sequence), row).scalar_one()
        deployment = replace(deployment, sequence=sequence)
        self.connection.execute(insert(PHASE), [to_row(phase) for phase in phases])
        numbers = [phase.number for phase in phases for _ in range(phase.size)]
        parts = [
            DeviceDeployment(
                deployment_id=deployment.id,
                device_id=device_id,
                sequence=sequence,
                phase=number,
                created_at=self.now,
                updated_at=self.now,
            )
            for device_id, number in zip(device_ids, numbers, strict=True)
        ]
        if parts:
            self.connection.execute(insert(PART), [to_row(part) for part in parts])
        for phase in phases:
            self._tally[deployment.id, phase.number, DeviceStatus.PENDING] += phase.size
        self.deployments[deployment.id], self.phases[deployment.id] = deployment, list(phases)
        self._unsettled.add(deployment.id)
        return deployment

    def end_parts(self, deployment_id: str, status: DeviceStatus, actor: str) -> list[str]:
        """End every unfinished part of a deployment with `status`; returns the devices that were offered something.

        Devices that another deployment waits for are woken, because this one stood before it.
        """
        self._flush_parts()
        self._flush_events()
        unfinished = (PART.c.deployment_id == deployment_id, PART.c.finished_at.is_(None))
        other = PART.alias()
        waits = select(other.c.deployment_id).where(
            other.c.device_id == PART.c.device_id,
            other.c.finished_at.is_(None),
            other.c.deployment_id != deployment_id,
        )
        freed = select(PART.c.device_id).where(*unfinished, waits.exists())
        self.wakes += self.connection.execute(freed).scalars()
        begun = select(PART.c.device_id).where(*unfinished, PART.c.offered.is_(True))
        devices = list(self.connection.execute(begun).scalars())
        text = literal(str(status))
        rows = select(
            literal(self.now), literal("device"), text, literal(actor), PART.c.deployment_id, PART.c.device_id
        ).where(*unfinished)
        columns = ["at", "kind", "text", "actor", "deployment_id", "device_id"]
        self.connection.execute(insert(EVENT).from_select(columns, rows))
        counts = select(PART.c.phase, PART.c.status, func.count()).where(*unfinished)
        for phase, before, n in self.connection.execute(counts.group_by(PART.c.phase, PART.c.status)):
            self._tally[deployment_id, phase, DeviceStatus(before)] -= n
            self._tally[deployment_id, phase, status] += n
        ended = {"status": status, "finished_at": self.now, "updated_at": self.now}
        self.connection.execute(update(PART).where(*unfinished).values(**ended, next_attempt_at=None, deadline_at=None))
        self.changed.add(deployment_id)
        return devices

    def delete_deployment(self, deployment_id: str) -> None:
        """Remove a deployment with all that belongs to it; its lines in the devices' timelines stay."""
        self.connection.execute(delete(DEPLOYMENT).where(DEPLOYMENT.c.id == deployment_id))

    def tally(self, deployment_id: str) -> Tally:
        """Return how many parts of a deployment stand where, all that was put here included."""
        self._flush_tally()
        query = select(TALLY.c.phase, TALLY.c.status, TALLY.c.n).where(TALLY.c.deployment_id == deployment_id)
        return {(phase, DeviceStatus(status)): n for phase, status, n in self.connection.execute(query)}

    def flush(self) -> None:
        """Write everything, and move on every deployment that something happened to."""
        self._flush_devices()
        self._flush_parts()
        for deployment_id in sorted(self._unsettled):
            self._settle(deployment_id)
        self._unsettled.clear()
        self._flush_tally()
        self._flush_events()

    def _settle(self, deployment_id: str) -> None:
        deployment = self.deployments[deployment_id]
        if deployment.status is DeploymentStatus.FINISHED:
            return
        begun = deployment_id in self._begun
        moved, phases = lifecycle.advance(
            deployment, self.phases[deployment_id], self.tally(deployment_id), self.now, begun=begun
        )
        self.put_deployment(moved, phases)

    def _flush_devices(self) -> None:
        rows = [to_row(self.devices[i]) for i in sorted(self._put_devices)]
        new = [row | {"attributes": "{}"} for row in rows if row["id"] in self._new_devices]
        old = [row | {"key": row["id"]} for row in rows if row["id"] not in self._new_devices]
        if new:
            self.connection.execute(insert(DEVICE), new)
        if old:
            names = [name for name in rows[0] if name != "id"]
            statement = update(DEVICE).where(DEVICE.c.id == bindparam("key"))
            self.connection.execute(statement.values({name: bindparam(name) for name in names}), old)
        put_attributes(self.connection, Source.CHECK_IN, {i: reported(self.devices[i]) for i in self._told})
        self._told.clear()
        self._put_devices.clear()
        self._new_devices.clear()

    def _flush_parts(self) -> None:
        changed: list[DeviceDeployment] = []
        progressed: list[DeviceDeployment] = []
        for key, before in self._before.items():
            part = self.parts[key]
            (progressed if _only_progressed(part, before) else changed).append(part)
            if part.status != before.status:
                self._tally[key[0], before.phase, before.status] -= 1
                self._tally[key[0], part.phase, part.status] += 1
        self._before.clear()
        if changed:
            _UPDATE_PART.run(self.connection, changed)
        if progressed:
            _UPDATE_PROGRESS.run(self.connection, progressed)

    def _flush_events(self) -> None:
        if self._events:
            events = timeline.within_steps_max(self.connection, self._events, self._turned)
            if events:
                self.connection.execute(insert(EVENT), [to_row(event) for event in events])
            self._events.clear()
            self._turned.clear()

    def _flush_tally(self) -> None:
        self._flush_parts()
        rows = [
            {"deployment_id": deployment_id, "phase": phase, "status": status.value, "n": n}
            for (deployment_id, phase, status), n in self._tally.items()
            if n
        ]
        self._tally.clear()
        if rows:
            dialect = sqlite if self.connection.dialect.name == "sqlite" else postgresql
            statement = dialect.insert(TALLY)
            keys = [TALLY.c.deployment_id, TALLY.c.phase, TALLY.c.status]
            added = {"n": TALLY.c.n + statement.excluded.n}
            self.connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=added), rows)


def _phase_change(phase: Phase) -> dict[str, object]:
    return {
        "key": phase.deployment_id,
        "key_number": phase.number,
        "opened_at": phase.opened_at,
        "done_at": phase.done_at,
    }


def _deployment_change(deployment: Deployment) -> dict[str, object]:
    return {
        "key": deployment.id,
        "status": deployment.status,
        "hold": deployment.hold,
        "outcome": deployment.outcome,
        "started_at": deployment.started_at,
        "finished_at": deployment.finished_at,
    }


def _sentence(part: DeviceDeployment, before: DeviceDeployment) -> str:
    """Print what happened to a part, for a timeline."""
    if part.status is DeviceStatus.FAILURE:
        return f"failure ({part.error_code}: {part.error_text})"
    if part.attempt != before.attempt:
        wait = ago((part.next_attempt_at or part.updated_at) - part.updated_at)
        return f"attempt {before.attempt} failed ({part.error_code}: {part.error_text}); next attempt in {wait}"
    return part.status.value


def _standing(deployment: Deployment) -> str:
    if deployment.outcome is not None:
        return f"finished: {deployment.outcome}"
    return deployment.hold.value if deployment.hold is not None else deployment.status.value


def _only_progressed(part: DeviceDeployment, before: DeviceDeployment) -> bool:
    """Say whether nothing but the columns of _PROGRESS differs."""
    return part == replace(before, **{name: getattr(part, name) for name in _PROGRESS})
