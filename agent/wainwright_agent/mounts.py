"""Removing folders in which others have worked: never through what they have mounted there and left.

A module that fails between `mount` and `umount` leaves a root slot, or all of the device, below its work tree; whoever
removes the tree then removes that. The device's number does not tell: a bind mount of the same filesystem has it, too.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
POINT = 4  # field of a line: where it is mounted; proc(5)
MS_REC, MS_PRIVATE = 0x4000, 1 << 18  # mount(2)
MNT_DETACH, UMOUNT_NOFOLLOW = 2, 8  # umount(2)

_ESCAPED = re.compile(rb"\\([0-7]{3})")

log = logging.getLogger(__name__)


def remove_tree(folder: Path) -> None:
    """Remove a folder, if it is there, after what is mounted in it was unmounted; raises OSError.

    When something cannot be unmounted, nothing is removed.
    """
    import shutil  # brings the compression libraries with it, which are not for the idle agent

    while mounted := below(folder):
        _unmount(mounted[0])
    with contextlib.suppress(FileNotFoundError):
        shutil.rmtree(folder)


def below(folder: Path) -> list[Path]:
    """Return where something is mounted in a folder, or on it, outer ones first; raises OSError."""
    # Not of the folder itself: it may be a link that a module has left, and what is mounted there is no matter of ours.
    real = Path(os.path.realpath(folder.parent), folder.name)
    found = [Path(os.fsdecode(_plain(line.split(b" ")[POINT]))) for line in MOUNTINFO.read_bytes().splitlines()]
    return sorted((path for path in found if path.is_relative_to(real)), key=lambda path: len(path.parts))


def _plain(field: bytes) -> bytes:
    """Return a field as it is: the kernel writes blanks, line ends and backslashes as octal numbers."""
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), field)


def _unmount(point: Path) -> None:
    """Detach a mount with all that is mounted in it, also while it is in use; raises OSError."""
    import ctypes  # only here, for the idle agent does without it

    system = ctypes.CDLL(None, use_errno=True)
    name = os.fsencode(point)
    # Shared mounts are unmounted everywhere at once: of a bind of / that would be /proc and /dev themselves.
    is_private = system.mount(None, name, None, ctypes.c_ulong(MS_REC | MS_PRIVATE), None) == 0
    if not is_private or system.umount2(name, MNT_DETACH | UMOUNT_NOFOLLOW) != 0:
        number = ctypes.get_errno()
        text = f"it is mounted, and cannot be unmounted ({os.strerror(number)}). Unmount it, then it can be removed"
        raise OSError(number, text, str(point))
    log.warning("%s was left mounted, and is not any more.", point)
