"""Which devices of a paced deployment to wake now: as many as would get an offer, one after the other.

Whoever has an older deployment to finish first is passed over: a check-in would bring it nothing. So is for a while who
was woken in vain, because it does not answer, or is busy.

What is remembered here is where in the order the waking has got to, and who was woken when. It is lost when the
controller ends, which costs some devices one wake too many.
"""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, or_, select

from wainwright_common.messages import WhyCode
from wainwright_common.statuses import DeploymentStatus, DeviceStatus, Hold
from wainwright_controller.ledger import Ledger
from wainwright_controller.records import Deployment
from wainwright_controller.rows import DEPLOYMENT, DEVICE, PART
from wainwright_controller.rules import pace

AT_ONCE_MAX = 500  # devices woken for one deployment in one tick; the next tick goes on
LOOK_MAX = 500  # devices passed over for one deployment in one tick: some 2 ms of the store's time
WAKE_AGAIN_S = 60.0  # before a device is woken again to which nothing has happened since


class Drip:
    """Chooses the devices; `places` are asked of the rules at every call."""

    def __init__(self) -> None:
        self._after: dict[str, str] = {}
        self._woken: dict[str, dict[str, float]] = {}

    def due(self, connection: Connection, now: float) -> dict[str, list[str]]:
        """Return, by deployment, the devices to wake at `now`."""
        offers = or_(DEPLOYMENT.c.hold.is_(None), DEPLOYMENT.c.hold == Hold.AWAITING_PROMOTION)
        running = (DEPLOYMENT.c.status != DeploymentStatus.FINISHED, offers)
        query = select(DEPLOYMENT.c.id).where(*running, DEPLOYMENT.c.pace != "{}")
        ids = list(connection.execute(query).scalars())
        for forgotten in self._after.keys() - set(ids):
            del self._after[forgotten]
            self._woken.pop(forgotten, None)
        ledger = Ledger(connection, now)
        ledger.load_deployments(ids)
        found = {i: self._of(ledger, ledger.deployments[i]) for i in ids}
        return {i: devices for i, devices in found.items() if devices}

    def _of(self, ledger: Ledger, deployment: Deployment) -> list[str]:
        room = pace.places(deployment, ledger.under_way(deployment), ledger.now)
        if room is None:
            return []
        room = min(room, AT_ONCE_MAX)
        opened = [p.number for p in ledger.phases[deployment.id] if p.opened_at is not None]
        if room < 1 or not opened:
            return []
        return self._next(ledger, deployment.id, opened, room)

    def _next(self, ledger: Ledger, deployment_id: str, opened: list[int], room: int) -> list[str]:
        now, after = ledger.now, self._after.get(deployment_id, "")
        woken = {i: at for i, at in self._woken.get(deployment_id, {}).items() if 0 <= now - at < WAKE_AGAIN_S}
        rows = _waiting(ledger, deployment_id, opened, room + LOOK_MAX, PART.c.device_id > after)
        if len(rows) < room + LOOK_MAX and after:
            left = room + LOOK_MAX - len(rows)
            rows += _waiting(ledger, deployment_id, opened, left, PART.c.device_id <= after)
        devices: list[str] = []
        for row in rows:
            after = row["device_id"]
            if not row["is_behind"] and (after not in woken or _has_moved(row, woken[after])):
                devices.append(after)
            if len(devices) == room:
                break
        self._after[deployment_id] = after
        self._woken[deployment_id] = woken | dict.fromkeys(devices, now)
        return devices


def _waiting(
    ledger: Ledger, deployment_id: str, opened: list[int], number: int, where: ColumnElement[bool]
) -> list[RowMapping]:
    """Return the first that wait for an offer and are online; `is_behind` says that an older deployment comes first."""
    older = PART.alias()
    comes_first = select(older.c.device_id).where(
        older.c.device_id == PART.c.device_id, older.c.finished_at.is_(None), older.c.sequence < PART.c.sequence
    )
    query = (
        select(
            *(PART.c.device_id, PART.c.updated_at, DEVICE.c.last_check_in_at, DEVICE.c.last_why),
            comes_first.exists().label("is_behind"),
        )
        .join(DEVICE, and_(DEVICE.c.id == PART.c.device_id, DEVICE.c.online.is_(True)))
        .where(
            PART.c.deployment_id == deployment_id,
            PART.c.phase.in_(opened),
            PART.c.status == DeviceStatus.PENDING,
            PART.c.offered.is_(False),
            or_(PART.c.next_attempt_at.is_(None), PART.c.next_attempt_at <= ledger.now),
            where,
        )
        .order_by(PART.c.device_id)
        .limit(number)
    )
    return list(ledger.connection.execute(query).mappings())


def _has_moved(row: RowMapping, woken_at: float) -> bool:
    """Say whether a device that was woken is to be woken again: for another attempt, or because others were faster."""
    was_late = row["last_why"] == WhyCode.RATE_LIMITED and (row["last_check_in_at"] or 0.0) >= woken_at
    return bool(was_late or row["updated_at"] >= woken_at)
