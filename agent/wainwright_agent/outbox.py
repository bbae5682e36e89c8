"""Telling outcomes until somebody has heard: the journal's unacknowledged reports are sent again and again.

They go out in order whenever the link comes up, and then every RESEND_S, give or take 10 %, until they are
acknowledged: for as long as that takes.
"""

from __future__ import annotations

import logging
import math
import time
from random import Random

from wainwright_agent.journal import Journal
from wainwright_agent.link import Link
from wainwright_agent.pace import jittered
from wainwright_common.messages import Report
from wainwright_common.topics import Kind

RESEND_S = 30.0  # a controller acknowledges in milliseconds; a restarting one is back by then

log = logging.getLogger(__name__)


class Outbox:
    """Sends reports; `publish` from any thread, the rest from the service's loop. Times are monotonic seconds."""

    def __init__(self, journal: Journal, link: Link, random: Random, resend_s: float = RESEND_S) -> None:
        self._journal = journal
        self._link = link
        self._random = random
        self._resend_s = resend_s
        self._resend_at = 0.0

    def publish(self, report: Report) -> None:
        """Send a report once; if it counts, it is in the journal and will be sent again."""
        self._resend_at = time.monotonic() + jittered(self._resend_s, self._random)
        if not self._link.publish(Kind.REPORT, report):
            log.debug("the link is down: report %d of %s waits", report.seq, report.deployment_id)

    def hasten(self) -> None:
        """Send everything now: the link is up again."""
        self._resend_at = 0.0

    @property
    def due_at(self) -> float:
        """When to call `resend`; infinity while the link is down or nothing waits."""
        return self._resend_at if self._link.is_up and self._journal.state.outbox else math.inf

    def resend(self) -> None:
        """Send what is not acknowledged, oldest first."""
        reports = self._journal.state.outbox
        log.info("sends %d unacknowledged report(s) again", len(reports))
        for report in reports:
            if not self._link.publish(Kind.REPORT, report):
                break
        self._resend_at = time.monotonic() + jittered(self._resend_s, self._random)
