"""How long to wait: jitter, so that a fleet does not move in step, and bounded exponential backoff.

Pure: randomness is an argument. All times are seconds.
"""

from __future__ import annotations

from random import Random

JITTER = 0.1  # of an interval; spreads 10,000 devices that booted together over 6 minutes of a 30-minute interval
DOUBLINGS_MAX = 30  # keeps 2**n small; every bound that is used here is reached long before


def jittered(interval_s: float, random: Random) -> float:
    """Return an interval, give or take a random share of it of up to JITTER."""
    return interval_s * random.uniform(1 - JITTER, 1 + JITTER)


def spread(failures: int, first_s: float, max_s: float, random: Random) -> float:
    """Return a pause anywhere between nothing and a bound that doubles with each failure, from `first_s` to `max_s`.

    The whole range is used ("full jitter"): what matters when a broker comes back is that its devices come spread out,
    not that each of them waits.
    """
    return random.uniform(0, min(max_s, first_s * 2 ** min(failures, DOUBLINGS_MAX)))


def backoff(failures: int, first_s: float, max_s: float, random: Random) -> float:
    """Return a jittered pause that doubles with each failure, from `first_s` to `max_s`."""
    return jittered(min(max_s, first_s * 2 ** min(failures, DOUBLINGS_MAX)), random)
