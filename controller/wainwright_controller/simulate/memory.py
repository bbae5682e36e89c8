"""What a device remembers across connections: the part of an agent's journal that the protocol needs.

1. A report that changes the outcome stays in the outbox until an acknowledgement covers it.
2. Numbers of reports rise within an attempt, progress reports included.
3. A verdict other than `accepted` ends an update that is not committed; except `stale` while the controller holds the
   update for under way: then a report has overtaken another, and that is all.
4. An attempt is carried out once, however often it is offered.

No I/O here, and no clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from msgspec import UNSET, UnsetType

from wainwright_common.messages import Ack, Action, Offer, Progress, Reason, Report, Running, Verdict
from wainwright_common.statuses import ACTIVE, FINISHED, DeviceStatus

Attempt = tuple[str, int]
"""One attempt: (deployment id, number)."""


class Taken(NamedTuple):
    """An offer that a device began with, and what it ran then."""

    deployment_id: str
    attempt: int
    action: Action
    release: str
    before: str


@dataclass(slots=True)
class Memory:
    """See the module. `installed` counts how often each attempt was carried out: never more than once.

    `taken` are the offers that it began with, in their order; `artifact_name` is what it runs.
    """

    artifact_name: str
    boot_id: str
    outbox: list[Report] = field(default_factory=list)
    offer: Offer | None = None
    status: DeviceStatus = DeviceStatus.PENDING
    is_committed: bool = False
    installed: Counter[Attempt] = field(default_factory=Counter)
    outcomes: dict[Attempt, DeviceStatus] = field(default_factory=dict)
    taken: list[Taken] = field(default_factory=list)
    _seq: Counter[Attempt] = field(default_factory=Counter)

    def take(self, offer: Offer) -> bool:
        """Begin what is offered; False when it is under way or done already, or another is under way."""
        attempt = (offer.deployment_id, offer.attempt)
        if self.offer is not None or attempt in self.outcomes:
            return False
        self.offer, self.status, self.is_committed = offer, DeviceStatus.PENDING, False
        self.taken.append(Taken(*attempt, offer.action, offer.artifact.name, self.artifact_name))
        return True

    @property
    def running(self) -> Running | UnsetType:
        """What a check-in says is under way."""
        if self.offer is None:
            return UNSET
        return Running(deployment_id=self.offer.deployment_id, attempt=self.offer.attempt, status=self.status)

    def commit(self) -> None:
        """Install: from here on the update cannot be aborted."""
        offer = self._running()
        self.installed[offer.deployment_id, offer.attempt] += 1
        self.artifact_name = offer.artifact.name
        self.is_committed = True

    def report(
        self,
        status: DeviceStatus,
        at: datetime,
        *,
        progress: Progress | UnsetType = UNSET,
        error: Reason | UnsetType = UNSET,
        substate: str | UnsetType = UNSET,
    ) -> Report:
        """Return the next report of the update under way; a final status ends it. Rules 1 and 2."""
        offer = self._running()
        attempt = (offer.deployment_id, offer.attempt)
        self._seq[attempt] += 1
        report = Report(
            deployment_id=offer.deployment_id,
            attempt=offer.attempt,
            seq=self._seq[attempt],
            status=status,
            boot_id=self.boot_id,
            at=at,
            progress=progress,
            error=error,
            substate=substate,
            artifact_name=self.artifact_name if status is DeviceStatus.SUCCESS else UNSET,
        )
        self.status = status
        if progress is UNSET:
            self.outbox.append(report)
        if status in FINISHED:
            self.outcomes[attempt] = status
            self.offer = None
        return report

    def acknowledged(self, ack: Ack) -> bool:
        """Apply an acknowledgement; True when it ends the update under way. Rules 1 and 3."""
        attempt = (ack.deployment_id, ack.attempt)
        self.outbox = [r for r in self.outbox if (r.deployment_id, r.attempt) != attempt or r.seq > ack.seq]
        if ack.verdict is Verdict.ACCEPTED or (ack.verdict is Verdict.STALE and ack.status in ACTIVE):
            return False
        return self.is_current(*attempt) and self.give_up()

    def is_current(self, deployment_id: str, attempt: int | None = None) -> bool:
        """Say whether an update of this deployment is under way, and of this attempt if one is given."""
        offer = self.offer
        return offer is not None and offer.deployment_id == deployment_id and attempt in {None, offer.attempt}

    def give_up(self) -> bool:
        """Stop the update under way and forget its reports; False when there is none, or it is committed."""
        if self.offer is None or self.is_committed:
            return False
        attempt = (self.offer.deployment_id, self.offer.attempt)
        self.outbox = [r for r in self.outbox if (r.deployment_id, r.attempt) != attempt]
        self.outcomes[attempt] = DeviceStatus.ABORTED
        self.offer = None
        return True

    def _running(self) -> Offer:
        if self.offer is None:
            raise ValueError("no update is under way")
        return self.offer
