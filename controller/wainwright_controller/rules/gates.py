"""When a rollout stops by itself: limits on failures, and the health of a phase.

1. A device has failed when its part ended as `failure`, or when it fell back after its success (`regressed`). Devices
   without an artifact, aborted or decommissioned ones were not tried, and do not count.
2. A limit is broken by more failures than its count, or by a larger part of the tried devices than its percentage, once
   `min_sample` have been tried. A limit of 0 is broken by the first failure.
3. Resuming acknowledges: what had failed, and been tried, by then does not count again.
4. Of several broken limits the most drastic action is taken: rollback, abort, pause.
5. A phase with a soak time is healthy when each of its devices that has got the release, or had it, is online and still
   runs it, and one of them at least is in the fleet still.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import NamedTuple

from wainwright_common.codes import Code
from wainwright_common.errors import WainwrightError
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.records import Deployment, Limit, OnFailures, Tally

LIMITS_MAX = 8  # limits of one deployment: more than anybody has told apart
REGRESSED = "regressed"  # stands for an error code in a limit's `codes`
_COUNTED = (*map(str, Code), REGRESSED)
_DRASTIC = {OnFailures.ROLLBACK: 0, OnFailures.ABORT: 1, OnFailures.PAUSE: 2}


class BadLimit(WainwrightError):  # noqa: N818  the name is the sentence: "refused: bad limit"
    """A limit on failures cannot be kept as written."""


class Broken(NamedTuple):
    """A limit that is broken, and the facts as a sentence."""

    limit: Limit
    text: str


class Health(NamedTuple):
    """The devices of a phase that are to have the release, and how many of them are offline or run another one."""

    devices: int
    offline: int
    elsewhere: int

    @property
    def ailment(self) -> str:
        """What is wrong, as a clause; empty when the phase is healthy."""
        said = [
            f"{n} of {self.devices} {what}"
            for n, what in ((self.offline, "offline"), (self.elsewhere, "without the release"))
            if n
        ]
        return " and ".join(said)


def check(limits: Sequence[Limit]) -> None:
    """Raise BadLimit when a limit cannot be kept, or counts a code that nothing reports."""
    if len(limits) > LIMITS_MAX:
        raise BadLimit(f"A deployment has at most {LIMITS_MAX} limits on failures, this one has {len(limits)}.")
    for limit in limits:
        if (limit.count is None) == (limit.percent is None):
            raise BadLimit("A limit on failures is a count or a percentage: give one of them.")
        for code in limit.codes:
            if code not in _COUNTED:
                near = get_close_matches(code, _COUNTED, n=1)
                hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(_COUNTED)}."
                raise BadLimit(f"{code} is no error code, so that the limit could never break: {hint}")


def failures_of(deployment: Deployment, tally: Tally) -> int:
    """Return how many devices have failed so far, those that fell back included."""
    return _in(tally, DeviceStatus.FAILURE) + deployment.regressed


def tried_of(tally: Tally) -> int:
    """Return how many devices have been tried: those that succeeded and those that failed."""
    return _in(tally, DeviceStatus.SUCCESS) + _in(tally, DeviceStatus.FAILURE)


def _in(tally: Tally, status: DeviceStatus) -> int:
    return sum(n for (_, s), n in tally.items() if s is status)


def broken(deployment: Deployment, tally: Tally, by_code: Mapping[str, int]) -> Broken | None:
    """Return the broken limit to act on, or None.

    `by_code` counts the failures by error code; only limits with codes read it.
    """
    tried = tried_of(tally) - deployment.seen_tried
    found = []
    for limit in deployment.limits:
        if limit.codes:
            failures = sum(by_code.get(code, 0) - deployment.seen_codes.get(code, 0) for code in limit.codes)
        else:
            failures = failures_of(deployment, tally) - deployment.seen_failures
        since = " since it was resumed" if deployment.resumed_at is not None else ""
        text = _text(limit, failures, tried, since)
        if text is not None:
            found.append(Broken(limit, text))
    return min(found, key=lambda b: _DRASTIC[b.limit.action], default=None)


def _text(limit: Limit, failures: int, tried: int, since: str) -> str | None:
    if failures <= 0:
        return None
    what = f"{failures} failed" + (f" with {' or '.join(limit.codes)}" if limit.codes else "")
    if limit.count is not None and failures > limit.count:
        return f"{what}{since}, at most {limit.count} may"
    # A device may regress that was tried before the last resume: it is a failure among itself at least.
    sample = max(tried, failures)
    if limit.percent is not None and sample >= limit.min_sample and failures * 100 > limit.percent * sample + 1e-9:
        return f"{what} of {sample} ({100 * failures / sample:.0f} %){since}, at most {limit.percent:g} % may"
    return None
