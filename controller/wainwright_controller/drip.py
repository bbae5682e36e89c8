"""Which devices of a paced deployment to wake now: as many as would get an offer, one after the other.

What is remembered here is where in the order the waking has got to, so that a device that does not answer is passed
over until its turn comes again. It is lost when the controller ends, which costs some devices one wake too many.
"""

from __future__ import annotations

from sqlalchemy import Connection, and_, or_, select

from wainwright_common.statuses import DeploymentStatus, DeviceStatus, Hold
from wainwright_controller.ledger import Ledger
from wainwright_controller.records import Deployment
from wainwright_controller.rows import DEPLOYMENT, DEVICE, PART
from wainwright_controller.rules import pace

AT_ONCE_MAX = 500  # devices woken for one deployment in one tick; the next tick goes on


class Drip:
    """Chooses the devices; `places` are asked of the rules at every call."""

    def __init__(self) -> None:
        self._after: dict[str, str] = {}

    def due(self, connection: Connection, now: float) -> dict[str, list[str]]:
        """Return, by deployment, the devices to wake at `now`."""
        offers = or_(DEPLOYMENT.c.hold.is_(None), DEPLOYMENT.c.hold == Hold.AWAITING_PROMOTION)
        running = (DEPLOYMENT.c.status != DeploymentStatus.FINISHED, offers)
        query = select(DEPLOYMENT.c.id).where(*running, DEPLOYMENT.c.pace != "{}")
        ids = list(connection.execute(query).scalars())
        for forgotten in self._after.keys() - set(ids):
            del self._after[forgotten]
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
        waiting = (
            select(PART.c.device_id)
            .join(DEVICE, and_(DEVICE.c.id == PART.c.device_id, DEVICE.c.online.is_(True)))
            .where(
                PART.c.deployment_id == deployment_id,
                PART.c.phase.in_(opened),
                PART.c.status == DeviceStatus.PENDING,
                PART.c.offered.is_(False),
                or_(PART.c.next_attempt_at.is_(None), PART.c.next_attempt_at <= ledger.now),
            )
            .order_by(PART.c.device_id)
            .limit(room)
        )
        after = self._after.get(deployment_id, "")
        devices = list(ledger.connection.execute(waiting.where(PART.c.device_id > after)).scalars())
        if not devices and after:
            devices = list(ledger.connection.execute(waiting).scalars())
        if devices:
            self._after[deployment_id] = devices[-1]
        return devices
