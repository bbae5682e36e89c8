"""Keeps what one device sends beyond its budget away from the store, so that it delays nobody else.

It is not lost for good: of presences, inventories, check-ins and reports the newest one is taken as soon as there is
room, and an outcome is sent again by its device until it is acknowledged. Pieces of a log are dropped.

Only the pipeline's thread calls this; the counts may be read by any.
"""

from __future__ import annotations

import logging
from collections import Counter

from wainwright_common.topics import PREFIX
from wainwright_controller.ingest.budgets import Budgets
from wainwright_controller.ingest.intake import Counts, Delivery

LOG = logging.getLogger(__name__)

LOG_EVERY_S = 60.0  # between two lines about who is over budget: a flood must not fill the disk
LOGGED_MAX = 10  # devices named in such a line, the loudest
NOTED_MAX = 10_000  # topics counted between two such lines
DUE_MAX = 250  # kept messages taken at once: half a batch, so that those of other devices go on beside them
KEPT_BYTES_MAX = 16 * 2**20  # payloads that wait for room in their budget; what does not fit is dropped


class Throttle:
    """Lets messages through within their budgets. `now` is in seconds, of a clock that never goes back."""

    def __init__(self, counts: Counts, prefix: str = PREFIX) -> None:
        self._counts = counts
        self._skip = len(prefix) + 1
        self._budgets = Budgets()
        self._kept: dict[str, tuple[float, Delivery]] = {}
        self._kept_bytes = 0
        self._due_at = float("inf")
        self._over: Counter[str] = Counter()
        self._logged_at = float("-inf")

    def lets_through(self, delivery: Delivery, now: float) -> bool:
        """Say whether a message is to be taken now; otherwise count it, and keep it if it may be worth it later."""
        topic = delivery.topic
        verdict = self._budgets.take(topic, now)
        if verdict.may_take:
            if topic in self._kept:
                self._forget(topic)  # this one is newer
            return True
        if verdict.budget.keeps_latest:
            self._keep(delivery, verdict.free_at)
        self._counts.throttled[verdict.kind] += 1
        if topic in self._over or len(self._over) < NOTED_MAX:
            self._over[topic] += 1
        return False

    def due(self, now: float) -> list[Delivery]:
        """Return the kept messages that there is room for now. They were acknowledged to the broker before."""
        self._tell(now)
        if now < self._due_at:
            return []
        topics = [topic for topic, (free_at, _) in self._kept.items() if free_at <= now][:DUE_MAX]
        due = [self._forget(topic) for topic in topics if self._budgets.take(topic, now).may_take]
        self._due_at = min((free_at for free_at, _ in self._kept.values()), default=float("inf"))
        return due

    def _keep(self, delivery: Delivery, free_at: float) -> None:
        if delivery.topic in self._kept:
            self._forget(delivery.topic)
        if self._kept_bytes + len(delivery.payload) <= KEPT_BYTES_MAX:
            self._kept[delivery.topic] = (free_at, delivery)
            self._kept_bytes += len(delivery.payload)
            self._due_at = min(self._due_at, free_at)

    def _forget(self, topic: str) -> Delivery:
        delivery = self._kept.pop(topic)[1]
        self._kept_bytes -= len(delivery.payload)
        return delivery

    def _tell(self, now: float) -> None:
        """Log who is over budget: at once when it begins, then once in LOG_EVERY_S while it goes on."""
        if not self._over or now - self._logged_at < LOG_EVERY_S:
            return
        self._logged_at = now
        named = ", ".join(f"{topic[self._skip :][:160]!r} {n}" for topic, n in self._over.most_common(LOGGED_MAX))
        LOG.warning(
            "more messages than their budgets allow, from %d topics, put off or dropped: %s", len(self._over), named
        )
        self._over.clear()
