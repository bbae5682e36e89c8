"""Tells the controller: numbers reports, and publishes them when the journal has what it must.

A report that changes the outcome is made by the rules, and is in the journal's outbox before it is published. A report
of progress may be lost, so it is only published; but its number is reserved on disk first, so none is used twice.
One thread at a time calls all this: the updater's, or the one that begins an update while that one waits.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

from msgspec import UNSET, UnsetType
from msgspec.structs import replace

from wainwright_agent import rules
from wainwright_agent.journal import Journal, JournalError, State
from wainwright_common.codes import Code
from wainwright_common.messages import Offer, Progress, Reason, Report
from wainwright_common.statuses import ACTIVE, DeviceStatus


class Reporter:
    """The reports of one agent. `publish` must not block."""

    def __init__(self, journal: Journal, boot_id: str, publish: Callable[[Report], None]) -> None:
        self._journal = journal
        self._boot_id = boot_id
        self._publish = publish
        update = journal.state.update
        self._next_seq = 1 if update is None else update.reserved_seq

    def now(self) -> rules.Now:
        """Return what the rules need to make the next report."""
        return rules.Now(at=datetime.now(UTC), boot_id=self._boot_id, seq=self._next_seq)

    def first(self) -> rules.Now:
        """Return what the rules need to make the first report of an attempt."""
        self._next_seq = 1
        return self.now()

    def tell(self, before: State, after: State, now: rules.Now) -> None:
        """Publish what has come of a change of state: its new outcome, or that the same status goes on."""
        told = [report for report in after.outbox[-1:] if report not in before.outbox]
        if after.update is not None and after.update.by_hand is None:
            if not told and after.update.status in ACTIVE:  # an outcome is told once, and as it is in the outbox
                told = [rules.report_of(after.update, now)]
            self._next_seq = now.seq + 1
        for report in told:
            self._publish(report)

    def tell_progress(self, progress: Progress | UnsetType = UNSET) -> None:
        """Publish how far a download is, or just that the update goes on.

        Not at all while the journal cannot be written, or for one by hand.
        """
        running = self._journal.state.update
        if running is None or running.by_hand is not None:
            return
        now = self.now()
        try:
            update = self._journal.change(lambda state: rules.reserve(state, now.seq)).update
        except JournalError:
            return
        if update is not None:
            self._next_seq = now.seq + 1
            self._publish(replace(rules.report_of(update, now), progress=progress))

    def tell_refusal(self, offer: Offer, error: JournalError) -> None:
        """Publish that an attempt has failed before it could be stored. If this is lost, it is offered again."""
        report = Report(
            deployment_id=offer.deployment_id,
            attempt=offer.attempt,
            seq=1,
            status=DeviceStatus.FAILURE,
            boot_id=self._boot_id,
            at=datetime.now(UTC),
            error=Reason(code=Code.JOURNAL_FAILED, text=str(error)),
        )
        self._publish(report)
