"""A real Mosquitto on a free port of 127.0.0.1, that a test may kill and restart."""

from __future__ import annotations

import getpass
import shutil
import subprocess
from pathlib import Path
from typing import Self

from tests.support.wait import PATIENCE_S, free_port, is_listening, wait_until

CONFIG = """
listener {port} 127.0.0.1
allow_anonymous true
user {user}
persistence true
persistence_location {folder}/
autosave_interval 1
max_inflight_messages 1000
max_queued_messages 0
max_packet_size 1048576
set_tcp_nodelay true
log_dest file {folder}/mosquitto.log
log_type error
log_type warning
"""


class Mosquitto:
    """A broker process; start it with `with`, or with `start`."""

    def __init__(self, folder: Path) -> None:
        program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
        if program is None:
            raise AssertionError("mosquitto is not installed: run `make peers`")
        self.program = program
        self.folder = folder
        self.port = free_port()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """The broker's address as agents and controllers write it."""
        return f"mqtt://127.0.0.1:{self.port}"

    def configure(self) -> Path:
        """Write the configuration; returns its file."""
        config = self.folder / "mosquitto.conf"
        # Started by root, Mosquitto would become the user mosquitto, who cannot write below a test's folder.
        user = getpass.getuser()
        config.write_text(CONFIG.format(port=self.port, folder=self.folder, user=user), encoding="utf-8")
        return config

    def start(self) -> None:
        """Start the broker and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.process = subprocess.Popen([self.program, "-c", str(self.configure())])
        wait_until(lambda: is_listening(self.port), what="mosquitto to listen")

    def stop(self) -> None:
        """End the broker as its service manager would."""
        if self.process is not None:
            self.process.terminate()
            self.process.wait(PATIENCE_S)
            self.process = None

    def kill(self) -> None:
        """End the broker as a power cut would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait(PATIENCE_S)
            self.process = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
