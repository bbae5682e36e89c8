"""The openssl command, as the second opinion on what the authority makes."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.wait import PATIENCE_S


def openssl(*arguments: str | Path, stdin: bytes = b"") -> str:
    """Return what openssl prints; raises AssertionError with what it says when it fails."""
    code, said = openssl_says(*arguments, stdin=stdin)
    assert code == 0, said
    return said


def openssl_says(*arguments: str | Path, stdin: bytes = b"") -> tuple[int, str]:
    """Return the exit status of openssl and all that it printed."""
    ran = subprocess.run(
        ["openssl", *map(str, arguments)],
        input=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=PATIENCE_S,
        check=False,
    )
    return ran.returncode, ran.stdout.decode()
