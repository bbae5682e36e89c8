"""Wakes devices, at a bounded rate: a fleet is never told to ask in the same second.

What is lost here (the process ends, the broker is away) costs a delay and nothing else: a device asks again by its
timer.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from wainwright_common.messages import Command, CommandName
from wainwright_common.topics import Kind, Topic

if TYPE_CHECKING:
    from wainwright_controller.ledger import Ledger

RATE_PER_S = (
    1000.0  # devices a second; each asks with one message and gets one answer, see docs/decisions on the pipeline
)
BURST = 200.0  # devices that are woken without any delay
WAITING_MAX = 1_000_000  # commands; bounds the memory of a controller whose broker is away


Order = tuple[str, CommandName, str | None]
"""A command to send: device, name, and the deployment that an abort is about."""


class Waker:
    """Sends commands from a thread of its own; `wake`, `command` and `deliver` never block.

    Aborts go first. Wakes wait in a queue for each deployment, and the queues take turns: a deployment to a hundred
    thousand devices does not make one to ten of them wait.
    """

    def __init__(self, publish: Callable[[Topic, Command], None], rate_per_s: float = RATE_PER_S) -> None:
        self._publish = publish
        self._rate = rate_per_s
        self._condition = threading.Condition()
        self._aborts: deque[Order] = deque()
        self._queues: OrderedDict[str, deque[Order]] = OrderedDict()
        self._waiting = 0
        self._is_stopping = False
        self._thread = threading.Thread(target=self._run, name="waker", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def stop(self) -> None:
        """Send no more; what is still waiting is dropped."""
        with self._condition:
            self._is_stopping = True
            self._condition.notify_all()
        self._thread.join()

    @property
    def waiting(self) -> int:
        """How many commands are not sent yet."""
        return self._waiting

    def deliver(self, ledger: Ledger) -> None:
        """Send what a committed transaction has to say to devices."""
        for device_id, deployment_id in ledger.aborts:
            self.command(device_id, CommandName.ABORT, deployment_id)
        self.wake(ledger.wakes)
        for deployment_id, device_ids in ledger.wakes_of.items():
            self.wake(device_ids, deployment_id)

    def wake(self, device_ids: Iterable[str], deployment_id: str = "") -> None:
        """Ask these devices to check in, in turn with those that are asked for other deployments."""
        with self._condition:
            for device_id in device_ids:
                self._put(self._queues.setdefault(deployment_id, deque()), (device_id, CommandName.CHECK_IN, None))
            self._condition.notify()

    def command(self, device_id: str, name: CommandName, deployment_id: str | None = None) -> None:
        """Send one command; dropped when WAITING_MAX are waiting. An abort does not wait behind a fleet of wakes."""
        with self._condition:
            is_first = name is CommandName.ABORT
            queue = self._aborts if is_first else self._queues.setdefault("", deque())
            self._put(queue, (device_id, name, deployment_id))
            self._condition.notify()

    def _put(self, queue: deque[Order], order: Order) -> None:
        if self._waiting < WAITING_MAX:
            queue.append(order)
            self._waiting += 1

    def send_next(self) -> bool:
        """Send the command whose turn it is, if there is one; returns whether there was."""
        with self._condition:
            order = self._pop()
        if order is None:
            return False
        device_id, name, deployment_id = order
        command = Command(id=uuid.uuid4().hex, name=name)
        if deployment_id is not None:
            command = Command(id=command.id, name=name, deployment_id=deployment_id)
        self._publish(Topic(device_id, Kind.COMMAND), command)
        with self._condition:
            self._waiting -= 1
        return True

    def _pop(self) -> Order | None:
        if self._aborts:
            return self._aborts.popleft()
        while self._queues:
            key, queue = self._queues.popitem(last=False)
            if queue:
                self._queues[key] = queue  # to the end of the line
                return queue.popleft()
        return None

    def _run(self) -> None:
        tokens, last = BURST, time.monotonic()
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._waiting or self._is_stopping)
                if self._is_stopping:
                    return
            now = time.monotonic()
            tokens = min(BURST, tokens + (now - last) * self._rate)
            last = now
            if tokens < 1:
                time.sleep((1 - tokens) / self._rate)
            tokens -= 1
            self.send_next()
