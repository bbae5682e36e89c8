"""Log lines that somebody else can cause, at a bounded rate: a period's first are written, the others counted."""

from __future__ import annotations

import logging
import math

MOST = 5  # lines in a period: enough to see what it is
PERIOD_S = 60.0  # so that a flood is 6 lines a minute


class Ration:
    """The lines of one kind. Times are monotonic seconds; call it from one thread."""

    def __init__(self, logger: logging.Logger, what: str) -> None:
        self._logger = logger
        self._what = what
        self._since = -math.inf
        self._written = 0
        self._left_out = 0

    def log(self, now: float, level: int, text: str, *values: object) -> None:
        """Write a line, or count it."""
        self.sum_up(now)
        if self._written < MOST:
            self._written += 1
            self._logger.log(level, text, *values)
        else:
            self._left_out += 1

    def sum_up(self, now: float) -> None:
        """At the end of a period, say how many lines were left out; to be called now and then."""
        if now - self._since < PERIOD_S:
            return
        if self._left_out:
            self._logger.warning("%s: %d more in the last %.0f s", self._what, self._left_out, now - self._since)
        self._since, self._written, self._left_out = now, 0, 0
