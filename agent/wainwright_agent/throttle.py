"""A token bucket: how long to wait so that a link carries no more than so many bytes per second.

Pure: the time (monotonic seconds) is an argument. The bucket holds what BURST_S brings, so that a pause of the server
is made up for only in part, and no second carries much more than its share.
"""

from __future__ import annotations

from dataclasses import dataclass

BURST_S = 1.0  # of the rate; a monitor that looks at whole seconds never sees more than twice the rate
PIECES_PER_S = 8  # reads in a second, so that the rate is even and an abort is not kept waiting
PIECE_MIN = 1024  # bytes; below it the cost of a read outweighs what it brings


@dataclass
class Throttle:
    """The bucket of one download; it starts empty, so that a download that is cut often is no faster for it."""

    bytes_per_second: int
    now: float
    _tokens: float = 0.0

    @property
    def piece(self) -> int:
        """The most bytes to take at once."""
        return max(PIECE_MIN, self.bytes_per_second // PIECES_PER_S)

    def pay(self, n: int, now: float) -> float:
        """Take the tokens of `n` bytes that have just come; return how many seconds to wait before the next."""
        earned = max(0.0, now - self.now) * self.bytes_per_second
        self._tokens = min(self._tokens + earned, self.bytes_per_second * BURST_S) - n
        self.now = now
        return max(0.0, -self._tokens / self.bytes_per_second)


def lowest(*limits: int | None) -> int | None:
    """Return the strictest of several limits, of which any may be absent (None or 0)."""
    return min((limit for limit in limits if limit), default=None)
