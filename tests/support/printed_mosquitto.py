"""A real Mosquitto that runs what `wainwright broker-config` has written, with a test's authority."""

from __future__ import annotations

import getpass
import re
import signal
import subprocess
import sys
from pathlib import Path

from tests.support.authority import Authority, Credentials
from tests.support.mosquitto import Mosquitto
from tests.support.wait import is_listening, wait_until
from wainwright_controller.demo.stage import environment


class PrintedMosquitto(Mosquitto):
    """See the module. `options` are the command's; `controller_config` is the controller's configuration."""

    def __init__(self, folder: Path, *options: str) -> None:
        super().__init__(folder)
        self._options = options
        self.local_port = 0  # set by who gives --local-port
        self.controller_config = folder / "controller.toml"
        self._data_dir = folder / "authority"  # not the controller's, which may have an authority of its own
        self.authority = Authority(self._data_dir / "pki")
        self.controller_config.touch()
        self.authority.issue("127.0.0.1", is_server=True, file_name="broker")
        self.controller = self.authority.issue("wainwright-controller", file_name="controller")

    @property
    def url(self) -> str:
        """The broker's address as agents and controllers write it."""
        return f"mqtts://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What the broker has said since it was made, without what it is every time."""
        text = (self.folder / "mosquitto.log").read_text(encoding="utf-8")
        # A person who runs it by hand as root is warned; the unit that starts it has another user.
        return re.sub(r".*Warning: Mosquitto should not be run as root.*\n", "", text)

    def configure(self) -> Path:
        """Have the command write the files; returns the configuration."""
        places = ["--host", "127.0.0.1", "--port", str(self.port), "--store", str(self.folder / "store")]
        (self.folder / "store").mkdir(exist_ok=True)
        command = [sys.executable, "-m", "wainwright_controller", "broker-config", "--to", str(self.folder / "made")]
        command += ["--config", str(self.controller_config), *places, "--user", getpass.getuser(), *self._options]
        env = environment() | {"WAINWRIGHT_CONTROLLER_DATA_DIR": str(self._data_dir)}
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return self.folder / "made" / "mosquitto.conf"

    def start(self) -> None:
        """Start the broker and wait until it listens."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "mosquitto.log").open("ab") as log:
            self.process = subprocess.Popen([self.program, "-c", str(self.configure())], stderr=log)
        ports = [self.port, *([self.local_port] if self.local_port else [])]
        wait_until(lambda: all(map(is_listening, ports)), what="mosquitto to listen")

    def reload(self) -> None:
        """Have the broker read its configuration and the list of revocations again."""
        assert self.process is not None
        before = self.log.count("Reloading config")
        self.process.send_signal(signal.SIGHUP)
        wait_until(lambda: self.log.count("Reloading config") > before, what="the broker to reload")

    def revoke(self, *credentials: Credentials) -> None:
        """Have the authority revoke certificates, and the broker learn of it."""
        self.authority.revoke(*credentials)
        self.reload()
