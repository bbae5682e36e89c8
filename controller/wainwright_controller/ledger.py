"""One transaction's view of the records, and the only way to change deployments, their parts, counts and timeline.

A cause (a batch of messages, an operator's action, the clock) loads what it concerns, puts changed records, and
flushes: rows, counts and timeline are then written together, so that counts are exact whatever dies afterwards.
`flush` also moves the deployments on (settling.py), and collects whom to wake and whom to stop, which the caller
does after the commit.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import replace
from sqlalchemy import ColumnElement, Connection, delete, func, insert, literal, select, update

from wainwright_common.statuses import DeploymentStatus, DeviceStatus
from wainwright_controller import rollbacks, settling, timeline
from wainwright_controller.records import Deployment, Device, DeviceDeployment, Phase
from wainwright_controller.rows import DEPLOYMENT, EVENT, PART, PHASE, to_row
from wainwright_controller.rules import arrivals, pace, timeouts
from wainwright_controller.rules.filters.attributes import reported
from wainwright_controller.rules.spans import span
from wainwright_controller.targets import joining_devices
from wainwright_controller.working_set import Key
from wainwright_controller.writer import Writer


class Ledger(Writer):
    """See the module. `now` is the time of the cause, in seconds since the epoch.

    After the commit, `wakes` are devices to ask for a check-in, `wakes_of` the same by the deployment that they are
    woken for, `aborts` the (device, deployment) that are to stop.
    """

    def __init__(self, connection: Connection, now: float) -> None:
        super().__init__(connection, now)
        self.wakes: list[str] = []
        self.wakes_of: dict[str, list[str]] = {}
        self.aborts: list[Key] = []
        self._begun: set[str] = set()
        self._unsettled: set[str] = set()

    # ---- changing ---------------------------------------------------------------------------------------------

    def put_device(self, device: Device) -> None:
        """Replace a device, or add it."""
        before = self.devices.get(device.id)
        if before is None:
            self._new_devices.add(device.id)
        if before is None or reported(device) != reported(before):
            self._told.add(device.id)
        if before is None or _shown(device) != _shown(before):
            self.devices_changed.add(device.id)
        self.devices[device.id] = device
        self._put_devices.add(device.id)

    def put_part(self, part: DeviceDeployment, actor: str = "device") -> None:
        """Replace a part, or add that of a device that joins; writes the timeline when status or attempt changed."""
        key = (part.deployment_id, part.device_id)
        before = self.parts.get(key)
        if part is before:
            return
        if before is None:
            before = self._join(key, part)
        elif key not in self._new_parts:
            self._before.setdefault(key, before)
        moved = (part.status, part.attempt, part.offered) != (before.status, before.attempt, before.offered)
        if moved:
            deadline = timeouts.deadline_of(part, self.deployments[key[0]])
            part = part if part.deadline_at == deadline else replace(part, deadline_at=deadline)
        self.parts[key] = part
        self.changed.add(part.deployment_id)
        if moved:
            self._moved(part, before, actor)

    def _moved(self, part: DeviceDeployment, before: DeviceDeployment, actor: str) -> None:
        self._count_under_way(part, before)
        self._unsettled.add(part.deployment_id)
        if part.offered and not before.offered:
            self._begun.add(part.deployment_id)
            self._put_deployment(pace.spend(self.deployments[part.deployment_id], self.now))
        if (part.status, part.attempt) != (before.status, before.attempt):
            if {part.status, before.status} == timeline.TURNING:
                self._turned.add((part.deployment_id, part.device_id))
            self.note("device", _sentence(part, before), actor, part.deployment_id, part.device_id)
        if part.status is DeviceStatus.FAILURE and self.deployments[part.deployment_id].limits:
            self.settle_now(part.deployment_id)  # a device that asks later in this batch finds it stopped

    def _join(self, key: Key, part: DeviceDeployment) -> DeviceDeployment:
        """Add the part of a device that joins a dynamic deployment; returns it as it was before anything happened."""
        deployment, phases = arrivals.joined(self.deployments[key[0]], self.phases[key[0]], part, self.now)
        self._put_deployment(deployment)
        self.phases[key[0]] = phases
        self._put_phases.add((key[0], part.phase))
        self._new_parts.append(key)
        self._unsettled.add(key[0])
        self.add_open(key)
        self.note("device", f"joined, in phase {part.phase}", "controller", *key)
        return replace(part, status=DeviceStatus.PENDING, offered=False, attempt=1)

    def put_deployment(self, deployment: Deployment, phases: Sequence[Phase], actor: str = "controller") -> None:
        """Replace a loaded deployment and its phases; wakes the devices of every phase that this opens.

        When the first one opens, devices may join a dynamic deployment from now on: wakes those as well.
        """
        before, phases_before = self.deployments[deployment.id], self.phases[deployment.id]
        self.phases[deployment.id] = list(phases)
        self._put_deployment(deployment)
        for old, new in zip(phases_before, phases, strict=True):
            if old != new:
                self._put_phases.add((deployment.id, new.number))
            if old.opened_at is None and new.opened_at is not None:
                self.note("phase", f"phase {new.number} of {len(phases)} opened", actor, deployment.id)
                self._wake_phase(deployment, new)
                if new.number == 1:
                    self.wake_for(deployment.id, joining_devices(self.connection, deployment))
            if old.done_at is None and new.done_at is not None:
                self.note("phase", f"phase {new.number} of {len(phases)} is done", actor, deployment.id)
            if new.ailment and new.ailment != old.ailment:
                self.note("phase", f"phase {new.number} is not healthy: {new.ailment}", actor, deployment.id)
        if (deployment.status, deployment.hold, deployment.outcome) != (before.status, before.hold, before.outcome):
            self.note("deployment", _standing(deployment), actor, deployment.id)
        self.changed.add(deployment.id)
        if deployment.status is DeploymentStatus.FINISHED and deployment.rolls_back is not None:
            rollbacks.end(self, deployment)

    def _put_deployment(self, deployment: Deployment) -> None:
        if deployment is not self.deployments[deployment.id]:
            self.deployments[deployment.id] = deployment
            self._put_deployments.add(deployment.id)

    def settle_later(self, deployment_id: str) -> None:
        """Have `flush` move this loaded deployment on, although no part of it changed."""
        self._unsettled.add(deployment_id)

    def settle_now(self, deployment_id: str) -> None:
        """Move this loaded deployment on at once, so that what follows in this transaction finds it moved."""
        self._unsettled.add(deployment_id)
        self._settle_all()

    def wake_for(self, deployment_id: str, device_ids: Iterable[str]) -> None:
        """Have devices asked to check in for a deployment, in turn with those of other deployments."""
        self.wakes_of.setdefault(deployment_id, []).extend(device_ids)

    def wake_pending(self, deployment_id: str) -> None:
        """Have all devices asked that wait in the open phases of a loaded deployment."""
        for phase in self.phases[deployment_id]:
            if phase.opened_at is not None:
                self._wake_phase(self.deployments[deployment_id], phase)

    def wake_under_way(self, deployment_id: str) -> None:
        """Have all devices asked that carry out an offer of a deployment, for it has changed."""
        self._flush_parts()
        query = select(PART.c.device_id).where(
            PART.c.deployment_id == deployment_id, PART.c.offered.is_(True), PART.c.finished_at.is_(None)
        )
        self.wake_for(deployment_id, self.connection.execute(query).scalars())

    def _wake_phase(self, deployment: Deployment, phase: Phase) -> None:
        if pace.places(deployment, 0, self.now) is not None:
            return  # ticker.py wakes them one by one, as the pace allows
        self._flush_parts()
        query = select(PART.c.device_id).where(
            PART.c.deployment_id == phase.deployment_id,
            PART.c.phase == phase.number,
            PART.c.status == DeviceStatus.PENDING,
            PART.c.next_attempt_at.is_(None),
        )
        self.wake_for(deployment.id, self.connection.execute(query).scalars())

    # ---- whole deployments ------------------------------------------------------------------------------------

    def add_deployment(self, deployment: Deployment, phases: Sequence[Phase], device_ids: Iterable[str]) -> Deployment:
        """Store a new deployment with one part for each device, in order; returns it with its sequence number."""
        deployment = self.add_empty(deployment, phases)
        numbers = [phase.number for phase in phases for _ in range(phase.size)]
        parts = [
            DeviceDeployment(
                deployment_id=deployment.id,
                device_id=device_id,
                sequence=deployment.sequence,
                phase=number,
                created_at=self.now,
                updated_at=self.now,
            )
            for device_id, number in zip(device_ids, numbers, strict=True)
        ]
        self.add_parts(parts)
        return deployment

    def add_empty(self, deployment: Deployment, phases: Sequence[Phase]) -> Deployment:
        """Store a new deployment without parts; returns it with its sequence number."""
        row = to_row(deployment)
        del row["sequence"]
        sequence = self.connection.execute(insert(DEPLOYMENT).returning(DEPLOYMENT.c.sequence), row).scalar_one()
        deployment = replace(deployment, sequence=sequence)
        self.connection.execute(insert(PHASE), [to_row(phase) for phase in phases])
        self.deployments[deployment.id], self.phases[deployment.id] = deployment, list(phases)
        self.changed.add(deployment.id)
        self._unsettled.add(deployment.id)
        return deployment

    def add_parts(self, parts: Sequence[DeviceDeployment]) -> None:
        """Store the parts of a deployment that was just added."""
        if parts:
            self.connection.execute(insert(PART), [to_row(part) for part in parts])
        for part in parts:
            self._tally[part.deployment_id, part.phase, part.status] += 1

    def end_parts(self, deployment_id: str, status: DeviceStatus, actor: str, *, waiting_only: bool = False) -> None:
        """End every unfinished part of a deployment with `status`; those that were offered something are to stop.

        With `waiting_only` these go on, and only those that wait for an offer end. As a `failure` only those end that
        have failed an attempt, and with its error. Devices that another deployment waits for are woken, because this
        one stood before it.
        """
        self._flush_parts()
        self._flush_events()
        unfinished = [PART.c.deployment_id == deployment_id, PART.c.finished_at.is_(None)]
        if waiting_only:
            unfinished.append(PART.c.offered.is_(False))
        text: ColumnElement[str] = literal(str(status))
        if status is DeviceStatus.FAILURE:
            unfinished.append(PART.c.attempt > 1)
            text = literal("failure (") + PART.c.error_code + ": " + PART.c.error_text + ")"  # as in _sentence
        other = PART.alias()
        waits = select(other.c.deployment_id).where(
            other.c.device_id == PART.c.device_id,
            other.c.finished_at.is_(None),
            other.c.deployment_id != deployment_id,
        )
        self.wakes += self.connection.execute(select(PART.c.device_id).where(*unfinished, waits.exists())).scalars()
        begun = select(PART.c.device_id).where(*unfinished, PART.c.offered.is_(True))
        self.aborts += [(device_id, deployment_id) for device_id in self.connection.execute(begun).scalars()]
        rows = select(
            *(literal(self.now), literal("device"), text, literal(actor)),
            *(PART.c.deployment_id, PART.c.device_id),
        ).where(*unfinished)
        columns = ["at", "kind", "text", "actor", "deployment_id", "device_id"]
        self.connection.execute(insert(EVENT).from_select(columns, rows))
        counts = select(PART.c.phase, PART.c.status, func.count()).where(*unfinished)
        for phase, before, n in self.connection.execute(counts.group_by(PART.c.phase, PART.c.status)):
            self._tally[deployment_id, phase, DeviceStatus(before)] -= n
            self._tally[deployment_id, phase, status] += n
        ended = {
            "status": status,
            "finished_at": self.now,
            "updated_at": self.now,
            "next_attempt_at": None,
            "deadline_at": None,
        }
        self.connection.execute(update(PART).where(*unfinished).values(**ended))
        for key, part in self.parts.items():
            goes_on = (waiting_only and part.offered) or (status is DeviceStatus.FAILURE and part.attempt == 1)
            if key[0] == deployment_id and part.finished_at is None and not goes_on:
                self.parts[key] = replace(part, **ended)
        self.forget_under_way(deployment_id)
        self.changed.add(deployment_id)

    def delete_deployment(self, deployment_id: str) -> None:
        """Remove a deployment with all that belongs to it; its lines in the devices' timelines stay."""
        self.connection.execute(delete(DEPLOYMENT).where(DEPLOYMENT.c.id == deployment_id))

    # ---- writing ----------------------------------------------------------------------------------------------

    def flush(self) -> None:
        """Write everything, and move on every deployment that something happened to."""
        self._flush_devices()
        self._flush_parts()
        self._settle_all()
        self._flush_tally()
        self._flush_deployments()
        self._flush_events()

    def _settle_all(self) -> None:
        while self._unsettled:
            deployment_id = min(self._unsettled, key=lambda i: self.deployments[i].sequence)
            self._unsettled.discard(deployment_id)
            if self.deployments[deployment_id].status is not DeploymentStatus.FINISHED:
                settling.settle(self, deployment_id, begun=deployment_id in self._begun)


def _shown(device: Device) -> tuple[object, ...]:
    """Return what lists of devices are read for: not when it was heard last, which changes with every message."""
    return device.state, device.online, device.online_since, device.artifact_name, device.device_type, device.last_why


def _sentence(part: DeviceDeployment, before: DeviceDeployment) -> str:
    """Print what happened to a part, for a timeline."""
    if part.status is DeviceStatus.FAILURE:
        return f"failure ({part.error_code}: {part.error_text})"
    if part.attempt != before.attempt:
        wait = span((part.next_attempt_at or part.updated_at) - part.updated_at)
        return f"attempt {before.attempt} failed ({part.error_code}: {part.error_text}); next attempt in {wait}"
    return part.status.value


def _standing(deployment: Deployment) -> str:
    if deployment.outcome is not None:
        return f"finished: {deployment.outcome}"
    if deployment.hold is None:
        return deployment.status.value
    reason = f": {deployment.hold_reason}" if deployment.hold_reason else ""
    return f"{deployment.hold.value}{reason}"
