"""Makes batches of what arrives, commits each in one transaction, and only then answers and acknowledges.

No timer makes the batches: while one is being committed the next one queues up, so that a quiet fleet is answered
at once and a loud one in large batches. The queue is bounded and its producer blocks, so that what a slow store
cannot take yet stays with the broker. Nothing is acknowledged to the broker before it is committed: killed at any
point, the controller is given the same messages again, and the rules make a repetition harmless.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from sqlalchemy import exc

from wainwright_common.topics import PREFIX
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.ingest.intake import Arrival, Counts, Delivery, admit
from wainwright_controller.ingest.link import Link
from wainwright_controller.ingest.traffic import Answer, Traffic
from wainwright_controller.ledger import Ledger
from wainwright_controller.store import Store
from wainwright_controller.waker import Waker

LOG = logging.getLogger(__name__)

BATCH_MAX = 500  # messages; larger ones gain little and hold the write lock for longer (docs/decisions/0005)
QUEUE_MAX = 4 * BATCH_MAX  # messages; some brokers send more than their in-flight limit, so this bound is our own
TRACE_EVERY_S = 60.0  # between two traces of what a message made fail
STORE_RETRY_S = 0.5  # between attempts to write when the store refuses (disk full, locked, server away)


class Pipeline:
    """See the module. `start` and `stop` are called once each."""

    def __init__(
        self,
        store: Store,
        link: Link,
        traffic: Traffic,
        counts: Counts,
        waker: Waker,
        bulletin: Bulletin,
        *,
        prefix: str = PREFIX,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store = store
        self._link = link
        self._traffic = traffic
        self._counts = counts
        self._waker = waker
        self._bulletin = bulletin
        self._prefix = prefix
        self._clock = clock
        self._queue: queue.Queue[Delivery] = queue.Queue(QUEUE_MAX)
        self._stopping = threading.Event()
        self._traced_at = -TRACE_EVERY_S
        self._thread = threading.Thread(target=self._run, name="pipeline", daemon=True)

    def start(self) -> None:
        """Begin to take messages."""
        self._thread.start()
        self._link.start(self._deliver)

    def stop(self) -> None:
        """Finish the batch at hand, then take no more; what waits comes again from the broker."""
        self._stopping.set()
        self._link.stop()
        self._thread.join()

    def _deliver(self, delivery: Delivery) -> None:
        while not self._stopping.is_set():
            try:
                return self._queue.put(delivery, timeout=0.5)
            except queue.Full:
                continue
        return None

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                batch = [self._queue.get(timeout=0.2)]
            except queue.Empty:
                continue
            try:
                while len(batch) < BATCH_MAX:
                    batch.append(self._queue.get_nowait())
            except queue.Empty:
                pass
            self._take(batch)

    def _take(self, batch: Sequence[Delivery]) -> None:
        """Commit a batch, however long the store refuses; then answer and acknowledge."""
        arrivals = [a for d in batch if (a := admit(d, self._counts, self._prefix)) is not None]
        answers = self._commit(arrivals) if arrivals else []
        if answers is None:
            return
        for topic, message in answers:
            self._link.publish(topic, message)
        for delivery in batch:
            self._link.acknowledge(delivery.token)
        self._counts.batches += 1

    def _commit(self, arrivals: Sequence[Arrival]) -> list[Answer] | None:
        """Return the answers of a committed batch; None when we are stopped before the store could take it."""
        while not self._stopping.is_set():
            try:
                return self._transact(arrivals)
            except (exc.OperationalError, exc.InterfaceError, exc.TimeoutError):
                LOG.exception("the store refused a batch of %d messages; trying again", len(arrivals))
                self._stopping.wait(STORE_RETRY_S)
            except Exception as error:  # noqa: BLE001  a bug of ours must not stop the fleet: the message is set aside
                if len(arrivals) == 1:
                    self._counts.refuse("internal", arrivals[0].device, f"{error!r} in {arrivals[0].kind}")
                    return []
                LOG.warning("a batch of %d messages could not be applied; one by one now", len(arrivals))
                self._log_trace(error)
                return self._commit_singly(arrivals)
        return None

    def _log_trace(self, error: Exception) -> None:
        """Write an exception's trace, once in TRACE_EVERY_S: a hostile message must not fill the disk."""
        now = time.monotonic()
        if now - self._traced_at >= TRACE_EVERY_S:
            self._traced_at = now
            LOG.warning("the first reason:", exc_info=error)

    def _commit_singly(self, arrivals: Sequence[Arrival]) -> list[Answer] | None:
        answers: list[Answer] = []
        for arrival in arrivals:
            committed = self._commit([arrival])
            if committed is None:
                return None  # the whole batch comes again, and what was committed of it is repeated without harm
            answers += committed
        return answers

    def _transact(self, arrivals: Sequence[Arrival]) -> list[Answer]:
        with self._store.write() as connection:
            ledger = Ledger(connection, self._clock())
            result = self._traffic.apply(ledger, arrivals)
        for reason, device, text in result.refused:
            self._counts.refuse(reason, device, text)
        self._waker.wake(ledger.wakes)
        self._bulletin.post(ledger.changed)
        return result.answers
