"""Whether a folder's file system has room: asked before bytes are fetched that could not be kept."""

from __future__ import annotations

import os
from pathlib import Path

from wainwright_agent.failure import UpdateError
from wainwright_common.codes import Code

RESERVE = 512 * 1024  # bytes that stay free for the journal, the logs and the module's own small files


def free(folder: Path) -> int:
    """Return the bytes that a program without privileges may still write there; raises OSError."""
    status = os.statvfs(folder)
    return status.f_bavail * status.f_frsize


def require(folder: Path, needed: int, what: str) -> None:
    """Raise UpdateError (no-space), with the figures, unless `needed` bytes fit and RESERVE stays free."""
    there = free(folder)
    if there >= needed + RESERVE:
        return
    wants = f"; {what} needs {needed}, and " if needed else ", and "
    raise UpdateError(
        Code.NO_SPACE,
        f"{folder} has {there} bytes free{wants}{RESERVE} must stay free for the agent. "
        f"Free {needed + RESERVE - there} bytes there.",
    )
