"""A real Mosquitto that runs what `wainwright broker-config` has written, with the certificates of a folder."""

from __future__ import annotations

import getpass
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.mosquitto import Mosquitto
from tests.support.wait import free_port, is_listening, wait_until
from wainwright_controller.demo.stage import environment


class PrintedMosquitto(Mosquitto):
    """See the module. `options` are the command's; `controller_config` is the controller's configuration.

    `tls_port` is that of the devices' listener; `port` that of the controller's on its own machine, if there is one.
    """

    def __init__(self, folder: Path, pki: Path, *options: str) -> None:
        super().__init__(folder)
        self.pki = pki
        self.tls_port = free_port()
        self.has_local_listener = False
        self.controller_config = folder / "controller.toml"
        self._options = options

    @property
    def tls_url(self) -> str:
        """The address of the devices' listener."""
        return f"mqtts://127.0.0.1:{self.tls_port}"

    @property
    def log(self) -> str:
        """What the broker has said since it was made, without what it is every time."""
        text = (self.folder / "mosquitto.log").read_text(encoding="utf-8", errors="replace")
        # A person who runs it by hand as root is warned; the unit that starts it has another user.
        return re.sub(r".*Warning: Mosquitto should not be run as root.*\n", "", text)

    def configure(self) -> Path:
        """Have the command write the files; returns the configuration."""
        store = self.folder / "store"
        store.mkdir(exist_ok=True)
        self.controller_config.touch()
        options = ["--host", "127.0.0.1", "--port", str(self.tls_port), "--store", str(store), *self._options]
        if self.has_local_listener:
            options += ["--local-port", str(self.port)]
        made = self.folder / "made"
        options += ["--config", str(self.controller_config), "--to", str(made), "--user", getpass.getuser()]
        done = subprocess.run(
            [sys.executable, "-m", "wainwright_controller", "broker-config", *options],
            env=environment() | {"WAINWRIGHT_CONTROLLER_ENROLMENT__FOLDER": str(self.pki)},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return made / "mosquitto.conf"

    def start(self) -> None:
        """Start the broker and wait until it listens; the certificates must be there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen([self.program, "-c", str(self.configure())], stderr=log)
        ports = [self.tls_port, *([self.port] if self.has_local_listener else [])]
        wait_until(lambda: all(map(is_listening, ports)), what="mosquitto to listen")

    def reload(self) -> None:
        """Have the broker read its configuration and the list of revocations again."""
        assert self.process is not None
        before = self.log.count("Reloading config")
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log.count("Reloading config") > before, what="the broker to reload")
