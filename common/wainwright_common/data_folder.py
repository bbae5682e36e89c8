"""The data folder of an agent or a controller: whether it is that program's alone. What lies in it is believed, some of
it is secret, and some of an agent's is run as root.

1. It, and a link that leads to it, belong to root or to the program's own user; so does everything directly in it.
2. Nobody else may enter it. One that is right but for that is closed; what others may have put there is found by 1.

Not looked at: the folders above it, which are the administrator's.
"""

from __future__ import annotations

import logging
import os
import pwd
import stat
from pathlib import Path

from wainwright_common.errors import WainwrightError

MODE = 0o700
FOR_OTHERS = stat.S_IRWXG | stat.S_IRWXO

log = logging.getLogger(__name__)


class Untrusted(WainwrightError):  # noqa: N818  the name is the sentence
    """Somebody else has, or had, a hand in the data folder; `remedy` says what to do."""

    def __init__(self, text: str, remedy: str) -> None:
        super().__init__(f"{text}. {remedy}")
        self.text = text
        self.remedy = remedy


def prepare(folder: Path) -> None:
    """Make the folder, or close it to others; raises Untrusted, and OSError."""
    folder.mkdir(mode=MODE, parents=True, exist_ok=True)
    check(folder)
    found = folder.stat()
    if found.st_mode & FOR_OTHERS and found.st_uid == os.geteuid():
        folder.chmod(MODE)
        was = stat.S_IMODE(found.st_mode)
        log.warning("%s was open to other users (mode %04o); it is closed to them now (%04o).", folder, was, MODE)


def check(folder: Path) -> None:
    """Raise Untrusted unless the folder and all directly in it are root's or our own; raises OSError."""
    trusted = {0, os.geteuid()}
    for path in (folder, folder.resolve(), *sorted(folder.iterdir())):
        owner = path.lstat().st_uid
        if owner not in trusted:
            raise Untrusted(
                f"{path} belongs to the user {_name(owner)}, and what is in {folder} is trusted",
                f"If it was this program's before: chown -R {_name(os.geteuid())} {folder}. Else remove it.",
            )


def _name(user: int) -> str:
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)
