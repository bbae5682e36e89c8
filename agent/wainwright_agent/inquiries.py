"""Technicians who wait: for the controller's answer to a check-in, or until the inventory is sent.

The rules: a waiting check-in is answered by the first reply to a check-in that was sent after the technician asked.
If the link fails meanwhile, it is answered with that; if the time is over, with that.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from wainwright_agent.events import Answer, Asked
from wainwright_agent.status import of_reply
from wainwright_common.messages import Reply

TIMEOUT_S = 30.0  # when the technician names none
TIMEOUT_MAX_S = 600.0
WAITING_MAX = 48  # fewer than the control socket has threads, so that a status can be asked for at any time


@dataclass(slots=True)
class _Waiting:
    asked: Asked
    until: float
    is_sent: bool = False


class Inquiries:
    """Who waits for an answer to a check-in. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._waiting: list[_Waiting] = []

    def add(self, asked: Asked, now: float) -> None:
        """Let a technician wait for the answer to the next check-in."""
        if len(self._waiting) >= WAITING_MAX:
            asked.answer(problem("busy", "Too many others wait for an answer already."))
            return
        self._waiting.append(_Waiting(asked, now + timeout_of(asked.options)))

    def sent(self) -> None:
        """Note that a check-in was sent: its answer is for all who wait now."""
        for waiting in self._waiting:
            waiting.is_sent = True

    def replied(self, reply: Reply, **facts: bool) -> None:
        """Give a reply, with facts about what is done with it, to those who wait for it."""
        self._answer(lambda one: one.is_sent, {"reply": of_reply(reply), **facts})

    def link_failed(self, reason: str) -> None:
        """Tell all who wait that the broker cannot be reached."""
        self._answer(lambda _: True, problem("not-connected", f"The broker cannot be reached: {reason}."))

    def expire(self, now: float, *, is_up: bool) -> None:
        """Tell those whose time is over."""
        text = "The controller did not answer in time." if is_up else "The broker did not answer in time."
        self._answer(lambda one: one.until <= now, problem("no-answer" if is_up else "not-connected", text))

    @property
    def due_at(self) -> float:
        """When to call `expire`; infinity when nobody waits."""
        return min((one.until for one in self._waiting), default=math.inf)

    def _answer(self, applies: Any, line: Answer) -> None:  # noqa: ANN401  a predicate of _Waiting
        for one in [one for one in self._waiting if applies(one)]:
            one.asked.answer(line)
            self._waiting.remove(one)


def problem(error: str, text: str) -> Answer:
    """Return the answer that says why there is no other."""
    return {"error": error, "text": text}


def timeout_of(options: dict[str, Any]) -> float:
    """Return how long a technician wants to wait, in seconds and within bounds."""
    value = options.get("timeout_s", TIMEOUT_S)
    return float(min(max(0, value), TIMEOUT_MAX_S)) if isinstance(value, int | float) else TIMEOUT_S
