"""The child that fetches, started before it has a job: it looks at what a technician named, and is warm by then.

`wain install` begins with starting it. While it starts and looks, `wain` loads the rest of itself; then the same child
gets the job, if `wain` carries the update out. On two processors that saves a start of Python, and the HTTP
library is loaded once.

It is not on record (groups.py) until it has a job: nothing has happened yet, and it ends when its input does.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Self

PROGRAM = (sys.executable, "-m", "wainwright_agent.fetch")
LAST_WORDS = 1000  # characters of the last line on its standard error, where a Python that fails says why


class Spare:
    """A child without a job. Use it as a context: leaving it ends a child that was not taken."""

    def __init__(self) -> None:
        self._popen = start_child(None)
        self._is_taken = False

    def ask(self, line: bytes) -> bytes:
        """Send one line and return the line that it says; raises OSError with its last words when it says none."""
        stdin, stdout, stderr = self._popen.stdin, self._popen.stdout, self._popen.stderr
        if stdin is None or stdout is None or stderr is None:
            raise ValueError("the child was started with pipes")
        try:
            stdin.write(line + b"\n")
            answer: bytes = stdout.readline()
        except BrokenPipeError:
            answer = b""
        if not answer:
            lines = stderr.read().decode(errors="replace").split("\n")
            words = next((line for line in reversed(lines) if line), "none")[:LAST_WORDS]
            raise OSError(f"the program that looks at it has ended; its last words: {words}")
        return answer

    def take(self) -> subprocess.Popen[bytes] | None:
        """Return the child, which is the caller's from then on; None when it was taken before."""
        if self._is_taken:
            return None
        self._is_taken = True
        return self._popen

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_taken:
            self._popen.kill()
            self._popen.wait()
            for stream in (self._popen.stdin, self._popen.stdout, self._popen.stderr):
                if stream is not None:
                    stream.close()


def start_child(cwd: Path | None) -> subprocess.Popen[bytes]:
    """Start a child that waits for a line; raises OSError."""
    pipe = subprocess.PIPE
    return subprocess.Popen(PROGRAM, cwd=cwd, stdin=pipe, stdout=pipe, stderr=pipe, start_new_session=True, bufsize=0)
