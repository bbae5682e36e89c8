"""Who belongs to the fleet, and why a device is or is not being updated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec.structs import replace
from sqlalchemy import Connection, delete, select

from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import check_device_id
from wainwright_controller.enrolment_store import load_keys
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations.base import NotFound, Operator, listed
from wainwright_controller.operations.enrolment import (
    DECOMMISSIONED,
    accept_pending,
    check_in_fleet,
    give_name,
    take_back,
)
from wainwright_controller.operations.witness import Witness
from wainwright_controller.records import (
    Deployment,
    Device,
    DeviceDeployment,
    DeviceKey,
    DeviceState,
    KeyState,
)
from wainwright_controller.rows import (
    MEMBER,
    PART,
)
from wainwright_controller.rules.actions import Refused
from wainwright_controller.rules.why import Answer, why


class DeviceOperations(Operator):
    """What operators do with devices."""

    def decide_devices(
        self, ids: Sequence[str], state: DeviceState, actor: str, *, skips_disputed: bool = False
    ) -> list[str]:
        """Accept or reject devices; returns those that changed. Raises NotFound when one is unknown.

        With a device, the key that asks for its name is accepted. Where several do, somebody has to name one: Refused,
        or with `skips_disputed` left out. The unfinished deployments of a rejected device end as `aborted`: it gets
        nothing more, and nobody waits for it. Raises Refused, for all, where one was decommissioned.
        """
        with self._transaction() as ledger:
            ledger.load_devices(ids)
            unknown = [i for i in ids if i not in ledger.devices]
            if unknown:
                raise NotFound(f"No such device: {listed(unknown)}. `wainwright device list` shows all.")
            check_in_fleet([ledger.devices[i] for i in ids])
            keys = load_keys(ledger.connection, ids) if state is DeviceState.ACCEPTED else {}
            changed = []
            for device_id in dict.fromkeys(ids):
                try:
                    key = accept_pending(ledger, device_id, keys.get(device_id, []), None, actor)
                except Refused:
                    if not skips_disputed:
                        raise
                    continue
                if key is not None or ledger.devices[device_id].state is not state:
                    changed.append(device_id)
            for device_id in changed:
                if ledger.devices[device_id].state is state:
                    continue
                ledger.put_device(replace(ledger.devices[device_id], state=state))
                ledger.note("device", str(state), actor, device_id=device_id)
                if state is not DeviceState.ACCEPTED:
                    _end_open_parts(ledger, device_id, DeviceStatus.ABORTED, actor)
            if state is DeviceState.ACCEPTED:
                ledger.wakes += changed
        return changed

    def preauthorize(self, ids: Sequence[str], actor: str, keys: Mapping[str, str] | None = None) -> list[str]:
        """Accept devices before they are heard of; returns those that changed. Raises BadTopic for what is no id.

        Raises Refused, for all, where one was decommissioned.

        `keys` are the digests of their keys, by device: those get certificates without asking anybody.
        """
        with self._transaction() as ledger:
            ledger.load_devices([check_device_id(i) for i in ids])
            check_in_fleet([ledger.devices[i] for i in ids if i in ledger.devices])
            changed = []
            for device_id in dict.fromkeys(ids):
                known = ledger.devices.get(device_id)
                is_key_new = keys is not None and device_id in keys and _authorise(ledger, device_id, keys, actor)
                if known is not None and known.state is DeviceState.ACCEPTED:
                    changed += [device_id] if is_key_new else []
                    continue
                device = known or Device(id=device_id, created_at=ledger.now)
                ledger.put_device(replace(device, state=DeviceState.ACCEPTED))
                ledger.note("device", "accepted before it was heard of", actor, device_id=device_id)
                changed.append(device_id)
            ledger.wakes += changed
        return changed

    def decommission(self, device_id: str, actor: str) -> bool:
        """Take a device out of the fleet; its unfinished deployments end as `decommissioned`.

        Its keys and certificates are revoked, and warden.py ends its session. Returns whether that changed anything:
        it may have been so already.
        """
        with self._transaction() as ledger:
            device = self._device(ledger, device_id)
            if device.state is DeviceState.DECOMMISSIONED:
                return False
            _end_open_parts(ledger, device_id, DeviceStatus.DECOMMISSIONED, actor)
            ledger.put_device(replace(device, state=DeviceState.DECOMMISSIONED))
            keys = load_keys(ledger.connection, [device_id])[device_id]
            had = [key for key in keys if key.state is not KeyState.PENDING]
            take_back(ledger, device_id, had, DECOMMISSIONED, actor, is_all=True)
            ledger.connection.execute(delete(MEMBER).where(MEMBER.c.device_id == device_id))
            ledger.note("device", "decommissioned", actor, device_id=device_id)
        return True

    def recommission(self, device_id: str, actor: str) -> None:
        """Let a device that was decommissioned ask again, as one that nobody has decided about.

        Its history stays; what was ended or revoked stays so: no former deployment goes on, and where devices have
        certificates it needs a new key. Raises Refused for a device that is in the fleet.
        """
        with self._transaction() as ledger:
            device = self._device(ledger, device_id)
            if device.state is not DeviceState.DECOMMISSIONED:
                raise Refused(
                    "not-decommissioned", f"{device_id} is {device.state}: only a decommissioned one is brought back."
                )
            ledger.put_device(replace(device, state=DeviceState.PENDING))
            ledger.note("device", "recommissioned", actor, device_id=device_id)
            ledger.wakes.append(device_id)

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
            return self.why_in(connection, device_id)

    def why_in(self, connection: Connection, device_id: str) -> Answer:
        """Say the same in a transaction that there is."""
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


def _authorise(ledger: Witness, device_id: str, digests: Mapping[str, str], actor: str) -> bool:
    """Give a device's name to a key that may not have asked yet; says whether that changed anything."""
    keys = load_keys(ledger.connection, [device_id])[device_id]
    digest = digests[device_id].lower()
    known = next((key for key in keys if key.digest == digest), None)
    if known is not None and known.state is KeyState.ACCEPTED:
        return False
    if known is not None and known.state is KeyState.REVOKED:
        raise Refused("key-revoked", f"The key {digest} of {device_id} was revoked, for good: it needs a new one.")
    if any(key.state is KeyState.ACCEPTED for key in keys):
        raise Refused(
            "has-a-key", f"{device_id} has another key: replace it by `wainwright device accept --key`, or revoke it."
        )
    give_name(ledger, known or DeviceKey(device_id=device_id, digest=digest), keys, actor)
    return True


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
        if candidate.part.offered:
            ledger.aborts.append((device_id, candidate.part.deployment_id))
