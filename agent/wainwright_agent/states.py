"""The states of an update, as one literal table. Everything that decides the order of steps is in this file.

Two rules hold here. A pair that is not in `TRANSITIONS` does not happen: `next_state` raises, nothing is assumed. And
this file does nothing: effects are in actions.py, facts and reports in rules.py, the loop in update.py.

`choose-*` are not steps but forks; the facts of the update answer them at once, so they are never on disk. A state is
on disk before its step begins; so RESTARTED (same boot) and REBOOTED say what to do about a step that may have
happened wholly, partly or not at all.

What the table leaves to others: which state scripts run around a step (steps.py), that the number of stores is bounded
(rules.py raises LOOP), and that an abort counts only before ArtifactCommit begins (update.py raises ABORTED only in
front of a step), and only while there is a way back (rules.py, may_stop).
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class UpdateState(StrEnum):
    """What is being done; the value is what the journal and `wain status` say."""

    DOWNLOAD = "download"
    WAIT_WINDOW = "wait-window"
    INSTALL = "install"
    ASK = "ask"
    CHOOSE_REBOOT = "choose-reboot"
    ENTER_REBOOT = "enter-reboot"
    CHOOSE_REBOOT_WAY = "choose-reboot-way"
    MODULE_REBOOT = "module-reboot"
    HOST_REBOOT = "host-reboot"
    VERIFY_REBOOT = "verify-reboot"
    CONFIRM = "confirm"
    COMMIT = "commit"
    LEAVE_COMMIT = "leave-commit"
    CHOOSE_ROLLBACK = "choose-rollback"
    ROLLBACK = "rollback"
    CHOOSE_ROLLBACK_REBOOT = "choose-rollback-reboot"
    ENTER_ROLLBACK_REBOOT = "enter-rollback-reboot"
    CHOOSE_ROLLBACK_REBOOT_WAY = "choose-rollback-reboot-way"
    MODULE_ROLLBACK_REBOOT = "module-rollback-reboot"
    HOST_ROLLBACK_REBOOT = "host-rollback-reboot"
    VERIFY_ROLLBACK_REBOOT = "verify-rollback-reboot"
    FAILURE = "failure"
    CLEANUP = "cleanup"
    DONE = "done"


class Event(StrEnum):
    """How a step ended, what interrupted it, or how a fork was answered."""

    OK = "ok"
    HELD = "held"  # it is done, but what follows must wait for a maintenance window or another offer
    NOTHING = "nothing"  # the artifact has no payload: there is nothing to install
    FLAWED = "flawed"  # the step is done, but a state script beside it failed, and there is no other way to go
    FAILED = "failed"
    ABORTED = "aborted"
    LOOP = "loop"
    RESTARTED = "restarted"
    REBOOTED = "rebooted"
    REBOOT_NONE = "reboot-none"
    REBOOT_BY_MODULE = "reboot-by-module"
    REBOOT_BY_HOST = "reboot-by-host"
    REBOOT_UNKNOWN = "reboot-unknown"
    ROLLBACK_SUPPORTED = "rollback-supported"
    ROLLBACK_UNSUPPORTED = "rollback-unsupported"


S, E = UpdateState, Event

INITIAL = S.DOWNLOAD
FINAL = S.DONE
CHOICES = frozenset(
    {
        S.CHOOSE_REBOOT,
        S.CHOOSE_REBOOT_WAY,
        S.CHOOSE_ROLLBACK,
        S.CHOOSE_ROLLBACK_REBOOT,
        S.CHOOSE_ROLLBACK_REBOOT_WAY,
    }
)

# fmt: off
TRANSITIONS: Mapping[tuple[UpdateState, Event], UpdateState] = {
    # Until ArtifactInstall begins nothing has changed, so a failure needs no rollback, and an interruption starts over.
    (S.DOWNLOAD,               E.OK):                   S.INSTALL,
    (S.DOWNLOAD,               E.HELD):                 S.WAIT_WINDOW,
    (S.DOWNLOAD,               E.NOTHING):              S.CLEANUP,
    (S.DOWNLOAD,               E.FAILED):               S.CLEANUP,
    (S.DOWNLOAD,               E.ABORTED):              S.CLEANUP,
    (S.DOWNLOAD,               E.RESTARTED):            S.DOWNLOAD,
    (S.DOWNLOAD,               E.REBOOTED):             S.DOWNLOAD,
    (S.DOWNLOAD,               E.LOOP):                 S.CLEANUP,

    # All is there, and nothing has changed yet. Waiting has no effect, so after an interruption it goes on.
    (S.WAIT_WINDOW,            E.OK):                   S.INSTALL,
    (S.WAIT_WINDOW,            E.FAILED):               S.CLEANUP,
    (S.WAIT_WINDOW,            E.ABORTED):              S.CLEANUP,
    (S.WAIT_WINDOW,            E.RESTARTED):            S.WAIT_WINDOW,
    (S.WAIT_WINDOW,            E.REBOOTED):             S.WAIT_WINDOW,
    (S.WAIT_WINDOW,            E.LOOP):                 S.CLEANUP,

    # ArtifactInstall is never repeated. ABORTED is raised in front of the step: nothing has changed yet.
    (S.INSTALL,                E.OK):                   S.ASK,
    (S.INSTALL,                E.FAILED):               S.ASK,
    (S.INSTALL,                E.ABORTED):              S.CLEANUP,
    (S.INSTALL,                E.RESTARTED):            S.ASK,
    (S.INSTALL,                E.REBOOTED):             S.ASK,
    (S.INSTALL,                E.LOOP):                 S.CLEANUP,

    # The module's answers are needed for the rollback as well, so an abort waits until they are known.
    (S.ASK,                    E.OK):                   S.CHOOSE_REBOOT,
    (S.ASK,                    E.FAILED):               S.CHOOSE_ROLLBACK,
    (S.ASK,                    E.RESTARTED):            S.ASK,
    (S.ASK,                    E.REBOOTED):             S.ASK,
    (S.ASK,                    E.LOOP):                 S.CLEANUP,

    (S.CHOOSE_REBOOT,          E.REBOOT_NONE):          S.COMMIT,
    (S.CHOOSE_REBOOT,          E.REBOOT_BY_MODULE):     S.ENTER_REBOOT,
    (S.CHOOSE_REBOOT,          E.REBOOT_BY_HOST):       S.ENTER_REBOOT,

    # A device that was power-cycled here has had its reboot: a script may be waiting for a person to do just that.
    (S.ENTER_REBOOT,           E.OK):                   S.CHOOSE_REBOOT_WAY,
    (S.ENTER_REBOOT,           E.FAILED):               S.CHOOSE_ROLLBACK,
    (S.ENTER_REBOOT,           E.ABORTED):              S.CHOOSE_ROLLBACK,
    (S.ENTER_REBOOT,           E.RESTARTED):            S.ENTER_REBOOT,
    (S.ENTER_REBOOT,           E.REBOOTED):             S.VERIFY_REBOOT,
    (S.ENTER_REBOOT,           E.LOOP):                 S.CLEANUP,

    (S.CHOOSE_REBOOT_WAY,      E.REBOOT_BY_MODULE):     S.MODULE_REBOOT,
    (S.CHOOSE_REBOOT_WAY,      E.REBOOT_BY_HOST):       S.HOST_REBOOT,

    # A module that reboots may do so in ways that do not change the boot id: ArtifactVerifyReboot decides.
    (S.MODULE_REBOOT,          E.OK):                   S.VERIFY_REBOOT,
    (S.MODULE_REBOOT,          E.FAILED):               S.CHOOSE_ROLLBACK,
    (S.MODULE_REBOOT,          E.ABORTED):              S.CHOOSE_ROLLBACK,
    (S.MODULE_REBOOT,          E.RESTARTED):            S.VERIFY_REBOOT,
    (S.MODULE_REBOOT,          E.REBOOTED):             S.VERIFY_REBOOT,
    (S.MODULE_REBOOT,          E.LOOP):                 S.CLEANUP,

    # No OK: a reboot that we asked for ends with REBOOTED, or it has failed.
    (S.HOST_REBOOT,            E.FAILED):               S.CHOOSE_ROLLBACK,
    (S.HOST_REBOOT,            E.ABORTED):              S.CHOOSE_ROLLBACK,
    (S.HOST_REBOOT,            E.RESTARTED):            S.HOST_REBOOT,
    (S.HOST_REBOOT,            E.REBOOTED):             S.VERIFY_REBOOT,
    (S.HOST_REBOOT,            E.LOOP):                 S.CLEANUP,

    (S.VERIFY_REBOOT,          E.OK):                   S.CONFIRM,
    (S.VERIFY_REBOOT,          E.FAILED):               S.CHOOSE_ROLLBACK,
    (S.VERIFY_REBOOT,          E.ABORTED):              S.CHOOSE_ROLLBACK,
    (S.VERIFY_REBOOT,          E.RESTARTED):            S.CHOOSE_ROLLBACK,
    (S.VERIFY_REBOOT,          E.REBOOTED):             S.CHOOSE_ROLLBACK,
    (S.VERIFY_REBOOT,          E.LOOP):                 S.CLEANUP,

    # The new software must reach the controller before it is kept. Waiting has no effect, so a restart waits on.
    (S.CONFIRM,                E.OK):                   S.COMMIT,
    (S.CONFIRM,                E.FAILED):               S.CHOOSE_ROLLBACK,
    (S.CONFIRM,                E.ABORTED):              S.CHOOSE_ROLLBACK,
    (S.CONFIRM,                E.RESTARTED):            S.CONFIRM,
    (S.CONFIRM,                E.REBOOTED):             S.CHOOSE_ROLLBACK,
    (S.CONFIRM,                E.LOOP):                 S.CLEANUP,

    # ArtifactCommit is never repeated. That it has succeeded is on disk before anything else is done.
    (S.COMMIT,                 E.OK):                   S.LEAVE_COMMIT,
    (S.COMMIT,                 E.FAILED):               S.CHOOSE_ROLLBACK,
    (S.COMMIT,                 E.ABORTED):              S.CHOOSE_ROLLBACK,
    (S.COMMIT,                 E.RESTARTED):            S.CHOOSE_ROLLBACK,
    (S.COMMIT,                 E.REBOOTED):             S.CHOOSE_ROLLBACK,
    (S.COMMIT,                 E.LOOP):                 S.CLEANUP,

    # The new software stays. A script that fails makes the device inconsistent; an interruption changes nothing.
    (S.LEAVE_COMMIT,           E.OK):                   S.CLEANUP,
    (S.LEAVE_COMMIT,           E.FAILED):               S.CLEANUP,
    (S.LEAVE_COMMIT,           E.RESTARTED):            S.LEAVE_COMMIT,
    (S.LEAVE_COMMIT,           E.REBOOTED):             S.LEAVE_COMMIT,
    (S.LEAVE_COMMIT,           E.LOOP):                 S.CLEANUP,

    # From here on the update has failed: ABORTED has no rows, because there is nothing left to stop.
    (S.CHOOSE_ROLLBACK,        E.ROLLBACK_SUPPORTED):   S.ROLLBACK,
    (S.CHOOSE_ROLLBACK,        E.ROLLBACK_UNSUPPORTED): S.FAILURE,

    (S.ROLLBACK,               E.OK):                   S.CHOOSE_ROLLBACK_REBOOT,
    (S.ROLLBACK,               E.FLAWED):               S.CHOOSE_ROLLBACK_REBOOT,
    (S.ROLLBACK,               E.FAILED):               S.FAILURE,
    (S.ROLLBACK,               E.RESTARTED):            S.ROLLBACK,
    (S.ROLLBACK,               E.REBOOTED):             S.ROLLBACK,
    (S.ROLLBACK,               E.LOOP):                 S.CLEANUP,

    (S.CHOOSE_ROLLBACK_REBOOT, E.REBOOT_NONE):          S.FAILURE,
    (S.CHOOSE_ROLLBACK_REBOOT, E.REBOOT_BY_MODULE):     S.ENTER_ROLLBACK_REBOOT,
    (S.CHOOSE_ROLLBACK_REBOOT, E.REBOOT_BY_HOST):       S.ENTER_ROLLBACK_REBOOT,
    (S.CHOOSE_ROLLBACK_REBOOT, E.REBOOT_UNKNOWN):       S.FAILURE,

    (S.ENTER_ROLLBACK_REBOOT,  E.OK):                   S.CHOOSE_ROLLBACK_REBOOT_WAY,
    (S.ENTER_ROLLBACK_REBOOT,  E.FAILED):               S.CHOOSE_ROLLBACK_REBOOT_WAY,
    (S.ENTER_ROLLBACK_REBOOT,  E.RESTARTED):            S.ENTER_ROLLBACK_REBOOT,
    (S.ENTER_ROLLBACK_REBOOT,  E.REBOOTED):             S.VERIFY_ROLLBACK_REBOOT,
    (S.ENTER_ROLLBACK_REBOOT,  E.LOOP):                 S.CLEANUP,

    (S.CHOOSE_ROLLBACK_REBOOT_WAY, E.REBOOT_BY_MODULE): S.MODULE_ROLLBACK_REBOOT,
    (S.CHOOSE_ROLLBACK_REBOOT_WAY, E.REBOOT_BY_HOST):   S.HOST_ROLLBACK_REBOOT,

    # Whether the way back worked is for ArtifactVerifyRollbackReboot to say, however the reboot itself ended.
    (S.MODULE_ROLLBACK_REBOOT, E.OK):                   S.VERIFY_ROLLBACK_REBOOT,
    (S.MODULE_ROLLBACK_REBOOT, E.FAILED):               S.VERIFY_ROLLBACK_REBOOT,
    (S.MODULE_ROLLBACK_REBOOT, E.RESTARTED):            S.VERIFY_ROLLBACK_REBOOT,
    (S.MODULE_ROLLBACK_REBOOT, E.REBOOTED):             S.VERIFY_ROLLBACK_REBOOT,
    (S.MODULE_ROLLBACK_REBOOT, E.LOOP):                 S.CLEANUP,

    (S.HOST_ROLLBACK_REBOOT,   E.FAILED):               S.VERIFY_ROLLBACK_REBOOT,
    (S.HOST_ROLLBACK_REBOOT,   E.RESTARTED):            S.HOST_ROLLBACK_REBOOT,
    (S.HOST_ROLLBACK_REBOOT,   E.REBOOTED):             S.VERIFY_ROLLBACK_REBOOT,
    (S.HOST_ROLLBACK_REBOOT,   E.LOOP):                 S.CLEANUP,

    # Tried again until the bound of stores ends it: a device that is not back on its old software must not rest.
    (S.VERIFY_ROLLBACK_REBOOT, E.OK):                   S.FAILURE,
    (S.VERIFY_ROLLBACK_REBOOT, E.FLAWED):               S.FAILURE,
    (S.VERIFY_ROLLBACK_REBOOT, E.FAILED):               S.CHOOSE_ROLLBACK_REBOOT_WAY,
    (S.VERIFY_ROLLBACK_REBOOT, E.RESTARTED):            S.VERIFY_ROLLBACK_REBOOT,
    (S.VERIFY_ROLLBACK_REBOOT, E.REBOOTED):             S.VERIFY_ROLLBACK_REBOOT,
    (S.VERIFY_ROLLBACK_REBOOT, E.LOOP):                 S.CLEANUP,

    (S.FAILURE,                E.OK):                   S.CLEANUP,
    (S.FAILURE,                E.FLAWED):               S.CLEANUP,
    (S.FAILURE,                E.FAILED):               S.CLEANUP,
    (S.FAILURE,                E.RESTARTED):            S.FAILURE,
    (S.FAILURE,                E.REBOOTED):             S.FAILURE,
    (S.FAILURE,                E.LOOP):                 S.CLEANUP,

    # The outcome is known and reported; what is left over on the device cannot change it.
    (S.CLEANUP,                E.OK):                   S.DONE,
    (S.CLEANUP,                E.FAILED):               S.DONE,
    (S.CLEANUP,                E.RESTARTED):            S.CLEANUP,
    (S.CLEANUP,                E.REBOOTED):             S.CLEANUP,
    (S.CLEANUP,                E.LOOP):                 S.DONE,
}
# fmt: on


class IllegalTransition(Exception):  # noqa: N818  a programmer's mistake; the name is the sentence
    """An event came in a state that has no row for it."""


def next_state(state: UpdateState, event: Event) -> UpdateState:
    """Return what follows; raises IllegalTransition when the table has no such row."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise IllegalTransition(f"An update in state {state} has no row for the event {event}.") from None


def allows(state: UpdateState, event: Event) -> bool:
    """Say whether the table has a row for the pair."""
    return (state, event) in TRANSITIONS
