"""The device's inventory while the agent runs: when its scripts run, and when it is sent.

The scripts run at the start, after each update, when somebody asks for the inventory, and otherwise at an interval.
It is sent when the controller says that it has another, or when somebody asks. Scripts may take minutes: they run in a
thread of their own, and who asks meanwhile gets what they find.
"""

from __future__ import annotations

import logging
import math
from random import Random

from wainwright_agent import inventory
from wainwright_agent.config import Config
from wainwright_agent.events import Asked, Collected, EventQueue, spawn
from wainwright_agent.inquiries import problem
from wainwright_agent.journal import Journal
from wainwright_agent.link import Link
from wainwright_agent.pace import jittered
from wainwright_common.messages import Attributes, Inventory, inventory_digest
from wainwright_common.topics import Kind

log = logging.getLogger(__name__)


class Collector:
    """What is known of the device now. Times are monotonic seconds."""

    def __init__(self, config: Config, journal: Journal, link: Link, events: EventQueue, random: Random) -> None:
        self.due_at = math.inf
        """When to call `collect`; infinity while the scripts run."""
        self.is_complete = False
        """True once the scripts have been run."""
        self._config = config
        self._journal = journal
        self._link = link
        self._events = events
        self._random = random
        self._attributes = inventory.fitting(inventory.own(config, journal.state.provides))
        self._is_collecting = False
        self._again = False
        self._send_after = False
        self._waiting: list[Asked] = []

    @property
    def digest(self) -> str:
        """The digest of what is known now."""
        return inventory_digest(self._attributes)

    def collect(self) -> None:
        """Run the scripts; if they run already, run them once more, because they may have missed what is new."""
        if self._is_collecting:
            self._again = True
            return
        self._is_collecting = True
        self.due_at = math.inf
        provides = dict(self._journal.state.provides)
        spawn(self._events, "inventory", lambda: self._events.put(Collected(inventory.collect(self._config, provides))))

    def collected(self, attributes: Attributes, now: float) -> None:
        """Take what the scripts found."""
        self._attributes = attributes
        self._is_collecting = False
        self.is_complete = True
        self.due_at = now + jittered(self._config.inventory.interval_s, self._random)
        if self._again:
            self._again = False
            self.collect()
        elif self._send_after:
            self.send()

    def send(self) -> None:
        """Send the inventory, now or as soon as the scripts that are running have ended."""
        if self._is_collecting:
            self._send_after = True
            return
        self._send_after = False
        message = Inventory(digest=self.digest, attributes=self._attributes)
        is_sent = self._link.publish(Kind.INVENTORY, message)
        log.info("inventory of %d attributes %s", len(self._attributes), "sent" if is_sent else "not sent")
        for asked in self._waiting:
            asked.answer({"sent": len(self._attributes)} if is_sent else problem("not-connected", self._link.why_down))
        self._waiting.clear()

    def collect_and_send(self, asked: Asked | None = None) -> None:
        """Run the scripts, then send what they found, and tell a technician who waits for that."""
        if asked is not None:
            self._waiting.append(asked)
        self._send_after = True
        self.collect()
