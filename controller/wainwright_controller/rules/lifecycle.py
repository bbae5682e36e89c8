"""Where a deployment stands, what it waits for, how it ended, and what an operator may do with it.

1. `pending` until the first of its devices has been offered something or has finished, then `inprogress`, and
   `finished` when all have finished.
2. The outcome is `success` when every device ended well, `failure` when none did, `partial` otherwise; `aborted` when a
   person ended it.
3. The hold says what it waits for other than its devices: the start time of its first phase, a start by a person, or a
   promotion. A pause is set and lifted by people only.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

from msgspec.structs import replace

from wainwright_common.errors import WainwrightError
from wainwright_common.statuses import GOOD, IN_PROGRESS, DeploymentStatus, DeviceStatus, Hold, Outcome
from wainwright_controller.records import Deployment, Opens, Phase, Tally
from wainwright_controller.rules import phases as phase_rules


class Refused(WainwrightError):  # noqa: N818  the name is the sentence: "refused: …"
    """What was asked for is not possible in this state. `code` is a stable word."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Act(StrEnum):
    """What an operator may do with a deployment."""

    START = "start"
    PROMOTE = "promote"
    ABORT = "abort"
    DELETE = "delete"


_RUNNING = frozenset({DeploymentStatus.PENDING, DeploymentStatus.INPROGRESS})

# fmt: off
ALLOWED: Mapping[Act, frozenset[DeploymentStatus]] = {
    Act.START:   _RUNNING,  # and only while it awaits the start
    Act.PROMOTE: _RUNNING,  # and only while a phase waits for a person
    Act.ABORT:   _RUNNING,
    Act.DELETE:  frozenset({DeploymentStatus.FINISHED}),
}
# fmt: on


def check_allowed(act: Act, deployment: Deployment) -> None:
    """Raise Refused, with the reason, when `act` is not possible in the deployment's state."""
    if deployment.status not in ALLOWED[act]:
        is_over = deployment.status is DeploymentStatus.FINISHED
        raise Refused(
            "deployment-finished" if is_over else "deployment-not-finished",
            f"Deployment {deployment.name} is {deployment.status}, so {act} is not possible"
            + (": make a new one." if is_over else ": abort it, or wait until it is finished."),
        )
    if act is Act.START and deployment.hold is not Hold.AWAITING_START:
        raise Refused("not-awaiting-start", f"Deployment {deployment.name} does not wait for a start: it has begun.")


def outcome_of(tally: Tally) -> Outcome:
    """Return how a deployment ended whose devices stand as in `tally`, all of them finished."""
    good = sum(n for (_, status), n in tally.items() if status in GOOD)
    total = sum(tally.values())
    if good == total:
        return Outcome.SUCCESS
    return Outcome.PARTIAL if good else Outcome.FAILURE


def hold_of(deployment: Deployment, phases: Sequence[Phase], now: float) -> Hold | None:
    """Return what a deployment waits for other than its devices."""
    if deployment.hold in {Hold.PAUSED, Hold.AWAITING_START, Hold.AWAITING_APPROVAL}:
        return deployment.hold
    closed = next((phase for phase in phases if phase.opened_at is None), None)
    if closed is None:
        return None
    before = phases[closed.number - 2] if closed.number > 1 else None
    if phase_rules.awaits_approval(closed, before, now):
        return Hold.AWAITING_START if before is None else Hold.AWAITING_PROMOTION
    if before is None and closed.opens is Opens.AT:
        return Hold.SCHEDULED
    return None


def advance(
    deployment: Deployment, phases: Sequence[Phase], tally: Tally, now: float, *, begun: bool
) -> tuple[Deployment, list[Phase]]:
    """Return the deployment and its phases brought up to `now`; `begun` says that a device was offered something."""
    if deployment.status is DeploymentStatus.FINISHED:
        return deployment, list(phases)
    held = deployment.hold in {Hold.PAUSED, Hold.AWAITING_START, Hold.AWAITING_APPROVAL}
    opened = list(phases) if held else phase_rules.advance(phases, tally, now)
    if not any(n for (_, status), n in tally.items() if status in IN_PROGRESS):
        return finish(deployment, outcome_of(tally), now), opened
    pending = sum(n for (_, status), n in tally.items() if status is DeviceStatus.PENDING)
    moved = begun or deployment.status is DeploymentStatus.INPROGRESS or pending < deployment.device_count
    return replace(
        deployment,
        status=DeploymentStatus.INPROGRESS if moved else DeploymentStatus.PENDING,
        hold=hold_of(deployment, opened, now),
        started_at=deployment.started_at or (now if moved else None),
    ), opened


def finish(deployment: Deployment, outcome: Outcome, now: float) -> Deployment:
    """Return the deployment finished."""
    return replace(
        deployment,
        status=DeploymentStatus.FINISHED,
        hold=None,
        outcome=outcome,
        started_at=deployment.started_at or now,
        finished_at=now,
    )


def promote(deployment: Deployment, phases: Sequence[Phase], now: float) -> list[Phase]:
    """Return the phases with the next one opened that waits for a person, whether or not the one before is done.

    Raises Refused when no phase waits for a person, or one before it has not opened yet.
    """
    check_allowed(Act.PROMOTE, deployment)
    closed = next((phase for phase in phases if phase.opened_at is None), None)
    if closed is None:
        raise Refused("nothing-to-promote", f"Every phase of {deployment.name} is open already.")
    if closed.opens is not Opens.APPROVAL:
        raise Refused(
            "nothing-to-promote", f"Phase {closed.number} of {deployment.name} opens by itself: nobody is asked."
        )
    return [replace(phase, opened_at=now) if phase is closed else phase for phase in phases]
