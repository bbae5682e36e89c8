"""Makes batches of what arrives, commits each in one transaction, and only then answers and acknowledges.

No timer makes the batches: while one is being committed the next one queues up, so that a quiet fleet is answered
at once and a loud one in large batches. The queue is bounded and its producer blocks, so that what a slow store
cannot take yet stays with the broker. Nothing is acknowledged to the broker before it is committed: killed at any
point, the controller is given the same messages again, and the rules make a repetition harmless.

One device cannot hold up the rest: what is over its budget is acknowledged unread (throttle.py), and of what is not,
one device has at most SHARE_MAX messages in the first transaction of a batch; what it has more waits for a second one.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence

from wainwright_common.topics import PREFIX
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.hearing import Hearing, Need
from wainwright_controller.ingest.intake import Arrival, Counts, Delivery, admit
from wainwright_controller.ingest.link import Link
from wainwright_controller.ingest.throttle import Throttle
from wainwright_controller.ingest.traffic import Answer, Traffic
from wainwright_controller.ledger import Ledger
from wainwright_controller.store import Store, is_refusal, said
from wainwright_controller.waker import Waker

LOG = logging.getLogger(__name__)

BATCH_MAX = 500  # messages; larger ones gain little and hold the write lock for longer (docs/decisions/0005)
QUEUE_MAX = 4 * BATCH_MAX  # messages; some brokers send more than their in-flight limit, so this bound is our own
SHARE_MAX = BATCH_MAX // 10  # messages of one device that go before those of others: a tenth of a batch, some 5 ms
IDLE_S = 0.2  # how late we notice that we are to stop, or that there is room again in a budget
TRACE_EVERY_S = 60.0  # between two traces of what a message made fail
REFUSAL_EVERY_S = 10.0  # between two lines about a store that refuses
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
        hearing: Hearing,
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
        self._hearing = hearing
        self._prefix = prefix
        self._throttle = Throttle(counts, prefix)
        self._clock = clock
        self._queue: queue.Queue[Delivery] = queue.Queue(QUEUE_MAX)
        self._stopping = threading.Event()
        self._traced_at = -TRACE_EVERY_S
        self._refused_since: float | None = None
        self._refusal_logged_at = -REFUSAL_EVERY_S
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
            received, wanted = self._gather()
            if received or wanted:
                self._take(received, wanted)

    def _gather(self) -> tuple[list[Delivery], list[Delivery]]:
        """Return what has come, and which of that is to be taken; waits at most IDLE_S.

        What is over a budget does not count against BATCH_MAX: it costs next to nothing, and others wait behind it.
        """
        received: list[Delivery] = []
        try:
            received.append(self._queue.get(timeout=IDLE_S))
        except queue.Empty:
            return [], self._throttle.due(time.monotonic())
        now = time.monotonic()
        wanted = self._throttle.due(now)
        while True:
            if self._throttle.lets_through(received[-1], now):
                wanted.append(received[-1])
            if len(wanted) >= BATCH_MAX or len(received) >= QUEUE_MAX:
                break
            try:
                received.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return received, wanted

    def _take(self, received: Sequence[Delivery], wanted: Sequence[Delivery]) -> None:
        """Commit what is wanted, however long the store refuses, and answer it; then acknowledge all that was received.

        In the order in which it was received (MQTT 3.1.1 section 4.6).
        """
        arrivals = [a for d in wanted if (a := admit(d, self._counts, self._prefix)) is not None]
        for part in shares(arrivals):
            answers = self._commit(part)
            if answers is None:
                return
            for topic, message in answers:
                self._link.publish(topic, message)
            self._counts.batches += 1
        self._link.acknowledge(delivery.token for delivery in received)

    def _commit(self, arrivals: Sequence[Arrival]) -> list[Answer] | None:
        """Return the answers of a committed batch; None when we are stopped before the store could take it."""
        while not self._stopping.is_set():
            try:
                return self._transact(arrivals)
            except Exception as error:  # noqa: BLE001  a bug of ours must not stop the fleet: the message is set aside
                if is_refusal(error):
                    self._hearing.lost(Need.STORE)
                    self._log_refusal(error, len(arrivals))
                    self._stopping.wait(STORE_RETRY_S)
                    continue
                self._note_store()
                if len(arrivals) == 1:
                    self._counts.refuse("internal", arrivals[0].device, f"{error!r} in {arrivals[0].kind}")
                    return []
                LOG.warning("a batch of %d messages could not be applied; one by one now", len(arrivals))
                self._log_trace(error)
                return self._commit_singly(arrivals)
        return None

    def _log_refusal(self, error: Exception, count: int) -> None:
        """Say that the store takes nothing, at once and then every REFUSAL_EVERY_S; `_note_store` says when it does."""
        now = time.monotonic()
        self._refused_since = self._refused_since or now
        if now - self._refusal_logged_at >= REFUSAL_EVERY_S:
            self._refusal_logged_at = now
            LOG.error(
                "the store refuses %d messages, which wait for it and stay unacknowledged: %s", count, said(error)
            )

    def _note_store(self) -> None:
        """Take note that the store is there, whatever became of the messages: more may not come."""
        if self._refused_since is not None:
            self._hearing.found(Need.STORE)
            LOG.info("the store takes messages again, after %.1f s", time.monotonic() - self._refused_since)
            self._refused_since, self._refusal_logged_at = None, -REFUSAL_EVERY_S

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
        self._note_store()
        for reason, device, text in result.refused:
            self._counts.refuse(reason, device, text)
        self._waker.deliver(ledger)
        self._bulletin.post(ledger.changed, is_more=bool(ledger.devices_changed))
        return result.answers


def shares(arrivals: Sequence[Arrival]) -> list[list[Arrival]]:
    """Divide a batch into at most two, so that one device has at most SHARE_MAX messages in the first.

    Each device's messages keep their order; neither part is empty.
    """
    if len(arrivals) <= SHARE_MAX:
        return [list(arrivals)] if arrivals else []
    first: list[Arrival] = []
    second: list[Arrival] = []
    taken: Counter[str] = Counter()
    for arrival in arrivals:
        taken[arrival.device] += 1
        (first if taken[arrival.device] <= SHARE_MAX else second).append(arrival)
    return [first, second] if second else [first]
