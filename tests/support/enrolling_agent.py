"""A real agent that gets its certificate by itself, and the technician's commands on its device."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Self

import msgspec

from tests.support.wait import wait_until
from wainwright_agent.config import load
from wainwright_agent.control import AgentUnreachable, ask
from wainwright_agent.credentials import Credentials, Record

PROGRAM = (sys.executable, "-m", "wainwright_agent", "--config")
PATIENCE_S = 60.0

CONFIG = """\
device_id = "{name}"
device_type = "pi4"
data_dir = "{folder}/data"
control_socket = "{folder}/agent.sock"
[broker]
url = "{broker}"
reconnect_first_s = 0.2
reconnect_max_s = 2
[enrolment]
url = "{controller}"
{enrolment}
[update]
modules = ["{folder}/modules"]
reboot_command = ["true"]
[inventory]
scripts = "{folder}/none"
"""
MODULE = """\
#!/bin/sh
case "$1" in
    Download) while read -r file < "$2/stream-next" && [ -n "$file" ]; do cat "$2/$file" > {folder}/software; done ;;
    SupportsRollback) echo Yes ;;
esac
"""


class EnrollingAgent:
    """Use it with `with`, or `start` it; whatever runs is ended at the end."""

    def __init__(self, folder: Path, name: str, controller: str, broker: str, **enrolment: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self.name = name
        self.config = folder / "agent.toml"
        settings = "\n".join(f"{key} = {json.dumps(value)}" for key, value in enrolment.items())
        text = CONFIG.format(name=name, folder=folder, controller=controller, broker=broker, enrolment=settings)
        self.config.write_text(text, encoding="utf-8")
        (folder / "modules").mkdir(exist_ok=True)
        module = folder / "modules" / "single-file"
        module.write_text(MODULE.format(folder=folder), encoding="utf-8")
        module.chmod(0o755)
        self.env: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def files(self) -> Credentials:
        """The files of the enrolment."""
        return Credentials(self.folder / "data")

    @property
    def record(self) -> Record:
        """What the device knows of its certificate."""
        return self.files.record()

    @property
    def log(self) -> str:
        """What the service has written."""
        file = self.folder / "agent.log"
        return file.read_text(encoding="utf-8") if file.exists() else ""

    def start(self) -> Self:
        """Start the service."""
        with (self.folder / "agent.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*PROGRAM, str(self.config), "run"], stderr=log, stdin=subprocess.DEVNULL, env=os.environ | self.env
            )
        return self

    def stop(self) -> None:
        """End the service, as its manager would."""
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(PATIENCE_S)
            self._process = None

    def kill(self) -> None:
        """End the service, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(PATIENCE_S)
            self._process = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def wain(self, *words: str) -> tuple[int, str]:
        """Run a technician's command; returns its exit code and all that it printed."""
        ran = subprocess.run(
            [*PROGRAM, str(self.config), *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env=os.environ | self.env,
            timeout=120,
            check=False,
            text=True,
        )
        return ran.returncode, ran.stdout

    def status(self) -> dict[str, Any]:
        """Return the status of the running service, {} while it cannot be asked."""
        try:
            found: dict[str, Any] = next(iter(ask(load(self.config, {}), "status", line_s=10)))
        except AgentUnreachable:
            return {}
        return found

    def enrolment(self) -> dict[str, Any]:
        """Return what the running service says of its enrolment."""
        found: dict[str, Any] = self.status().get("enrolment", {})
        return found

    def wait_until_waiting(self) -> str:
        """Wait until the service was told to wait; returns its key's digest."""
        return str(self.wait_for_trouble("waiting")["key"])

    def wait_for_trouble(self, error: str) -> dict[str, Any]:
        """Wait until the service says that it has no certificate for this reason; returns what it says of it."""

        def look() -> dict[str, Any] | None:
            trouble: dict[str, Any] = self.enrolment().get("trouble", {})
            return trouble if trouble.get("error") == error else None

        return wait_until(look, PATIENCE_S, f"{self.name} to be {error}") or {}

    def wait_until_stopped(self) -> None:
        """Wait until the service tries no update."""
        wait_until(lambda: (status := self.status()) and "trying" not in status, PATIENCE_S, "the device to stop")

    def wait_until_connected(self) -> None:
        """Wait until the service is connected to the broker."""
        wait_until(lambda: self.status().get("link", {}).get("connected"), PATIENCE_S, f"{self.name} to be connected")

    def make_due(self) -> None:
        """Have the certificate be renewed at the next start, as if two thirds of its life had passed."""
        record = self.record
        assert record.holding is not None
        due = msgspec.structs.replace(record.holding, renew_at=record.holding.begins_at)
        self.files.write_record(Record(holding=due))
