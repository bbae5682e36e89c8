"""What belongs to each state of an update: its call of the update module, and the state scripts around it.

The order of states is in states.py; here is only what is done in one. `docs/states.md` is generated from both.

1. Scripts of `before` run before the call, those of `after` after it.
2. On the way forward the first failure ends the step, and then the scripts of `on_failure` run. Those of `before` that
   have run already are not undone: undoing is for `on_failure`.
3. On the way back nothing ends a step early: there is no other way to go. So `after` runs although the call failed,
   but not where the reboot is going to be repeated; and `on_failure` only if `after` failed.
4. An interruption ends a step without any further script: it may be a power cut, and those run none either.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from wainwright_agent.states import UpdateState

S = UpdateState


class Step(NamedTuple):
    """The scripts and the call of one state; None where there are none."""

    before: str | None
    call: str | None
    after: str | None
    on_failure: str | None


# fmt: off
STEPS: Mapping[UpdateState, Step] = {
    # ArtifactReboot and ArtifactRollbackReboot are entered in one state and left in another: a reboot is between them.
    S.DOWNLOAD:               Step("Download_Enter", "Download", "Download_Leave", "Download_Error"),
    S.INSTALL:                Step("ArtifactInstall_Enter", "ArtifactInstall", "ArtifactInstall_Leave",
                                   "ArtifactInstall_Error"),
    S.ENTER_REBOOT:           Step("ArtifactReboot_Enter", None, None, "ArtifactReboot_Error"),
    S.MODULE_REBOOT:          Step(None, "ArtifactReboot", None, "ArtifactReboot_Error"),
    S.HOST_REBOOT:            Step(None, None, None, "ArtifactReboot_Error"),
    S.VERIFY_REBOOT:          Step(None, "ArtifactVerifyReboot", "ArtifactReboot_Leave", "ArtifactReboot_Error"),
    S.COMMIT:                 Step("ArtifactCommit_Enter", "ArtifactCommit", None, "ArtifactCommit_Error"),
    S.LEAVE_COMMIT:           Step(None, None, "ArtifactCommit_Leave", "ArtifactCommit_Error"),

    # There is nothing better to do than to go on, so Mender has no Error scripts for ArtifactRollback, ArtifactFailure.
    S.ROLLBACK:               Step("ArtifactRollback_Enter", "ArtifactRollback", "ArtifactRollback_Leave", None),
    S.ENTER_ROLLBACK_REBOOT:  Step("ArtifactRollbackReboot_Enter", None, None, None),
    S.MODULE_ROLLBACK_REBOOT: Step(None, "ArtifactRollbackReboot", None, None),
    S.VERIFY_ROLLBACK_REBOOT: Step(None, "ArtifactVerifyRollbackReboot", "ArtifactRollbackReboot_Leave",
                                   "ArtifactRollbackReboot_Error"),
    S.FAILURE:                Step("ArtifactFailure_Enter", "ArtifactFailure", "ArtifactFailure_Leave", None),
}
# fmt: on

NO_STEP = Step(None, None, None, None)
GOING_BACK = frozenset(
    {
        S.ROLLBACK,
        S.ENTER_ROLLBACK_REBOOT,
        S.MODULE_ROLLBACK_REBOOT,
        S.HOST_ROLLBACK_REBOOT,
        S.VERIFY_ROLLBACK_REBOOT,
        S.FAILURE,
    }
)
REPEATED_AFTER_A_FAILURE = frozenset({S.VERIFY_ROLLBACK_REBOOT})
