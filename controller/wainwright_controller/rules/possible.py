"""What a person may do with a deployment now, and why not the rest: the stage's word, and what is there to do it to.

1. What the stage and the kind refuse is refused (actions.py).
2. A promotion needs a closed phase after an open one; one that names a phase opens that or none, so that it may be sent
   twice, or by two people at once.
3. A retry needs a device that failed, is still in the fleet, and has not moved on to what a newer deployment brought; a
   rollback is not retried.
4. A rollback of a deployment that has ended needs a device that may run the release from it. One that has not ended is
   stopped by its rollback, whoever has the release by then. Where a rollback has ended and left devices behind (it was
   aborted, they failed, or what they ran before was missing), another one is possible for those.

The operations ask the same functions, so that nothing is offered that is refused then. Who asks is not considered: an
approval needs an admin other than who made the deployment (lifecycle.approve).

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from wainwright_common.statuses import DeploymentStatus
from wainwright_controller.records import Deployment, Phase
from wainwright_controller.rules.actions import Act, Refused, check_allowed


class Prospects(NamedTuple):
    """What a retry and a rollback would find among a deployment's devices; prospects.py reads it from the store."""

    has_failed: bool
    """A device that failed is still in the fleet, and has not moved on (prospects.py)."""
    has_release: bool
    """A device may run the release from it (rollback.concerns), and was left behind where it has been rolled back.

    Asked of a deployment that has ended only.
    """


def possible(deployment: Deployment, phases: Sequence[Phase], prospects: Prospects) -> list[Act]:
    """Return what a person may do with a deployment now, in the order of `Act`."""
    refused = refusals(deployment, phases, prospects)
    return [act for act in Act if act not in refused]


def refusals(deployment: Deployment, phases: Sequence[Phase], prospects: Prospects) -> dict[Act, Refused]:
    """Return what is not possible with a deployment now, each with the refusal that it would meet."""
    refused = {}
    for act in Act:
        try:
            check_allowed(act, deployment)
            _check_object(act, deployment, phases, prospects)
        except Refused as refusal:
            refused[act] = refusal
    return refused


def _check_object(act: Act, deployment: Deployment, phases: Sequence[Phase], prospects: Prospects) -> None:
    match act:
        case Act.PROMOTE:
            next_closed(deployment, phases)
        case Act.RETRY:
            check_retry(deployment, has_failed=prospects.has_failed)
        case Act.ROLLBACK:
            check_worth(deployment, has_release=prospects.has_release)


def next_closed(deployment: Deployment, phases: Sequence[Phase], wanted: int | None = None) -> Phase:
    """Return the phase that a promotion opens; `wanted` is the number of the one that was meant, where that was said.

    Raises Refused when every phase is open, the first one is not yet, or another than the one that was meant is next.
    """
    closed = next((phase for phase in phases if phase.opened_at is None), None)
    if wanted is not None and wanted <= (closed.number - 1 if closed else len(phases)):
        raise Refused("phase-open", f"Phase {wanted} of {deployment.name} is open already.")
    if closed is None:
        raise Refused("nothing-to-promote", f"Every phase of {deployment.name} is open already.")
    if closed.number == 1:
        raise Refused("not-started", f"Deployment {deployment.name} has not started: start it instead.")
    if wanted is not None and wanted != closed.number:
        raise Refused(
            "phase-not-next", f"Phase {wanted} of {deployment.name} is not the next one: phase {closed.number} is."
        )
    return closed


def check_retry(deployment: Deployment, *, has_failed: bool) -> None:
    """Raise Refused when a retry would be for nobody, or is of a rollback."""
    if deployment.rolls_back is not None:
        raise Refused(
            "is-a-rollback",
            f"{deployment.name} is a rollback: once it has ended, roll its deployment back again instead.",
        )
    if not has_failed:
        raise Refused(
            "nothing-to-retry",
            f"No device of {deployment.name} has failed, is still in the fleet and does not run something newer.",
        )


def check_worth(undone: Deployment, *, has_release: bool) -> None:
    """Raise Refused when a deployment has ended and no device may run the release from it, or it has been undone."""
    if undone.status is not DeploymentStatus.FINISHED or has_release:
        return
    if undone.rollback_id is not None:
        raise Refused(
            "rolled-back",
            f"Deployment {undone.name} has been rolled back already, and no device is left that could be brought back.",
        )
    raise Refused(
        "nothing-to-roll-back", f"No device has the release from {undone.name}: there is nothing to give back."
    )
