"""What pages say: the words for statuses, holds, actions. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from wainwright_common.statuses import DeviceStatus
from wainwright_controller.api.models import DeploymentOut, PhaseOut
from wainwright_controller.cli import narration
from wainwright_controller.people import Role
from wainwright_controller.rules.actions import Act

TONES: Mapping[str, str] = {
    "success": "good",
    "already-installed": "good",
    "accepted": "good",
    "inprogress": "busy",
    "downloading": "busy",
    "installing": "busy",
    "rebooting": "busy",
    "rolling back": "busy",
    "pending": "idle",
    "scheduled": "idle",
    "partial": "warn",
    "awaiting-promotion": "warn",
    "awaiting-approval": "warn",
    "awaiting-start": "warn",
    "paused": "warn",
    "noartifact": "warn",
    "aborted": "warn",
    "rolled-back": "warn",
    "failure": "bad",
    "rejected": "bad",
    "revoked": "bad",
    "decommissioned": "off",
    "valid": "good",
    "allowed": "good",
    "refused": "bad",
    "expired": "off",
    "replaced": "off",
}
"""How a status looks: the colour goes with a word and a shape, never alone."""

LEVELS: Mapping[str, str] = {"error": "bad", "critical": "bad", "warning": "warn", "debug": "quiet"}
"""How a line of a log looks, by its level; others are as all text."""

BAR: Mapping[str, tuple[DeviceStatus, ...]] = {
    "good": (DeviceStatus.SUCCESS, DeviceStatus.ALREADY_INSTALLED),
    "bad": (DeviceStatus.FAILURE,),
    "warn": (DeviceStatus.NOARTIFACT, DeviceStatus.ABORTED, DeviceStatus.DECOMMISSIONED),
    "busy": (DeviceStatus.DOWNLOADING, DeviceStatus.INSTALLING, DeviceStatus.REBOOTING),
}
"""The parts of a bar, from the left; what is left of it is pending, or has not joined."""

ACTIONS: Mapping[Act, str] = {
    Act.APPROVE: "Approve",
    Act.DENY: "Deny",
    Act.START: "Start",
    Act.PROMOTE: "Promote",
    Act.PAUSE: "Pause",
    Act.RESUME: "Resume",
    Act.INSTALL: "Install",
    Act.RETRY: "Retry",
    Act.ROLLBACK: "Roll back",
    Act.FINISH: "Finish",
    Act.ABORT: "Cancel",
    Act.DELETE: "Delete",
}


def tone(status: str) -> str:
    """Return how a status looks: good, busy, idle, warn, bad or off."""
    return TONES.get(status, "idle")


def a(role: Role) -> str:
    """Return a role with its article."""
    return f"a {role}" if role is Role.VIEWER else f"an {role}"


def as_json(out: DeploymentOut | PhaseOut) -> dict[str, Any]:
    """Return a view as the API gives it, which is what the sentences of the command line are made from."""
    return out.model_dump(mode="json", exclude_none=True)


def standing(deployment: DeploymentOut) -> str:
    """Return where a deployment stands, in the command line's words."""
    return narration.standing(as_json(deployment))


def opening(phase: PhaseOut, *, is_over: bool) -> str:
    """Return whether a phase is open, and if not what opens it."""
    return narration.opening(as_json(phase), is_over=is_over)


def parts_of(counts: Mapping[DeviceStatus, int], total: int) -> list[tuple[str, float, float, int]]:
    """Return the parts of a bar: (tone, begin, width, devices), in percent of it."""
    parts, begin = [], 0.0
    for name, statuses in BAR.items():
        n = sum(counts.get(status, 0) for status in statuses)
        if n and total:
            width = min(100.0 * n / total, 100.0 - begin)
            parts.append((name, round(begin, 3), round(width, 3), n))
            begin += width
    return parts


def breakdown(counts: Mapping[DeviceStatus, int], total: int) -> str:
    """Return the same as a sentence for who does not see it: 3 success, 1 failure, 2 pending of 6."""
    told = ", ".join(f"{n} {status}" for status, n in counts.items() if n)
    return f"{told or 'nothing yet'}; {total} in all"
