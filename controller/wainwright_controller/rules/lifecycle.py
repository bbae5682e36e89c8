"""Where a deployment stands, what it waits for, and how it ended.

1. `pending` until the first of its devices has been offered something or has finished, then `inprogress`, and
   `finished` when all have finished. A dynamic one does not finish while devices may join it.
2. The outcome is `success` when every device ended well, `failure` when none did, `partial` otherwise; `aborted` when a
   person or a limit ended it; `rolled-back` when the rollback that undoes it brought a device back, or had none to.
   Devices that a person lets go by finishing a dynamic one do not count, but if there are no others, it is `aborted`.
3. The hold says what it waits for other than its devices: an approval, a start by a person, the start time of its first
   phase, or a promotion, which a phase that is not healthy asks for as well. A pause is set by a person or by a limit
   (gates.py), and lifted by a person.
4. While it is being undone by a rollback, only the end of that rollback moves it.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from msgspec import UNSET
from msgspec.structs import replace

from wainwright_common.statuses import GOOD, IN_PROGRESS, DeploymentStatus, DeviceStatus, Hold, Outcome
from wainwright_controller.records import Deployment, Kind, Opens, Phase, Tally
from wainwright_controller.rules import gates
from wainwright_controller.rules import phases as phase_rules
from wainwright_controller.rules.actions import Act, Refused, check_allowed
from wainwright_controller.rules.possible import next_closed

_HELD = frozenset({Hold.PAUSED, Hold.AWAITING_START, Hold.AWAITING_APPROVAL})


def outcome_of(tally: Tally, *, without_aborted: bool = False) -> Outcome:
    """Return how a deployment ended whose devices stand as in `tally`, all of them finished.

    `without_aborted` is for a dynamic one, which a person may finish before all its devices have begun.
    """
    good = sum(n for (_, status), n in tally.items() if status in GOOD)
    aborted = sum(n for (_, status), n in tally.items() if status is DeviceStatus.ABORTED) if without_aborted else 0
    total = sum(tally.values()) - aborted
    if aborted and not total:
        return Outcome.ABORTED
    if good == total:
        return Outcome.SUCCESS
    return Outcome.PARTIAL if good else Outcome.FAILURE


def hold_of(deployment: Deployment, phases: Sequence[Phase], now: float) -> Hold | None:
    """Return what a deployment waits for other than its devices."""
    if deployment.hold in _HELD:
        return deployment.hold
    closed = next((phase for phase in phases if phase.opened_at is None), None)
    if closed is None:
        return None
    before = phases[closed.number - 2] if closed.number > 1 else None
    if phase_rules.awaits_approval(closed, before, now):
        return Hold.AWAITING_START if before is None else Hold.AWAITING_PROMOTION
    if before is None and closed.opens is Opens.AT:
        return Hold.SCHEDULED
    if before is not None and before.ailment:
        return Hold.AWAITING_PROMOTION  # it opens by itself when the phase has recovered, and may never
    return None


def is_being_undone(deployment: Deployment) -> bool:
    """Say whether the rollback of a deployment has begun and has not ended."""
    return deployment.rollback_id is not None and deployment.rollback_ended_at is None


def grows(deployment: Deployment) -> bool:
    """Say whether devices may join a deployment still."""
    return deployment.kind is Kind.DYNAMIC and deployment.closed_at is None


def is_held(deployment: Deployment) -> bool:
    """Say whether time moves nothing in a deployment: a person has to act, or its rollback has to end."""
    return deployment.hold in _HELD or deployment.rollback_id is not None


def advance(
    deployment: Deployment, phases: Sequence[Phase], tally: Tally, now: float, *, begun: bool, ailment: str = ""
) -> tuple[Deployment, list[Phase]]:
    """Return the deployment and its phases brought up to `now`.

    `begun` says that a device was offered something; `ailment` is what is wrong with the phase that is judged.
    """
    if deployment.status is DeploymentStatus.FINISHED or deployment.rollback_id is not None:
        return deployment, list(phases)
    growing = grows(deployment)
    opened = list(phases)
    if deployment.hold not in _HELD:
        opened = phase_rules.advance(phases, tally, now, ailment=ailment, grows=growing)
    if not growing and not any(n for (_, status), n in tally.items() if status in IN_PROGRESS):
        is_dynamic = deployment.kind is Kind.DYNAMIC
        return finish(deployment, outcome_of(tally, without_aborted=is_dynamic), now), opened
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
        hold_reason="",
        outcome=outcome,
        started_at=deployment.started_at or (None if outcome is Outcome.ABORTED else now),
        finished_at=now,
        closed_at=deployment.closed_at or (now if deployment.kind is Kind.DYNAMIC else None),
    )


def start(deployment: Deployment, phases: Sequence[Phase], now: float) -> tuple[Deployment, list[Phase]]:
    """Return a deployment that waits for a person, or for its time, begun: its first phase is open."""
    check_allowed(Act.START, deployment)
    return replace(deployment, hold=None, hold_reason=""), _with_open(phases, phases[0], now)


def approve(deployment: Deployment, phases: Sequence[Phase], actor: str, now: float) -> Deployment:
    """Return a deployment that an admin lets go on; who made it may not approve it."""
    check_allowed(Act.APPROVE, deployment)
    if actor == deployment.created_by:
        raise Refused(
            "own-deployment", f"{actor} made deployment {deployment.name}, so another admin has to approve it."
        )
    free = replace(deployment, hold=None, hold_reason="", approved_by=actor)
    return replace(free, hold=hold_of(free, phases, now))


def pause(deployment: Deployment, reason: str) -> Deployment:
    """Return the deployment paused: no offers, no wakes, no phase opens; devices under way go on."""
    check_allowed(Act.PAUSE, deployment)
    return replace(deployment, hold=Hold.PAUSED, hold_reason=reason)


def resume(
    deployment: Deployment, phases: Sequence[Phase], tally: Tally, by_code: Mapping[str, int], now: float
) -> Deployment:
    """Return the deployment going on; what has failed by now is acknowledged, and counts for no limit again.

    `by_code` is as in `gates.broken`.
    """
    check_allowed(Act.RESUME, deployment)
    free = replace(
        deployment,
        hold=None,
        hold_reason="",
        resumed_at=now,
        seen_failures=gates.failures_of(deployment, tally),
        seen_tried=gates.tried_of(tally),
        seen_codes=dict(by_code),
        tokens=0.0 if deployment.pace.per_minute else deployment.tokens,
        tokens_at=now,  # nothing was saved up while it was paused
    )
    return replace(free, hold=hold_of(free, phases, now))


def install(deployment: Deployment) -> Deployment:
    """Return the deployment without the condition that devices only download."""
    check_allowed(Act.INSTALL, deployment)
    return replace(deployment, policy=replace(deployment.policy, download_only=UNSET))


def promote(deployment: Deployment, phases: Sequence[Phase], now: float, wanted: int | None = None) -> list[Phase]:
    """Return the phases with the next one opened, whether or not the one before is done.

    Raises Refused when every phase is open, the first one is not yet, or the next one is not that of number `wanted`.
    """
    check_allowed(Act.PROMOTE, deployment)
    return _with_open(phases, next_closed(deployment, phases, wanted), now)


def _with_open(phases: Sequence[Phase], opening: Phase, now: float) -> list[Phase]:
    return [replace(phase, opened_at=now) if phase is opening else phase for phase in phases]
