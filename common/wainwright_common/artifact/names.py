"""The names that may occur in an artifact: payload files, payload types, state scripts, and texts for people."""

from __future__ import annotations

import re
from typing import Final

from wainwright_common.artifact.limits import FILE_NAME_MAX, TEXT_MAX
from wainwright_common.artifact.rules import Rule, refusal

DATA_PREFIX: Final = "data/0000/"
SCRIPT_PREFIX: Final = "scripts/"

# mender-artifact and the Mender client take the same alphabet. It has no slash, so only "." and ".." leaves a folder.
_PAYLOAD_FILE: Final = re.compile(rf"(?!\.\.?\Z)[A-Za-z0-9_.,-]{{1,{FILE_NAME_MAX}}}")
# The type is the file name of an update module: nothing that a path, an option or a hidden file could begin with.
_PAYLOAD_TYPE: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.,+-]{{0,{TEXT_MAX - 1}}}")
# Idle, Sync and Download scripts belong to the root file system. The text after the number is free, but for slashes and
# spaces.
_SCRIPT: Final = re.compile(
    r"Artifact(Install|Reboot|Commit|Rollback|RollbackReboot|Failure)_(Enter|Leave|Error)_[0-9]{2}(_[!-.0-~]*)?"
)


def check_payload_file(name: str) -> None:
    """Raise ArtifactError payload-name unless `name` can be a file of the payload."""
    if not _PAYLOAD_FILE.fullmatch(name):
        raise refusal(Rule.PAYLOAD_NAME, f"{name[:100]!r} cannot be the name of a payload file.")


def check_payload_type(name: str) -> None:
    """Raise ArtifactError payload-type unless `name` can be an update module's."""
    if not _PAYLOAD_TYPE.fullmatch(name):
        raise refusal(Rule.PAYLOAD_TYPE, f"{name[:100]!r} cannot be the name of a payload type.")


def check_script(name: str) -> None:
    """Raise ArtifactError script-name unless `name` can be a state script's inside an artifact."""
    if not _SCRIPT.fullmatch(name) or len(name) > FILE_NAME_MAX:
        raise refusal(
            Rule.SCRIPT_NAME,
            f"{name[:100]!r} cannot be the name of a state script; ArtifactInstall_Enter_00_stop-app is one that can.",
        )


def check_text(text: str, what: str, limit: int = TEXT_MAX) -> None:
    """Raise ArtifactError text unless `text`, the value of `what`, is printable, not empty and at most `limit`
    characters.
    """
    if not (0 < len(text) <= limit and text.isprintable()):
        raise refusal(Rule.TEXT, f"The {what} {text[:100]!r} is not 1 to {limit} printable characters.")
