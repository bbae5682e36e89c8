"""Who belongs to the fleet, and why a device is or is not being updated."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace
from sqlalchemy import delete, select

from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import check_device_id
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations.base import NotFound, Operator, listed
from wainwright_controller.records import (
    Deployment,
    Device,
    DeviceDeployment,
    DeviceState,
)
from wainwright_controller.rows import (
    MEMBER,
    PART,
)
from wainwright_controller.rules.why import Answer, why


class DeviceOperations(Operator):
    """What operators do with devices."""

    def decide_devices(self, ids: Sequence[str], state: DeviceState, actor: str) -> list[str]:
        """Accept or reject devices; returns those that changed. Raises NotFound when one is unknown.

        The unfinished deployments of a rejected device end as `aborted`: it gets nothing more, and nobody waits for it.
        """
        with self._transaction() as ledger:
            ledger.load_devices(ids)
            unknown = [i for i in ids if i not in ledger.devices]
            if unknown:
                raise NotFound(f"No such device: {listed(unknown)}. `wainwright device list` shows all.")
            changed = [i for i in dict.fromkeys(ids) if ledger.devices[i].state is not state]
            for device_id in changed:
                ledger.put_device(replace(ledger.devices[device_id], state=state))
                ledger.note("device", str(state), actor, device_id=device_id)
                if state is not DeviceState.ACCEPTED:
                    _end_open_parts(ledger, device_id, DeviceStatus.ABORTED, actor)
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

    def decommission(self, device_id: str, actor: str) -> bool:
        """Take a device out of the fleet; its unfinished deployments end as `decommissioned`.

        Returns whether that changed anything: it may have been so already.
        """
        with self._transaction() as ledger:
            device = self._device(ledger, device_id)
            if device.state is DeviceState.DECOMMISSIONED:
                return False
            _end_open_parts(ledger, device_id, DeviceStatus.DECOMMISSIONED, actor)
            ledger.put_device(replace(device, state=DeviceState.DECOMMISSIONED))
            ledger.connection.execute(delete(MEMBER).where(MEMBER.c.device_id == device_id))
            ledger.note("device", "decommissioned", actor, device_id=device_id)
        return True

    def check_in_now(self, ids: Sequence[str], actor: str) -> int:
        """Ask devices to check in; returns how many were asked. Raises NotFound when one is unknown."""
        with self._transaction() as ledger:
            for device_id in ids:
                self._device(ledger, device_id)
                ledger.note("device", "asked to check in", actor, device_id=device_id)
            ledger.wakes += ids
        return len(ids)

    def why(self, device_id: str) -> Answer:
        """Say in one sentence why a device is, or is not, being updated."""
        with self.store.read() as connection:
            ledger = Ledger(connection, self._clock())
            ledger.load_devices([device_id])
            ledger.load_open_parts([device_id])
            ledger.load_joinable([device_id])
            device = ledger.devices.get(device_id)
            if device is None:
                return why(None, [], None, ledger.now)
            candidates = [*ledger.candidates(device_id), *ledger.joinable(device)] or ledger.to_begin(device)
            last = None if candidates else self._last(ledger, device_id)
            return why(device, candidates, last, ledger.now)

    @staticmethod
    def _last(ledger: Ledger, device_id: str) -> tuple[DeviceDeployment, Deployment] | None:
        query = select(PART.c.deployment_id).where(PART.c.device_id == device_id)
        newest = query.order_by(PART.c.finished_at.desc(), PART.c.sequence.desc()).limit(1)
        deployment_id = ledger.connection.execute(newest).scalar()
        if deployment_id is None:
            return None
        ledger.load_parts([(deployment_id, device_id)])
        return ledger.parts[deployment_id, device_id], ledger.deployments[deployment_id]


def _end_open_parts(ledger: Ledger, device_id: str, status: DeviceStatus, actor: str) -> None:
    ledger.load_open_parts([device_id])
    for candidate in ledger.candidates(device_id):
        ended = replace(
            candidate.part,
            status=status,
            finished_at=ledger.now,
            updated_at=ledger.now,
            next_attempt_at=None,
            deadline_at=None,
        )
        ledger.put_part(ended, actor)
        ledger.wakes.append(device_id)
