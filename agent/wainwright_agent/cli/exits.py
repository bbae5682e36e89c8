"""The exit codes, the same for all commands of both tools."""

from __future__ import annotations

from enum import IntEnum

from wainwright_common.errors import WainwrightError


class Exit(IntEnum):
    """What a command's end says to scripts."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNREACHABLE = 3
    REFUSED = 4
    NOTHING_TO_DO = 5
    REBOOT_NEEDED = 6
    STILL_RUNNING = 8
    INTERRUPTED = 130


class Refused(WainwrightError):  # noqa: N818  the name is the sentence
    """What was asked is not allowed; a command that ends with it has exit code REFUSED."""
