"""What an operator may do with a deployment, by where it stands: one table, and the words of each refusal.

1. A deployment is in exactly one stage (`stage_of`).
2. `ALLOWED` says which actions a stage allows; every pair that is not in it is refused, with a stable word.
3. Some actions need more than the stage (a promotion needs a closed phase): possible.py refuses those.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

from wainwright_common.errors import WainwrightError
from wainwright_common.statuses import DeploymentStatus
from wainwright_controller.records import Deployment, Kind


class Refused(WainwrightError):  # noqa: N818  the name is the sentence: "refused: …"
    """What was asked for is not possible in this state. `code` is a stable word."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Act(StrEnum):
    """What an operator may do with a deployment."""

    APPROVE = "approve"
    DENY = "deny"
    START = "start"
    PROMOTE = "promote"
    PAUSE = "pause"
    RESUME = "resume"
    INSTALL = "install"
    RETRY = "retry"
    ROLLBACK = "rollback"
    FINISH = "finish"
    ABORT = "abort"
    DELETE = "delete"


class Stage(StrEnum):
    """Where a deployment stands, for what may be done with it."""

    AWAITING_APPROVAL = "awaiting-approval"
    AWAITING_START = "awaiting-start"
    SCHEDULED = "scheduled"
    PENDING = "pending"
    INPROGRESS = "inprogress"
    AWAITING_PROMOTION = "awaiting-promotion"
    PAUSED = "paused"
    ROLLING_BACK = "rolling-back"
    FINISHED = "finished"


G = Stage
_BEGUN = frozenset({G.PENDING, G.INPROGRESS, G.AWAITING_PROMOTION})
_HELD = frozenset({G.AWAITING_APPROVAL, G.AWAITING_START})

# fmt: off
ALLOWED: Mapping[Act, frozenset[Stage]] = {
    Act.APPROVE:  frozenset({G.AWAITING_APPROVAL}),
    Act.DENY:     frozenset({G.AWAITING_APPROVAL}),
    Act.START:    frozenset({G.AWAITING_START, G.SCHEDULED}),
    Act.PROMOTE:  _BEGUN,                                            # and only while a later phase is closed
    Act.PAUSE:    _BEGUN | {G.SCHEDULED},
    Act.RESUME:   frozenset({G.PAUSED}),
    Act.INSTALL:  _BEGUN | {G.PAUSED},                               # and only of one that is downloaded only
    Act.RETRY:    _BEGUN | {G.PAUSED, G.FINISHED},                   # and only with failed devices
    Act.ROLLBACK: _BEGUN | {G.PAUSED, G.FINISHED},                   # and not of a rollback
    Act.FINISH:   _BEGUN | {G.SCHEDULED, G.PAUSED},                  # and only of a dynamic one
    Act.ABORT:    _BEGUN | _HELD | {G.SCHEDULED, G.PAUSED},
    Act.DELETE:   frozenset({G.FINISHED}),
}

# What a refused action lacks, and what to do instead; the stage is said before it.
_INSTEAD: Mapping[Act, str] = {
    Act.APPROVE:  "nobody is asked for an approval",
    Act.DENY:     "nobody is asked for an approval: abort it instead",
    Act.START:    "it does not wait for a start",
    Act.PROMOTE:  "no phase can be opened now",
    Act.PAUSE:    "there is nothing to pause",
    Act.RESUME:   "only a paused one can be resumed",
    Act.INSTALL:  "no device has downloaded anything yet",
    Act.RETRY:    "no device has been tried yet",
    Act.ROLLBACK: "no device has the release from it yet: abort it instead",
    Act.FINISH:   "abort it, or wait until it is finished",
    Act.ABORT:    "there is nothing to abort",
    Act.DELETE:   "abort it, or wait until it is finished",
}
# fmt: on

_CODES: Mapping[Stage, str] = {
    Stage.FINISHED: "deployment-finished",
    Stage.ROLLING_BACK: "rolling-back",
}
_NEEDED: Mapping[Act, str] = {
    Act.APPROVE: "not-awaiting-approval",
    Act.DENY: "not-awaiting-approval",
    Act.START: "not-awaiting-start",
    Act.RESUME: "not-paused",
    Act.DELETE: "deployment-not-finished",
}


def stage_of(deployment: Deployment) -> Stage:
    """Return the stage of a deployment. One that is being undone is `rolling-back` even when it had finished."""
    if deployment.rollback_id is not None and deployment.rollback_ended_at is None:
        return Stage.ROLLING_BACK
    if deployment.status is DeploymentStatus.FINISHED:
        return Stage.FINISHED
    if deployment.hold is not None:
        return Stage(deployment.hold.value)
    return Stage(deployment.status.value)


def allowed(deployment: Deployment) -> list[Act]:
    """Return what the stage and the kind of a deployment allow, in the order of `Act`."""
    stage = stage_of(deployment)
    return [act for act in Act if stage in ALLOWED[act] and _of_kind(act, deployment) is None]


def check_allowed(act: Act, deployment: Deployment) -> None:
    """Raise Refused, with the reason, when `act` is not possible for a deployment as it stands."""
    stage = stage_of(deployment)
    if stage not in ALLOWED[act]:
        raise Refused(
            code_of(act, stage), f"Deployment {deployment.name} is {_standing(stage)}: {_advice(act, stage)}."
        )
    if (refusal := _of_kind(act, deployment)) is not None:
        raise refusal


def code_of(act: Act, stage: Stage) -> str:
    """Return the stable word of the refusal of `act` in `stage`, which does not allow it."""
    return _CODES.get(stage) or _NEEDED.get(act) or f"{stage}"


def _standing(stage: Stage) -> str:
    return {Stage.ROLLING_BACK: "being rolled back", Stage.INPROGRESS: "in progress"}.get(
        stage, stage.value.replace("-", " ")
    )


def _advice(act: Act, stage: Stage) -> str:
    if stage is Stage.FINISHED:
        return f"{act} is not possible any more, make a new one"
    if stage is Stage.ROLLING_BACK:
        return f"{act} is not possible until its rollback has ended; pause or abort that one instead"
    if stage is Stage.AWAITING_APPROVAL:
        return f"an admin approves or denies it before {act} is possible"
    if act is Act.PAUSE and stage is Stage.PAUSED:
        return "it makes no offers already"
    return _INSTEAD[act]


def _of_kind(act: Act, deployment: Deployment) -> Refused | None:
    if act is Act.FINISH and deployment.kind is not Kind.DYNAMIC:
        return Refused(
            "not-dynamic",
            f"Deployment {deployment.name} finishes by itself when all its devices have: abort it to end it now.",
        )
    if act is Act.INSTALL and deployment.policy.download_only is not True:
        return Refused(
            "not-download-only",
            f"Deployment {deployment.name} is not downloaded only: its devices install by themselves.",
        )
    if act is Act.ROLLBACK and deployment.rolls_back is not None:
        return Refused(
            "is-a-rollback",
            f"Deployment {deployment.name} is a rollback, which is not rolled back:"
            " make a new deployment of the release that you want.",
        )
    return None
