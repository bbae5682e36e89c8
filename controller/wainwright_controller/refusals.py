"""Which refusals the audit log, or the log, keeps: nobody is to fill the disk by being refused."""

from __future__ import annotations

import logging
import threading
from collections import Counter

from wainwright_controller.buckets import Buckets, neighbourhood

LOG = logging.getLogger(__name__)

EACH_BURST = 20  # refusals of one address that are kept at once
EACH_REFILL_S = 60.0
ALL_BURST = 1000  # and of all addresses together
ALL_REFILL_S = 10.0  # at 400 bytes an entry, 3.5 MB a day at most
ADDRESSES_MAX = 4096  # remembered at once
_OF_A_THIEF = frozenset(
    # What a thief is told, or whom he has robbed: a token, a certificate or a key does not count, or not any more.
    {"token-invalid", "certificate-unknown", "certificate-revoked", "wrong-name", "key-revoked", "key-replaced"}
)


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


class EnrolmentsRefused:
    """Counts by code what devices are refused that ask for certificates; safe to share between threads.

    What may be a thief's attempt is also in the log, as often as a refusal would be in the audit log.
    """

    def __init__(self) -> None:
        self.by_code: Counter[str] = Counter()
        self._lines = Refusals()
        self._lock = threading.Lock()

    def note(self, code: str, address: str, device_id: str, text: str, now: float) -> None:
        """Count a refusal, of who says that it is a device ("" if that cannot be read); `text` has no secret.

        `now` is in seconds of a clock that never goes back.
        """
        with self._lock:
            self.by_code[code] += 1
            left_out = self._lines.take(address, now) if code in _OF_A_THIEF else None
        if left_out is not None:
            more = f" ({left_out} left out before)" if left_out else ""
            of = f" of {device_id}" if device_id else ""
            LOG.warning("enrolment%s refused to %s: %s: %s%s", of, address, code, text, more)
