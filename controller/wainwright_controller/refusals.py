"""Which refusals the audit log keeps: nobody is to fill the disk by being refused."""

from __future__ import annotations

from wainwright_controller.buckets import Buckets, neighbourhood

EACH_BURST = 20  # refusals of one address that are kept at once
EACH_REFILL_S = 60.0
ALL_BURST = 1000  # and of all addresses together
ALL_REFILL_S = 10.0  # at 400 bytes an entry, 3.5 MB a day at most
ADDRESSES_MAX = 4096  # remembered at once


class Refusals:
    """Counts refusals, and those that are not kept; safe to share between threads."""

    def __init__(self) -> None:
        self._each = Buckets(burst=EACH_BURST, refill_s=EACH_REFILL_S, keys_max=ADDRESSES_MAX)
        self._all = Buckets(burst=ALL_BURST, refill_s=ALL_REFILL_S, keys_max=1)
        self._left_out = 0

    def take(self, address: str, now: float) -> int | None:
        """Return how many were left out since the last one that was kept, or None if this one is left out, too.

        `now` is in seconds of a clock that never goes back.
        """
        if not (self._each.take(neighbourhood(address), now) and self._all.take("", now)):
            self._left_out += 1
            return None
        left_out, self._left_out = self._left_out, 0
        return left_out
