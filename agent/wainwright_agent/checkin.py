"""When a device asks, and which answer counts.

The rules:

1. While the link is down nothing is asked; as soon as it is up, the device asks: a command may have been missed.
2. Two check-ins are at least GAP_S apart, however often one is wanted; wanted twice is asked once.
3. An answer counts only when it names the latest check-in. It sets the time of the next one.
4. A check-in without an answer is repeated, under a new id, after pauses that double.

Pure: the time (monotonic seconds) and the randomness are arguments. Ids are made, messages sent elsewhere.
"""

from __future__ import annotations

import math
from random import Random

from wainwright_agent.pace import backoff, jittered
from wainwright_common.messages import CheckInReason, Reply

GAP_S = 0.5  # a wake is answered within a second, and a flood of wakes costs two check-ins per second
REPLY_FIRST_S = 10.0  # a controller answers in milliseconds; a busy one gets time to catch up
REPLY_MAX_S = 600.0
AFTER_MAX_S = 86_400.0  # a controller cannot silence a device for longer than a day by mistake


class CheckIns:
    """The plan of one device's check-ins."""

    def __init__(self, interval_s: float, random: Random) -> None:
        self._interval_s = interval_s
        self._random = random
        self._is_up = False
        self._wanted: CheckInReason | None = CheckInReason.START
        self._not_before = -math.inf
        self._planned: tuple[float, CheckInReason] = (math.inf, CheckInReason.TIMER)
        self._unanswered = 0
        self._latest: str | None = None

    def link_up(self, not_before: float) -> None:
        """Ask from `not_before` on: the link is up (again)."""
        self._is_up = True
        self._unanswered = 0
        self._wanted = self._wanted or CheckInReason.START
        self._not_before = max(self._not_before, not_before)

    def link_down(self) -> None:
        """Ask nothing until the link is up; what was asked will not be answered."""
        self._is_up = False
        self._latest = None

    def ask(self, reason: CheckInReason) -> None:
        """Ask as soon as the gap allows."""
        self._wanted = reason

    def hasten(self, now: float) -> None:
        """Take back the `not_before` of `link_up`."""
        self._not_before = min(self._not_before, now)

    @property
    def due_at(self) -> float:
        """When to call `take`; infinity while the link is down."""
        if not self._is_up:
            return math.inf
        return self._not_before if self._wanted else max(self._not_before, self._planned[0])

    def take(self, now: float, check_in_id: str) -> CheckInReason | None:
        """Return the reason of the check-in that is due and is now sent as `check_in_id`; None if none is due."""
        if now < self.due_at:
            return None
        reason = self._wanted or self._planned[1]
        self._wanted = None
        self._latest = check_in_id
        self._not_before = now + GAP_S
        max_s = max(REPLY_FIRST_S, min(REPLY_MAX_S, self._interval_s))
        self._planned = (now + backoff(self._unanswered, REPLY_FIRST_S, max_s, self._random), reason)
        self._unanswered += 1
        return reason

    def accept(self, reply: Reply, now: float) -> bool:
        """Say whether a reply answers the latest check-in; if so, plan the next."""
        if reply.check_in_id != self._latest:
            return False
        self._latest = None
        self._unanswered = 0
        after_s = min(float(reply.check_in_after_s), AFTER_MAX_S) or self._interval_s
        self._planned = (now + jittered(after_s, self._random), CheckInReason.TIMER)
        return True

    @property
    def planned_at(self) -> float:
        """When the next check-in comes by itself; infinity if that is not known."""
        return self.due_at if self._latest is None else math.inf
