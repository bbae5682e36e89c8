"""Error codes of a failed attempt: the one table that says which of them are worth another attempt.

A code is on the wire (`error.code` of a Report), in the API and in the CLI, and never changes its meaning.
`docs/protocol.md` lists them from this table; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """Why an attempt failed."""

    DOWNLOAD_FAILED = "download-failed"
    TIMEOUT = "timeout"
    REBOOTED = "rebooted"
    INTERRUPTED = "interrupted"
    INSTALL_FAILED = "install-failed"
    REBOOT_FAILED = "reboot-failed"
    VERIFY_FAILED = "verify-failed"
    COMMIT_FAILED = "commit-failed"
    SCRIPT_FAILED = "script-failed"
    LINK_FAILED = "link-failed"
    VERIFICATION_FAILED = "verification-failed"
    INCOMPATIBLE = "incompatible"
    NO_SPACE = "no-space"
    NO_MODULE = "no-module"
    ROLLBACK_FAILED = "rollback-failed"
    STATE_LOOP = "state-loop"
    JOURNAL_FAILED = "journal-failed"
    ABORTED = "aborted"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Meaning:
    """What a code says, and whether the same thing tried again may end otherwise."""

    retryable: bool
    text: str


RETRY, FINAL = True, False

# fmt: off
MEANINGS: Mapping[Code, Meaning] = {
    Code.DOWNLOAD_FAILED:     Meaning(RETRY, "The artifact could not be fetched completely."),
    Code.TIMEOUT:             Meaning(RETRY, "Device or module gave no sign in time."),
    Code.REBOOTED:            Meaning(RETRY, "The device restarted in a step that cannot be continued."),
    Code.INTERRUPTED:         Meaning(RETRY, "The agent restarted in a step that cannot be continued."),
    Code.INSTALL_FAILED:      Meaning(RETRY, "The update module failed in Download or ArtifactInstall."),
    Code.REBOOT_FAILED:       Meaning(RETRY, "The device could not be restarted."),
    Code.VERIFY_FAILED:       Meaning(RETRY, "After the restart the device does not run what was installed."),
    Code.COMMIT_FAILED:       Meaning(RETRY, "The update module failed in ArtifactCommit."),
    Code.SCRIPT_FAILED:       Meaning(RETRY, "A state script failed, or asked to wait for too long."),
    Code.LINK_FAILED:         Meaning(RETRY, "The controller could not be reached from the new software."),
    Code.VERIFICATION_FAILED: Meaning(FINAL, "The artifact is damaged, or no trusted key signed it."),
    Code.INCOMPATIBLE:        Meaning(FINAL, "The artifact is not for this device, or its depends are not met."),
    Code.NO_SPACE:            Meaning(FINAL, "The device has too little free space."),
    Code.NO_MODULE:           Meaning(FINAL, "The device has no update module for the artifact's payload type."),
    Code.ROLLBACK_FAILED:     Meaning(FINAL, "The update failed and could not be undone: the device may run a mix."),
    Code.STATE_LOOP:          Meaning(FINAL, "The update went round in circles and was ended."),
    Code.JOURNAL_FAILED:      Meaning(FINAL, "The device could not write its journal, so it stopped."),
    Code.ABORTED:             Meaning(FINAL, "The deployment was aborted."),
    Code.UNKNOWN:             Meaning(RETRY, "The device gave no code."),
}
# fmt: on


def is_retryable(code: str) -> bool:
    """Say whether a failed attempt with `code` is worth another; a code of a newer agent counts as retryable.

    The deployment bounds the retries: one too many costs little, giving up a healthy device costs much.
    """
    try:
        return MEANINGS[Code(code)].retryable
    except ValueError:
        return True
