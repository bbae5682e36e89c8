"""Admits what is a message of the protocol; counts and drops the rest, so that it stops nothing that follows."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from typing import NamedTuple

from wainwright_common.errors import BadMessage, BadTopic
from wainwright_common.messages import Message, decode
from wainwright_common.topics import PREFIX, Kind, Topic, parse

LOG = logging.getLogger(__name__)
LOGGED_PER_S = 10  # refusals that are written to the log; all are counted


_UP = frozenset(kind for kind in Kind if kind.is_up)


class Delivery(NamedTuple):
    """What the broker delivered; `token` is what link.py needs to acknowledge it."""

    topic: str
    payload: bytes
    token: tuple[int, int, int]
    is_retained: bool = False


class Arrival(NamedTuple):
    """A delivery that was admitted."""

    device: str
    kind: Kind
    message: Message
    is_retained: bool = False


class Counts:
    """Messages taken by kind, refused by reason, and over their budgets by kind; any thread may read."""

    def __init__(self) -> None:
        self.taken: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        self.throttled: Counter[str] = Counter()
        self.batches = 0
        self._lock = threading.Lock()
        self._second = 0
        self._logged = 0

    def refuse(self, reason: str, topic: str, text: str) -> None:
        """Count a refusal, and log it with its topic, at most LOGGED_PER_S of them in a second.

        Without a text it is only counted: its device is told already.
        """
        with self._lock:
            self.refused[reason] += 1
            if not text:
                return
            second = int(time.monotonic())
            if second != self._second:
                self._second, self._logged = second, 0
            self._logged += 1
            if self._logged <= LOGGED_PER_S:
                LOG.warning("refused a message on %r: %s: %s", topic[:300], reason, text[:300])


def admit(delivery: Delivery, counts: Counts, prefix: str = PREFIX) -> Arrival | None:
    """Return what arrived, or None after counting why not."""
    try:
        topic = _uplink(delivery.topic, prefix)
        if delivery.is_retained and topic.kind is not Kind.PRESENCE:
            counts.refuse("retained", delivery.topic, "only a presence may be retained: this would come again for ever")
            return None
        message = decode(topic.kind, delivery.payload)
    except BadTopic as error:
        counts.refuse("bad-topic", delivery.topic, str(error))
        return None
    except BadMessage as error:
        counts.refuse(error.reason, delivery.topic, str(error))
        return None
    counts.taken[topic.kind.value] += 1
    return Arrival(topic.device, topic.kind, message, delivery.is_retained)


def _uplink(text: str, prefix: str) -> Topic:
    topic = parse(text, prefix)
    if topic.kind not in _UP:
        raise BadTopic(f"{topic.kind} is for controllers to send.")
    return topic
