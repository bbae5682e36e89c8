"""A program on a real terminal of its own, whose screen can be read: what a person sees of it, and when."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import pyte

QUIET_S = 0.05  # without output, after which a frame is taken for drawn: programs draw theirs in one piece
PATIENCE_S = 60.0
CTRL_C = "\x03"


class Terminal:
    """A terminal of some columns and rows; use it with `with`. The program is killed at the end, if it still runs."""

    def __init__(self, argv: Sequence[str], env: Mapping[str, str], folder: Path, columns: int, rows: int) -> None:
        self._leader, follower = pty.openpty()
        termios.tcsetwinsize(follower, (rows, columns))
        self._screen = pyte.Screen(columns, rows)
        self._stream = pyte.ByteStream(self._screen)
        self._process = subprocess.Popen(
            argv,
            cwd=folder,
            env=dict(env),
            stdin=follower,
            stdout=follower,
            stderr=follower,
            start_new_session=True,
            preexec_fn=_own_terminal,  # noqa: PLW1509  one system call, which touches no lock
        )
        os.close(follower)
        self._is_open = True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take the terminal away."""
        if self._process.poll() is None:
            self._process.kill()
        self._process.wait()
        os.close(self._leader)

    @property
    def screen(self) -> str:
        """What is to be seen, without the empty rows at the end."""
        return "\n".join(row.rstrip() for row in self._screen.display).rstrip("\n") + "\n"

    def press(self, keys: str) -> None:
        """Press keys: `CTRL_C`, or a text."""
        os.write(self._leader, keys.encode())

    def see(self, is_seen: Callable[[str], bool], what: str) -> str:
        """Wait until the screen is as wanted and complete; returns it, and raises AssertionError if it never is."""
        deadline = time.monotonic() + PATIENCE_S
        while True:
            goes_on = self._read(QUIET_S)
            if not goes_on and is_seen(self.screen):
                return self.screen
            if time.monotonic() > deadline or not self._is_open:
                raise AssertionError(f"waited for {what}, in vain; the screen:\n{self.screen}")

    def end(self) -> int:
        """Wait until the program ends by itself; returns its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self._is_open:
            self._read(QUIET_S)
            if time.monotonic() > deadline:
                raise AssertionError(f"the program does not end; the screen:\n{self.screen}")
        return self._process.wait(PATIENCE_S)

    def _read(self, wait_s: float) -> bool:
        """Take in what is drawn within `wait_s`; says whether there was anything."""
        if not self._is_open or not select.select([self._leader], [], [], wait_s)[0]:
            return False
        try:
            self._stream.feed(os.read(self._leader, 65536))
        except OSError:  # the other end is closed: Linux says so with an error
            self._is_open = False
        return True


def _own_terminal() -> None:
    """Make the terminal on standard input the one of this session, so that Ctrl+C on it is a signal."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
