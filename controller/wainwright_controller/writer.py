"""What a transaction has changed, and how it is written: rows, counts and timeline together.

Nothing is written before `_flush_…`: a record that changes ten times in a batch is written once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from msgspec.structs import replace
from sqlalchemy import BindParameter, Connection, bindparam, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from wainwright_common.statuses import DeviceStatus
from wainwright_controller import timeline
from wainwright_controller.attribute_store import Source, put_attributes
from wainwright_controller.records import Deployment, DeviceDeployment, Event, Phase, Tally
from wainwright_controller.rows import DEPLOYMENT, DEVICE, EVENT, PART, PHASE, TALLY, Bulk, to_row
from wainwright_controller.rules.filters.attributes import reported
from wainwright_controller.working_set import Key, WorkingSet

_FIXED = {"deployment_id", "device_id", "sequence", "phase", "created_at", "restore_name"}
_PROGRESS = ("last_seq", "seen", "substate", "progress_done", "progress_total", "updated_at")
_MOVING = (
    *("status", "hold", "hold_reason", "outcome", "started_at", "finished_at", "closed_at", "device_count"),
    *("approved_by", "tokens", "tokens_at", "offers", "regressed", "resumed_at", "seen_failures", "seen_tried"),
    *("seen_codes", "rollback_id", "rollback_ended_at", "policy"),
)


def _update_parts(columns: Iterable[str]) -> Bulk:
    key = PART.c.deployment_id == bindparam("key_deployment"), PART.c.device_id == bindparam("key_device")
    values: dict[str, BindParameter[object]] = {name: bindparam(name) for name in columns}
    renamed = {"key_deployment": "deployment_id", "key_device": "device_id"}
    return Bulk(update(PART).where(*key).values(values), renamed)


_UPDATE_PART = _update_parts(c.name for c in PART.c if c.name not in _FIXED)
_UPDATE_PROGRESS = _update_parts(_PROGRESS)  # touches no index, and is what most reports need
_UPDATE_DEPLOYMENT = (
    update(DEPLOYMENT).where(DEPLOYMENT.c.id == bindparam("key")).values({name: bindparam(name) for name in _MOVING})
)
_UPDATE_PHASE = (
    update(PHASE)
    .where(PHASE.c.deployment_id == bindparam("key"), PHASE.c.number == bindparam("key_number"))
    .values({name: bindparam(name) for name in ("size", "opened_at", "done_at", "ailment")})
)


class Writer(WorkingSet):
    """Collects changes and writes them. `now` is the time of the cause, in seconds since the epoch.

    After the commit, `changed` are the deployments that changed, `devices_changed` the devices of which something did
    that a list of devices shows.
    """

    def __init__(self, connection: Connection, now: float) -> None:
        super().__init__(connection, now)
        self.changed: set[str] = set()
        self.devices_changed: set[str] = set()
        self._before: dict[Key, DeviceDeployment] = {}
        self._new_parts: list[Key] = []
        self._new_devices: set[str] = set()
        self._put_devices: set[str] = set()
        self._told: set[str] = set()
        self._put_deployments: set[str] = set()
        self._put_phases: set[tuple[str, int]] = set()
        self._tally: Counter[tuple[str, int, DeviceStatus]] = Counter()
        self._events: list[Event] = []
        self._turned: set[Key] = set()

    def note(
        self, kind: str, text: str, actor: str, deployment_id: str | None = None, device_id: str | None = None
    ) -> None:
        """Add a line to the timeline."""
        self._events.append(
            Event(at=self.now, kind=kind, text=text, actor=actor, deployment_id=deployment_id, device_id=device_id)
        )
        if deployment_id is not None:
            self.changed.add(deployment_id)
        elif device_id is not None:
            self.devices_changed.add(device_id)

    def tally(self, deployment_id: str) -> Tally:
        """Return how many parts of a deployment stand where, all that was put here included."""
        self._flush_tally()
        query = select(TALLY.c.phase, TALLY.c.status, TALLY.c.n).where(TALLY.c.deployment_id == deployment_id)
        return {(phase, DeviceStatus(status)): n for phase, status, n in self.connection.execute(query)}

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
        if self._new_parts:
            new = [self.parts[key] for key in self._new_parts]
            self.connection.execute(insert(PART), [to_row(part) for part in new])
            for part in new:
                self._tally[part.deployment_id, part.phase, part.status] += 1
            self._new_parts.clear()
        changed: list[DeviceDeployment] = []
        progressed: list[DeviceDeployment] = []
        for key, before in self._before.items():
            part = self.parts[key]
            (progressed if _only_progressed(part, before) else changed).append(part)
            if part.status != before.status:
                self._tally[key[0], before.phase, before.status] -= 1
                self._tally[key[0], part.phase, part.status] += 1
        self._before.clear()
        self._unwritten.clear()
        if changed:
            _UPDATE_PART.run(self.connection, changed)
        if progressed:
            _UPDATE_PROGRESS.run(self.connection, progressed)

    def _flush_deployments(self) -> None:
        deployments = [self.deployments[i] for i in sorted(self._put_deployments)]
        phases = [self.phases[i][number - 1] for i, number in sorted(self._put_phases)]
        self._put_deployments.clear()
        self._put_phases.clear()
        if deployments:
            self.connection.execute(_UPDATE_DEPLOYMENT, [_row_of(d) for d in deployments])
        if phases:
            self.connection.execute(_UPDATE_PHASE, [_phase_row(phase) for phase in phases])

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


def _row_of(deployment: Deployment) -> dict[str, object]:
    row = to_row(deployment)
    return {"key": deployment.id} | {name: row[name] for name in _MOVING}


def _phase_row(phase: Phase) -> dict[str, object]:
    return {
        "key": phase.deployment_id,
        "key_number": phase.number,
        "size": phase.size,
        "opened_at": phase.opened_at,
        "done_at": phase.done_at,
        "ailment": phase.ailment,
    }


def _only_progressed(part: DeviceDeployment, before: DeviceDeployment) -> bool:
    """Say whether nothing but the columns of _PROGRESS differs."""
    return part == replace(before, **{name: getattr(part, name) for name in _PROGRESS})
