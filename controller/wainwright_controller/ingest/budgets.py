"""How many messages one device may have taken, by kind: a pure rule, with the time as an argument.

A budget is a rate and a burst. It is kept by the generic cell rate algorithm (ITU-T I.371), which is a token bucket
whose whole state is one time: when the bucket would be full again. So a topic costs one float, a bucket that is full
costs nothing, and forgetting one that has had time to fill changes nothing.

What is over its budget and what becomes of it is not decided here: see throttle.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from wainwright_common.topics import Kind

TOPICS_MAX = 100_000  # topics remembered in one generation, two of which are kept: 40 MB at most


class Budget(NamedTuple):
    """Messages that are taken from one device on one topic: `burst` at once, `per_s` for ever.

    `keeps_latest` says whether the newest of the messages beyond the budget is taken when there is room again, because
    it says all that those before it said.
    """

    per_s: float
    burst: int
    keeps_latest: bool

    @property
    def fills_in_s(self) -> float:
        """How long an empty bucket takes to be full."""
        return self.burst / self.per_s


# fmt: off
BUDGETS: Mapping[Kind, Budget] = {
    # An agent connects at most every 2 s (protocol.md, Times), and says each time that it comes and that it goes.
    Kind.PRESENCE:  Budget(per_s=1.0, burst=60,  keeps_latest=True),
    # Sent when the digest has changed, which an answer to a check-in asks for. Up to 256 KiB each.
    Kind.INVENTORY: Budget(per_s=0.2, burst=60,  keeps_latest=True),
    # Two check-ins are at least 0.5 s apart; only the answer to the latest one counts.
    Kind.CHECK_IN:  Budget(per_s=2.0, burst=60,  keeps_latest=True),
    # One report of progress a second, and the steps; an agent that comes back sends up to 512 that it has kept.
    Kind.REPORT:    Budget(per_s=5.0, burst=600, keeps_latest=True),
    # One piece a second (the agent's log_sender.py); a log has 2,000 lines, in pieces of 100 or less.
    Kind.LOG:       Budget(per_s=2.0, burst=100, keeps_latest=False),
}
# fmt: on

RUBBISH = Budget(per_s=100.0, burst=5000, keeps_latest=False)
"""What is on no topic of the protocol has one budget for all who send it: nobody waits for it."""

FORGET_AFTER_S = max(budget.fills_in_s for budget in [*BUDGETS.values(), RUBBISH])
"""Seconds after which a bucket that nobody took from is full, so that it needs no memory."""

_BY_END: Mapping[str, Budget] = {kind.value.rpartition("/")[2]: budget for kind, budget in BUDGETS.items()}
_NO_TOPIC = ""


class Verdict(NamedTuple):
    """Whether a message may be taken now; otherwise `free_at` is when the next one may. `kind` is for people."""

    may_take: bool
    kind: str
    budget: Budget
    free_at: float


class Budgets:
    """What every topic has used of its budget. `now` is in seconds, of a clock that never goes back."""

    def __init__(self, topics_max: int = TOPICS_MAX) -> None:
        self._topics_max = topics_max
        self._full_at: dict[str, float] = {}
        self._former: dict[str, float] = {}
        self._began_at = float("-inf")

    def __len__(self) -> int:
        """How many topics are remembered."""
        return len(self._full_at) + len(self._former)

    def take(self, topic: str, now: float) -> Verdict:
        """Take one message from a topic's budget, if there is one."""
        key, kind = topic, topic[topic.rfind("/") + 1 :]
        budget = _BY_END.get(kind)
        if budget is None:
            key, kind, budget = _NO_TOPIC, "other", RUBBISH
        full_at = self._full_at.get(key)
        if full_at is None:
            self._turn(now)
            full_at = self._former.get(key, now)
        one = 1.0 / budget.per_s
        full_at = max(full_at, now) + one
        free_at = full_at - budget.fills_in_s
        # Adding rates to a clock's seconds rounds: a thousandth of a message is forgiven.
        if free_at - now > one / 1000:
            return Verdict(may_take=False, kind=kind, budget=budget, free_at=free_at)
        self._full_at[key] = full_at
        return Verdict(may_take=True, kind=kind, budget=budget, free_at=now)

    def _turn(self, now: float) -> None:
        """Forget what was last used a generation ago; early when there are too many topics."""
        if now - self._began_at > FORGET_AFTER_S or len(self._full_at) >= self._topics_max:
            self._former, self._full_at = self._full_at, {}
            self._began_at = now
