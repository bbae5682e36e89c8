"""Statuses of device deployments and deployments, and which may follow which.

The words are on the wire, in the API and in the CLI. Two literal tables say what may follow: `REPORTED` holds what a
device may tell, `DECIDED` what the controller itself may do. A pair that is in neither does not happen; finished
statuses have no row, because they are final.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class DeviceStatus(StrEnum):
    """Where one device stands in one deployment."""

    PENDING = "pending"
    DOWNLOADING = "downloading"
    INSTALLING = "installing"
    REBOOTING = "rebooting"
    SUCCESS = "success"
    FAILURE = "failure"
    NOARTIFACT = "noartifact"
    ALREADY_INSTALLED = "already-installed"
    ABORTED = "aborted"
    DECOMMISSIONED = "decommissioned"


class DeploymentStatus(StrEnum):
    """Where a deployment stands; a `Hold` may stand beside the first two."""

    PENDING = "pending"
    INPROGRESS = "inprogress"
    FINISHED = "finished"


class Hold(StrEnum):
    """What a deployment waits for, other than its devices."""

    SCHEDULED = "scheduled"
    AWAITING_APPROVAL = "awaiting-approval"
    AWAITING_START = "awaiting-start"
    AWAITING_PROMOTION = "awaiting-promotion"
    PAUSED = "paused"


class Outcome(StrEnum):
    """How a finished deployment ended."""

    SUCCESS = "success"
    PARTIAL = "partial"
    FAILURE = "failure"
    ABORTED = "aborted"
    ROLLED_BACK = "rolled-back"


class MargoState(StrEnum):
    """The Margo view of a status; derived by `margo_of_device` and `margo_of_deployment`, never stored."""

    PENDING = "pending"
    INSTALLING = "installing"
    INSTALLED = "installed"
    FAILED = "failed"
    REMOVING = "removing"
    REMOVED = "removed"


S = DeviceStatus

IN_PROGRESS = frozenset({S.PENDING, S.DOWNLOADING, S.INSTALLING, S.REBOOTING})
ACTIVE = frozenset({S.DOWNLOADING, S.INSTALLING, S.REBOOTING})
FINISHED = frozenset(S) - IN_PROGRESS
GOOD = frozenset({S.SUCCESS, S.ALREADY_INSTALLED})
"""Finished with the release on the device: what a summary counts, and what makes an outcome a success."""

# fmt: off
REPORTED: Mapping[DeviceStatus, frozenset[DeviceStatus]] = {
    # Reports of progress may be lost, so a device may skip ahead; it may not go back, with one exception:
    # after a reboot an update installs again (it verifies and commits), so `rebooting` leads to `installing`.
    S.PENDING:     frozenset({S.DOWNLOADING, S.INSTALLING, S.REBOOTING, S.SUCCESS, S.FAILURE, S.ALREADY_INSTALLED}),
    S.DOWNLOADING: frozenset({S.DOWNLOADING, S.INSTALLING, S.REBOOTING, S.SUCCESS, S.FAILURE, S.ALREADY_INSTALLED}),
    S.INSTALLING:  frozenset({S.INSTALLING, S.REBOOTING, S.SUCCESS, S.FAILURE}),
    S.REBOOTING:   frozenset({S.INSTALLING, S.REBOOTING, S.SUCCESS, S.FAILURE}),
}

DECIDED: Mapping[DeviceStatus, frozenset[DeviceStatus]] = {
    # `failure` is a time limit; a device under way goes back to `pending` for its next attempt.
    S.PENDING:     frozenset({S.NOARTIFACT, S.ALREADY_INSTALLED, S.FAILURE, S.ABORTED, S.DECOMMISSIONED}),
    S.DOWNLOADING: frozenset({S.PENDING, S.FAILURE, S.ABORTED, S.DECOMMISSIONED}),
    S.INSTALLING:  frozenset({S.PENDING, S.FAILURE, S.ABORTED, S.DECOMMISSIONED}),
    S.REBOOTING:   frozenset({S.PENDING, S.FAILURE, S.ABORTED, S.DECOMMISSIONED}),
}

_MARGO_OF_DEVICE: Mapping[DeviceStatus, MargoState] = {
    S.PENDING:           MargoState.PENDING,
    S.DOWNLOADING:       MargoState.INSTALLING,
    S.INSTALLING:        MargoState.INSTALLING,
    S.REBOOTING:         MargoState.INSTALLING,
    S.SUCCESS:           MargoState.INSTALLED,
    S.ALREADY_INSTALLED: MargoState.INSTALLED,
    S.FAILURE:           MargoState.FAILED,
    S.NOARTIFACT:        MargoState.FAILED,
    S.ABORTED:           MargoState.FAILED,
    S.DECOMMISSIONED:    MargoState.REMOVED,
}

_MARGO_OF_OUTCOME: Mapping[Outcome, MargoState] = {
    Outcome.SUCCESS:     MargoState.INSTALLED,
    Outcome.PARTIAL:     MargoState.FAILED,
    Outcome.FAILURE:     MargoState.FAILED,
    Outcome.ABORTED:     MargoState.FAILED,
    Outcome.ROLLED_BACK: MargoState.REMOVED,
}
# fmt: on


def may_report(before: DeviceStatus, after: DeviceStatus) -> bool:
    """Say whether a device in `before` may report `after`."""
    return after in REPORTED.get(before, frozenset())


def margo_of_device(status: DeviceStatus, undoing: DeviceStatus | None = None) -> MargoState:
    """Return the Margo view of a device deployment's status.

    `undoing` is the status of the same device in the rollback of the deployment, if it has a part in one. A device
    that this rollback could not bring back keeps the view of its own status.
    """
    if undoing in IN_PROGRESS:
        return MargoState.REMOVING
    if undoing in GOOD:
        return MargoState.REMOVED
    return _MARGO_OF_DEVICE[status]


def margo_of_deployment(
    status: DeploymentStatus, outcome: Outcome | None, *, is_being_undone: bool = False
) -> MargoState:
    """Return the Margo view of a deployment; `outcome` is None until it is finished.

    `is_being_undone` says that its rollback has begun and has not ended, whether or not it had finished before.
    """
    if is_being_undone:
        return MargoState.REMOVING
    if outcome is not None:
        return _MARGO_OF_OUTCOME[outcome]
    return MargoState.PENDING if status is DeploymentStatus.PENDING else MargoState.INSTALLING
