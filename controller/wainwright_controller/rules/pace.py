"""How fast a deployment makes offers: a constant rate or an exponential ramp, and how many devices are under way.

1. The rate is a token bucket: an offer takes one token; tokens come back at the rate, and at most BURST_S seconds'
   worth are kept, or one. So in any span of t seconds a deployment makes at most 1 + (BURST_S + t) · rate offers.
2. A ramp multiplies the rate by `factor` after every `every` offers, up to `max_per_minute`.
3. With a concurrency limit there is an offer only while fewer devices than that are under way: offered, not finished.
4. Tokens that were counted by a clock far ahead of this one say nothing: it was set back, and the bucket is full.
5. A second offer of the same attempt (a fresh link) takes nothing: the device is under way already.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from msgspec.structs import replace

from wainwright_controller.records import Deployment, Pace

BURST_S = 1.0  # a second's worth at once: what arrives in one batch is not told to come back
AHEAD_MAX_S = 10.0  # more than clocks of controllers on one store differ by; one that is set back by less catches up
RATE_MAX_PER_MINUTE = 6_000_000.0  # beyond what a controller can offer; bounds the ramp's arithmetic


def rate_per_s(pace: Pace, offers: int) -> float | None:
    """Return the offers a second after `offers` of them; None is without a limit."""
    if pace.per_minute is None:
        return None
    top = min(pace.max_per_minute or RATE_MAX_PER_MINUTE, RATE_MAX_PER_MINUTE)
    rate = pace.per_minute
    for _ in range(offers // pace.every if pace.every and pace.factor > 1 else 0):
        if rate >= top:
            break
        rate *= pace.factor
    return min(rate, max(top, pace.per_minute)) / 60


def tokens_at(deployment: Deployment, now: float) -> float:
    """Return how many offers the bucket holds at `now`; infinite without a rate."""
    rate = rate_per_s(deployment.pace, deployment.offers)
    if rate is None:
        return float("inf")
    full = max(1.0, rate * BURST_S)
    if deployment.tokens_at > now + AHEAD_MAX_S:
        return full
    return min(deployment.tokens + max(0.0, now - deployment.tokens_at) * rate, full)


def wait_of(deployment: Deployment, under_way: int, now: float) -> str:
    """Return why a deployment with `under_way` devices makes no further offer at `now`; empty when it may."""
    limit = deployment.pace.concurrency
    if limit is not None and under_way >= limit:
        return f"{deployment.name} updates at most {limit} devices at once."
    if tokens_at(deployment, now) >= 1 - 1e-9:  # a hair of rounding must not cost a turn
        return ""
    rate = rate_per_s(deployment.pace, deployment.offers) or 1.0
    return f"{deployment.name} makes {rate * 60:g} offers a minute: its turn has not come."


def spend(deployment: Deployment, now: float) -> Deployment:
    """Return the deployment after one more offer; without a rate it is the same object."""
    if deployment.pace.per_minute is None:
        return deployment
    tokens = max(0.0, tokens_at(deployment, now) - 1)
    return replace(deployment, tokens=tokens, tokens_at=now, offers=deployment.offers + 1)


def places(deployment: Deployment, under_way: int, now: float) -> int | None:
    """Return how many devices may be woken now, None for all: no more than would get an offer."""
    pace = deployment.pace
    if pace.per_minute is None and pace.concurrency is None:
        return None
    free = float("inf") if pace.concurrency is None else max(0, pace.concurrency - under_way)
    room = min(free, tokens_at(deployment, now) + 1e-9)
    return int(room)
