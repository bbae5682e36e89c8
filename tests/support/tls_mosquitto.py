"""A Mosquitto that knows devices by their certificates, as it is printed, with the authority of a controller.

Two listeners: one for devices, by TLS, and one for the controller, where it may choose its client id.
"""

from __future__ import annotations

from pathlib import Path

from tests.support.printed_mosquitto import PrintedMosquitto

USER, PASSWORD = "wainwright-controller", "sesame"
CONFIG = f'[broker]\nusername = "{USER}"\npassword = "{PASSWORD}"\n'


class TlsMosquitto(PrintedMosquitto):
    """`url` and `port` are the controller's listener, `tls_url` and `tls_port` that of the devices."""

    def __init__(self, folder: Path, pki: Path) -> None:
        super().__init__(folder, pki)
        self.has_local_listener = True

    @property
    def pid_file(self) -> Path:
        """Where the broker's service manager says what its process is."""
        return self.folder / "pid"

    def start(self) -> None:
        """Start the broker and wait until it listens; the authority's files must be there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.controller_config.write_text(CONFIG, encoding="utf-8")
        super().start()
        assert self.process is not None
        self.pid_file.write_text(str(self.process.pid), encoding="ascii")
