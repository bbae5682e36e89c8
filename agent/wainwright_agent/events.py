"""What the service's loop is told, by its threads: one queue, one type for each thing that happens."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from wainwright_common.messages import Ack, Attributes, Command, Reply

if TYPE_CHECKING:
    from wainwright_agent.enrolment import Said

Answer = dict[str, Any]
"""One line to a technician's command, as JSON can hold it."""


@dataclass(frozen=True, slots=True)
class Connected:
    """The link is up: the downlinks are subscribed."""


@dataclass(frozen=True, slots=True)
class Disconnected:
    """The link is down, or an attempt to bring it up failed."""

    reason: str


@dataclass(frozen=True, slots=True)
class Received:
    """A valid message of a controller."""

    message: Reply | Ack | Command


@dataclass(frozen=True, slots=True)
class Collected:
    """The inventory scripts have been run."""

    attributes: Attributes


@dataclass(frozen=True, slots=True)
class Asked:
    """A command of a technician; `answers` takes the lines of the answer and None after the last."""

    command: str
    options: dict[str, Any]
    is_owner: bool = False
    """Whether root or the agent's own user asks, who may change what is installed."""
    answers: SimpleQueue[Answer | None] = field(default_factory=SimpleQueue)

    def answer(self, line: Answer) -> None:
        """Answer with one line, which is the last."""
        self.answers.put(line)
        self.answers.put(None)


@dataclass(frozen=True, slots=True)
class UpdateChanged:
    """The running update has another state, needs a fresh link, or is over."""


@dataclass(frozen=True, slots=True)
class ScriptsRan:
    """Idle or sync scripts have run; `then` is to be called with whether they were right."""

    then: Callable[[bool], None]
    is_right: bool


@dataclass(frozen=True, slots=True)
class Enrolled:
    """An attempt to get a certificate has ended, well or not."""

    said: Said


@dataclass(frozen=True, slots=True)
class Stop:
    """End the service; with an error when a thread cannot go on."""

    reason: str
    error: BaseException | None = None


Event = Connected | Disconnected | Received | Collected | Asked | UpdateChanged | ScriptsRan | Enrolled | Stop
EventQueue = SimpleQueue[Event]


def spawn(events: EventQueue, name: str, work: Callable[[], None]) -> threading.Thread:
    """Start a thread; should it end by an error, which is a bug, it stops the service with it."""

    def guarded() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  whatever ends a thread must be seen
            events.put(Stop(f"the thread {name} failed: {error}", error))

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread
