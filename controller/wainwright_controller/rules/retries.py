"""What becomes of a failed attempt: another one after a while, or the end.

1. A device may fail `retries` times and still try again; a `final` error code ends it at once.
2. The pause before attempt n+1 is BACKOFF_FIRST_S · 2^(n-1), at most BACKOFF_MAX_S, spread by ±BACKOFF_SPREAD, so that
   devices that failed together do not come back together.
3. The same device shows `pending`, its attempt's number and the time of the next one.
"""

from __future__ import annotations

import math

from msgspec.structs import replace

from wainwright_common.codes import is_retryable
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.records import DeviceDeployment

BACKOFF_FIRST_S = 10.0  # long enough for a dropped link to come back, short enough to watch
BACKOFF_MAX_S = 3600.0  # as long as operators of polling systems wait for two polls (twice 30 minutes)
BACKOFF_SPREAD = 0.2  # part of the pause; spreads 1,000 devices that failed in one second over four seconds at least
PAUSE_MAX_S = BACKOFF_MAX_S * (1 + BACKOFF_SPREAD)


def pause_before(attempt: int, jitter: float) -> float:
    """Return the seconds to wait before `attempt` (2 or more); `jitter` is between -1 and 1."""
    pause = min(math.ldexp(BACKOFF_FIRST_S, min(attempt - 2, 16)), BACKOFF_MAX_S)
    return pause * (1 + BACKOFF_SPREAD * jitter)


def failed(
    part: DeviceDeployment, code: str, text: str, *, retries: int, now: float, jitter: float
) -> DeviceDeployment:
    """Return `part` after its attempt failed: pending again with the time of the next attempt, or finished."""
    ended = replace(part, error_code=code, error_text=text, updated_at=now)
    if part.attempt > retries or not is_retryable(code):
        return replace(ended, status=DeviceStatus.FAILURE, finished_at=now, next_attempt_at=None)
    following = part.attempt + 1
    return replace(
        ended,
        status=DeviceStatus.PENDING,
        attempt=following,
        offered=False,
        offered_at=None,
        status_at=None,
        last_seq=0,
        seen=0,
        progress_done=None,
        progress_total=None,
        next_attempt_at=now + pause_before(following, jitter),
    )
