"""How long a device may take: its silence, its attempt as a whole, and each status in it are limited.

1. An offered attempt whose device says nothing for `in_progress_timeout_s` has failed with code `timeout`.
2. So has one that takes longer than `attempt_s` from its offer, or stays in a status for longer than that status may.
3. `deadline_at` in the store is the earliest moment at which a limit may have passed. Reports move the silence's limit
   without writing it, because the column is indexed: who finds a deadline passed looks again with `overdue`.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from wainwright_common.statuses import IN_PROGRESS, DeviceStatus
from wainwright_controller.records import Deployment, DeviceDeployment
from wainwright_controller.rules.spans import span


def _limits(part: DeviceDeployment, deployment: Deployment) -> list[tuple[float, str]]:
    """Return (moment, sentence) of every limit on the present attempt."""
    limits = deployment.time_limits
    silence = deployment.in_progress_timeout_s
    found = [(part.updated_at + silence, f"The device was silent for {span(silence)} while {part.status}.")]
    began = part.offered_at
    if limits.attempt_s is not None and began is not None:
        found.append((began + limits.attempt_s, f"The attempt took longer than {span(limits.attempt_s)}."))
    longest = {
        DeviceStatus.DOWNLOADING: limits.downloading_s,
        DeviceStatus.INSTALLING: limits.installing_s,
        DeviceStatus.REBOOTING: limits.rebooting_s,
    }.get(part.status)
    if longest is not None and part.status_at is not None:
        found.append((part.status_at + longest, f"The device was {part.status} for longer than {span(longest)}."))
    return found


def deadline_of(part: DeviceDeployment, deployment: Deployment) -> float | None:
    """Return when a limit of the present attempt passes if nothing more is heard; None when no attempt is under way."""
    if not part.offered or part.status not in IN_PROGRESS:
        return None
    return min(moment for moment, _ in _limits(part, deployment))


def overdue(part: DeviceDeployment, deployment: Deployment, now: float) -> str | None:
    """Return which limit has passed, as a sentence, or None."""
    if not part.offered or part.status not in IN_PROGRESS:
        return None
    return min(((moment, text) for moment, text in _limits(part, deployment) if moment <= now), default=(0.0, None))[1]
