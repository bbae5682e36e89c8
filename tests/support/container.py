"""A Debian that `systemd-nspawn` boots from a folder, with the host's network; needs root."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
from pathlib import Path
from typing import Self

from tests.support.wait import wait_until

BOOT_S = 120.0  # it takes two seconds on a machine that does nothing else
STOP_S = 30.0


class Container:
    """Use it with `with`: all its services have started then."""

    def __init__(self, root: Path, name: str) -> None:
        self.root = root
        self.name = f"{name}-{os.getpid()}"
        self.console = root.with_name(f"{root.name}.console")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=read-only", "--boot"]
        command += ["--machine", self.name, "--directory", str(self.root)]
        with self.console.open("ab") as log:
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            wait_until(self.is_up, BOOT_S, "the container to be up")
        except BaseException as error:
            if self.leader():
                error.add_note(self.run("systemctl", "--failed", "status", "--no-pager", "--lines=30").stdout)
            error.add_note(self.console.read_text(errors="replace")[-2000:])
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        self._process.terminate()  # nspawn asks the system to power off
        try:
            self._process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        remove_what_is_left(self.name)

    def leader(self) -> int | None:
        """Return the process that is the system's first; None while there is none."""
        return leader_of(self._process)

    def is_up(self) -> bool:
        """Say whether all services have started."""
        return bool(self.leader()) and self.run("systemctl", "is-system-running").stdout.strip() == "running"

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as root, outside of any service."""
        leader = self.leader()
        assert leader, "the container is not running"
        entered = ["nsenter", "--target", str(leader), "--all", *command]
        return subprocess.run(entered, capture_output=True, text=True, timeout=120, check=False)

    def do(self, *command: str) -> str:
        """Run a command that has to succeed, and return its output."""
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout


def leader_of(process: subprocess.Popen[bytes] | None) -> int | None:
    """Return the process that is the first of the system that a `systemd-nspawn` runs; None while there is none."""
    if process is None or process.poll() is not None:
        return None
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    try:
        for child in children.read_text().split():
            status = Path(f"/proc/{child}/status").read_text()
            if re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE) and "systemd" in status.splitlines()[0]:
                return int(child)
    except OSError:
        pass  # it has just ended
    return None


def remove_what_is_left(name: str) -> None:
    """Remove the empty folders that a container leaves where the host has no systemd of its own."""
    with contextlib.suppress(OSError):
        (Path("/run/systemd/nspawn/propagate") / name).rmdir()
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        hierarchy = controllers.removeprefix("name=") or "unified"  # where both kinds are; else it is the folder itself
        mounted = Path("/sys/fs/cgroup", hierarchy)
        mounted = (mounted if mounted.is_dir() else mounted.parent) / group.lstrip("/")
        for left in ("payload", "supervisor"):
            for folder, _, _ in os.walk(mounted / left, topdown=False):
                with contextlib.suppress(OSError):  # it is somebody else's, and in use
                    Path(folder).rmdir()
