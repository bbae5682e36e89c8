"""How long a device may take: its silence, its attempt as a whole, and each status in it are limited.

1. An offered attempt whose device says nothing for `in_progress_timeout_s` has failed with code `timeout`. A report
   that is taken breaks the silence, and so does a check-in that names the attempt as running.
2. So has one that takes longer than `attempt_s` from its offer, or stays in a status for longer than that status may.
3. What began before the controller heard devices without a break (hearing.py) is not held against them before they
   could be heard: a limit then passes no earlier than its own length, and at most ANEW_MAX_S, after the break, and
   GRACE_S more for what has waited in the broker and for devices that have to connect.
4. `deadline_at` in the store is the earliest moment at which a limit may have passed. Reports move the silence's limit
   without writing it, because the column is indexed: who finds a deadline passed looks again with `overdue`.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from msgspec.structs import replace

from wainwright_common.statuses import IN_PROGRESS, DeviceStatus
from wainwright_controller.records import Deployment, DeviceDeployment
from wainwright_controller.rules.spans import span

ANEW_MAX_S = 3600.0  # two check-ins at the usual pause; so controllers that restart every day find silence all the same
GRACE_S = 90.0  # a device tries to connect every 60 s, and repeats after 30 s what nobody has confirmed


def _passes(began: float, limit: float, heard_since: float) -> float:
    """Return when a limit on what began at `began` passes (rule 3)."""
    if began >= heard_since:
        return began + limit
    return max(began + limit, heard_since + min(limit, ANEW_MAX_S) + GRACE_S)


def _limits(part: DeviceDeployment, deployment: Deployment, heard_since: float) -> list[tuple[float, str]]:
    """Return (moment, sentence) of every limit on the present attempt."""
    limits = deployment.time_limits
    silence = deployment.in_progress_timeout_s
    silent_until = _passes(part.updated_at, silence, heard_since)
    found = [(silent_until, f"The device was silent for {span(silence)} while {part.status}.")]
    began = part.offered_at
    if limits.attempt_s is not None and began is not None:
        passes = _passes(began, limits.attempt_s, heard_since)
        found.append((passes, f"The attempt took longer than {span(limits.attempt_s)}."))
    longest = {
        DeviceStatus.DOWNLOADING: limits.downloading_s,
        DeviceStatus.INSTALLING: limits.installing_s,
        DeviceStatus.REBOOTING: limits.rebooting_s,
    }.get(part.status)
    if longest is not None and part.status_at is not None:
        passes = _passes(part.status_at, longest, heard_since)
        found.append((passes, f"The device was {part.status} for longer than {span(longest)}."))
    return found


def deadline_of(part: DeviceDeployment, deployment: Deployment, heard_since: float = 0.0) -> float | None:
    """Return when a limit of the present attempt passes if nothing more is heard; None when no attempt is under way."""
    if not part.offered or part.status not in IN_PROGRESS:
        return None
    return min(moment for moment, _ in _limits(part, deployment, heard_since))


def overdue(part: DeviceDeployment, deployment: Deployment, now: float, heard_since: float = 0.0) -> str | None:
    """Return which limit has passed, as a sentence, or None."""
    if not part.offered or part.status not in IN_PROGRESS:
        return None
    passed = ((moment, text) for moment, text in _limits(part, deployment, heard_since) if moment <= now)
    return min(passed, default=(0.0, None))[1]


def not_after(part: DeviceDeployment, now: float) -> DeviceDeployment:
    """Return a part of which nothing happened later than `now`, which a clock that was ahead has written."""
    return replace(
        part,
        updated_at=min(part.updated_at, now),
        offered_at=None if part.offered_at is None else min(part.offered_at, now),
        status_at=None if part.status_at is None else min(part.status_at, now),
    )


def heard(part: DeviceDeployment, attempt: int, now: float) -> DeviceDeployment:
    """Return a part whose device says that it carries `attempt` out; the same object when it does not say more."""
    if not part.offered or part.attempt != attempt or part.status not in IN_PROGRESS:
        return part
    return replace(part, updated_at=now)
