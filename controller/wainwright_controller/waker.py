"""Wakes devices, at a bounded rate: a fleet is never told to ask in the same second.

What is lost here (the process ends, the broker is away) costs a delay and nothing else: a device asks again by its
timer.
"""

from __future__ import annotations

import itertools
import queue
import threading
import time
import uuid
from collections.abc import Callable, Iterable

from wainwright_common.messages import Command, CommandName
from wainwright_common.topics import Kind, Topic

RATE_PER_S = (
    1000.0  # devices a second; each asks with one message and gets one answer, see docs/decisions on the pipeline
)
BURST = 200.0  # devices that are woken without any delay
WAITING_MAX = 1_000_000  # commands; bounds the memory of a controller whose broker is away
_FIRST, _LAST = 0, 1


class Waker:
    """Sends commands from a thread of its own; `wake` and `command` never block."""

    def __init__(self, publish: Callable[[Topic, Command], None], rate_per_s: float = RATE_PER_S) -> None:
        self._publish = publish
        self._rate = rate_per_s
        self._queue: queue.PriorityQueue[tuple[int, int, tuple[str, CommandName, str | None] | None]]
        self._queue = queue.PriorityQueue(WAITING_MAX)
        self._numbers = itertools.count()
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more; what is still waiting is dropped."""
        self._rate = float("inf")
        self._publish = _drop
        self._queue.put((_FIRST, next(self._numbers), None))
        self._thread.join()

    def wake(self, device_ids: Iterable[str]) -> None:
        """Ask these devices to check in."""
        for device_id in device_ids:
            self.command(device_id, CommandName.CHECK_IN)

    def command(self, device_id: str, name: CommandName, deployment_id: str | None = None) -> None:
        """Send one command; dropped when WAITING_MAX are waiting. An abort does not wait behind a fleet of wakes."""
        turn = _FIRST if name is CommandName.ABORT else _LAST
        try:
            self._queue.put_nowait((turn, next(self._numbers), (device_id, name, deployment_id)))
        except queue.Full:
            return

    def _run(self) -> None:
        tokens, last = BURST, time.monotonic()
        while (item := self._queue.get()[2]) is not None:
            now = time.monotonic()
            tokens = min(BURST, tokens + (now - last) * self._rate)
            last = now
            if tokens < 1:
                time.sleep((1 - tokens) / self._rate)
            tokens -= 1
            device_id, name, deployment_id = item
            command = Command(id=uuid.uuid4().hex, name=name)
            if deployment_id is not None:
                command = Command(id=command.id, name=name, deployment_id=deployment_id)
            self._publish(Topic(device_id, Kind.COMMAND), command)


def _drop(_topic: Topic, _command: Command) -> None:
    """Take the place of the link when the controller ends."""
