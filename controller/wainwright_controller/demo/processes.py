"""Processes that end with this one, whatever ends it: cleanly, by Ctrl+C, or by SIGKILL.

The kernel sends a child SIGTERM when the thread that started it ends; so all are started by the main thread.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

PR_SET_PDEATHSIG = 1  # prctl(2)
STOP_S = 15.0  # until a process that was asked to end is killed; an agent ends its module's processes within 10 s


def tie_to(parent: int) -> Callable[[], None]:
    """Return what a new child is to run first, so that the kernel ends it when the process `parent` does."""
    libc = ctypes.CDLL(None)

    def tie() -> None:
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:  # it ended before the kernel knew
            os._exit(1)

    return tie


class Processes:
    """Named processes, each with a log file and in a session of its own, so that Ctrl+C is ours alone."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, argv: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Start a process; what it says goes to the end of its log."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=tie_to(os.getpid()),  # noqa: PLW1509  two system calls, which touch no lock
                env=None if env is None else dict(env),
            )

    def log(self, name: str) -> Path:
        """Return the file with what a process said."""
        return self.logs / f"{name}.log"

    def pid(self, name: str) -> int:
        """Return the id of a running process."""
        return self._running[name].pid

    def kill(self, name: str) -> None:
        """End a process as a power cut would."""
        process = self._running.pop(name)
        process.kill()
        process.wait()

    def ended(self) -> dict[str, int]:
        """Return the processes that have ended by themselves, with their exit codes."""
        codes = {name: process.poll() for name, process in self._running.items()}
        return {name: code for name, code in codes.items() if code is not None}

    def stop(self, name: str) -> None:
        """Ask a process to end, and wait for it."""
        self._stop([self._running.pop(name)])

    def stop_all(self) -> None:
        """Ask all to end, and wait; the last that were started first."""
        processes = list(reversed(self._running.values()))
        self._running.clear()
        self._stop(processes)

    @staticmethod
    def _stop(processes: Sequence[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
