"""What the clock brings: phases whose time has come, attempts that are due, time limits that have passed.

Of several controllers on one store one ticks (lead.py). What it remembers from one tick to the next is lost when
another takes over, and two may tick for a moment: all that is decided is decided again under the write lock.

Looks with a read, and writes only when there is something to do; so an idle controller writes nothing.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable

from msgspec.structs import replace
from sqlalchemy import Connection, select

from wainwright_common.codes import Code
from wainwright_common.statuses import FINISHED, DeploymentStatus, Hold
from wainwright_controller import audit, setback, settling
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.drip import Drip
from wainwright_controller.hearing import Hearing
from wainwright_controller.lead import Lead
from wainwright_controller.ledger import Ledger
from wainwright_controller.rows import DEPLOYMENT, PART, PHASE
from wainwright_controller.rules import lifecycle, pace, phases, timeouts
from wainwright_controller.rules.retries import failed
from wainwright_controller.store import Store, is_refusal, said
from wainwright_controller.timeline import Keep, remove, surplus
from wainwright_controller.waker import Waker

LOG = logging.getLogger(__name__)

TICK_S = 0.5  # how late a phase may open or a retry may start
TASK = "clock"  # what lead.py knows it by
TIDY_EVERY_S = 3600.0  # between two looks through the timelines

HEALTH_EVERY_S = 5.0  # how late a phase opens whose devices have recovered; one count over the phase each time
AT_ONCE_MAX = 500  # parts in one transaction; the rest follow in the next

Key = tuple[str, str]


class Ticker:
    """A thread that ticks every TICK_S."""

    def __init__(
        self,
        store: Store,
        waker: Waker,
        bulletin: Bulletin,
        keep: Keep,
        clock: Callable[[], float] = time.time,
        hearing: Hearing | None = None,
    ) -> None:
        self._store = store
        self._waker = waker
        self._bulletin = bulletin
        self._clock = clock
        self._random = random.Random()  # noqa: S311  spreads retries, hides nothing
        self._keep = keep
        self._tidied_at = 0.0
        self._noted: audit.Anchor | None = None

        self._hearing = hearing or Hearing(clock=clock)
        self._lead = Lead(store, TASK)
        self._led = True
        self._looked_back_since: float | None = None
        self._drip = Drip()
        self._judged_at: dict[str, float] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="ticker", daemon=True)

    def start(self) -> None:
        """Begin to tick."""
        self._thread.start()

    def stop(self) -> None:
        """Tick no more."""
        self._stopping.set()
        self._thread.join()
        self._lead.give_up()

    def _run(self) -> None:
        while not self._stopping.wait(TICK_S):
            try:
                while self._is_ours() and (self.tick() or self.tidy()):
                    pass
            except Exception as error:  # a bug of ours must not stop the clock: what it could not do now it tries again
                if is_refusal(error):
                    LOG.warning("the clock waits for the store: %s", said(error))
                else:
                    LOG.exception("what the clock brought could not be done; trying again")

    def _is_ours(self) -> bool:
        """Say whether this controller ticks; who takes over has not heard what the one before was told last."""
        self._hearing.beat()
        led, self._led = self._led, False
        self._led = self._lead.is_ours()
        if self._led and not led:
            self._hearing.begin_anew()
        return self._led

    def tick(self) -> bool:
        """Do what is due now; returns whether there may be more."""
        now, heard_since = self._clock(), self._hearing.since
        if heard_since != self._looked_back_since and not self._look_back(now):
            self._looked_back_since = heard_since
        with self._store.read() as connection:
            moving, due = _moving(connection), _due(connection, now)
            late = [] if heard_since is None else _late(connection, now)
            ledger = Ledger(connection, now)
            ledger.load_deployments(moving)
            moving = [i for i in moving if self._is_due(ledger, i)]
            turns = self._drip.due(connection, now)
        for deployment_id, devices in turns.items():
            self._waker.wake(devices, deployment_id)
        if not (moving or late or due):
            return False
        with self._store.write() as connection:
            ledger = Ledger(connection, now)
            ledger.load_deployments(moving)
            ledger.load_parts([*late, *due])
            # Loaded again under the write lock: what was deleted since the look is not there, and nothing is due
            # for it.
            for deployment_id in ledger.deployments.keys() & set(moving):
                ledger.settle_later(deployment_id)
            for key in ledger.parts.keys() & set(late):
                self._give_up(ledger, key, heard_since or now)
            for key in ledger.parts.keys() & set(due):
                self._retry(ledger, key)
            ledger.flush()
        self._waker.deliver(ledger)
        self._bulletin.post(ledger.changed, is_more=bool(ledger.devices_changed))
        return len(late) == AT_ONCE_MAX or len(due) == AT_ONCE_MAX

    def _look_back(self, now: float) -> bool:
        """Bring back to the present what a clock that was ahead has written; returns whether there may be more."""
        with self._store.read() as connection:
            found = setback.find(connection, now)
        if not any(found):
            return False
        with self._store.write() as connection:
            ledger = Ledger(connection, now)
            setback.bring_back(ledger, found)
            ledger.flush()
        self._waker.deliver(ledger)
        self._bulletin.post(ledger.changed, is_more=bool(ledger.devices_changed))
        return True

    def tidy(self) -> bool:
        """Remove what the timelines are not to keep, a piece at a time; returns whether there may be more."""
        now = self._clock()
        if 0 <= now - self._tidied_at < TIDY_EVERY_S:  # not of a clock that has been set back since
            return False
        with self._store.read() as connection:
            ids = surplus(connection, self._keep, now)
        if ids:
            with self._store.write() as connection:
                remove(connection, ids)
        else:
            self._tidied_at = now
            self._note_anchor()
        return bool(ids)

    def _note_anchor(self) -> None:
        """Have the audit log's last entry where whoever can change the store may not reach: docs/security.md."""
        with self._store.read() as connection:
            head = audit.head(connection)
        if head != self._noted:
            self._noted = head
            LOG.info("the audit log has the anchor %d:%s", head.number, head.hash)

    def _is_due(self, ledger: Ledger, deployment_id: str) -> bool:
        """Say whether time alone moves a deployment on now: a phase opens, or begins to wait for a person.

        A phase that was not healthy is looked at again after HEALTH_EVERY_S, and moves when its health has changed.
        """
        deployment, plan = ledger.deployments[deployment_id], ledger.phases[deployment_id]
        if lifecycle.is_held(deployment):
            return False
        judged = phases.judged(plan, ledger.now)
        if judged is not None and judged.ailment:
            if 0 <= ledger.now - self._judged_at.get(deployment_id, 0.0) < HEALTH_EVERY_S:
                return False
            self._judged_at[deployment_id] = ledger.now
            return settling.ailment_of(ledger, deployment, plan) != judged.ailment
        due = phases.next_due_at(plan)
        if due is not None and due <= ledger.now:
            return True
        pairs = zip([None, *plan], plan, strict=False)
        waits = any(phases.awaits_approval(phase, before, ledger.now) for before, phase in pairs)
        return waits and deployment.hold is not Hold.AWAITING_PROMOTION

    def _give_up(self, ledger: Ledger, key: Key, heard_since: float) -> None:
        """End an attempt whose device has been silent for too long; one that has spoken since gets a later deadline.

        So does one that nobody could hear.

        Reports do not move the deadline themselves: it is in an index, which would double what each of them costs.
        """
        part = ledger.parts[key]
        if part.deadline_at is None or part.deadline_at > ledger.now or part.status in FINISHED:
            return
        deployment = ledger.deployments[part.deployment_id]
        text = timeouts.overdue(part, deployment, ledger.now, heard_since)
        if text is None:
            later = timeouts.deadline_of(part, deployment, heard_since)
            ledger.put_part(replace(part, deadline_at=later), actor="controller")
            return
        ended = failed(
            part,
            Code.TIMEOUT,
            text,
            retries=deployment.retries,
            now=ledger.now,
            jitter=self._random.uniform(-1, 1),
        )
        ledger.put_part(ended, actor="controller")
        if ended.status in FINISHED:
            ledger.wakes.append(part.device_id)  # another deployment may have waited behind this one

    def _retry(self, ledger: Ledger, key: Key) -> None:
        part = ledger.parts[key]
        if part.next_attempt_at is not None and part.next_attempt_at <= ledger.now:
            ledger.put_part(replace(part, next_attempt_at=None), actor="controller")
            if pace.places(ledger.deployments[part.deployment_id], 0, ledger.now) is None:
                ledger.wake_for(part.deployment_id, [part.device_id])


def _moving(connection: Connection) -> list[str]:
    """Return the unfinished deployments that have a closed phase."""
    query = (
        select(DEPLOYMENT.c.id)
        .join(PHASE, PHASE.c.deployment_id == DEPLOYMENT.c.id)
        .where(DEPLOYMENT.c.status != DeploymentStatus.FINISHED, PHASE.c.opened_at.is_(None))
    )
    return list(connection.execute(query.distinct()).scalars())


def _late(connection: Connection, now: float) -> list[Key]:
    query = select(PART.c.deployment_id, PART.c.device_id).where(PART.c.deadline_at <= now)
    return [(row[0], row[1]) for row in connection.execute(query.limit(AT_ONCE_MAX))]


def _due(connection: Connection, now: float) -> list[Key]:
    query = select(PART.c.deployment_id, PART.c.device_id).where(PART.c.next_attempt_at <= now)
    return [(row[0], row[1]) for row in connection.execute(query.limit(AT_ONCE_MAX))]
