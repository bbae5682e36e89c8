"""A Mosquitto that knows devices by their certificates, as docs/enrolment.md has it, with the authority of a folder.

Two listeners: one for devices, by TLS, and one for the controller, where it may choose its client id.
"""

from __future__ import annotations

import getpass
import subprocess
from pathlib import Path

from tests.support.mosquitto import Mosquitto
from tests.support.wait import free_port, is_listening, wait_until

USER, PASSWORD = "wainwright-controller", "sesame"

CONFIG = """
per_listener_settings false
user {user}
allow_anonymous false
password_file {folder}/passwords
acl_file {folder}/acl
pid_file {folder}/pid
persistence true
persistence_location {folder}/
max_inflight_messages 1000
max_queued_messages 0
set_tcp_nodelay true
log_dest file {folder}/mosquitto.log
log_type all

listener {tls_port} 127.0.0.1
cafile {pki}/ca.pem
certfile {pki}/broker.pem
keyfile {pki}/broker.key
crlfile {pki}/crl.pem
require_certificate true
use_identity_as_username true
use_username_as_clientid true

listener {port} 127.0.0.1
"""
ACL = f"""
pattern write wain/v1/%u/up/#
pattern read wain/v1/%u/down/#

user {USER}
topic read wain/v1/+/up/#
topic write wain/v1/+/down/#
"""


class TlsMosquitto(Mosquitto):
    """`url` and `port` are the controller's listener, `tls_url` and `tls_port` that of the devices."""

    def __init__(self, folder: Path, pki: Path) -> None:
        super().__init__(folder)
        self.pki = pki
        self.tls_port = free_port()

    @property
    def tls_url(self) -> str:
        """The address of the devices' listener."""
        return f"mqtts://127.0.0.1:{self.tls_port}"

    @property
    def pid_file(self) -> Path:
        """Where the broker says what its process is."""
        return self.folder / "pid"

    @property
    def log(self) -> str:
        """What the broker has said."""
        return (self.folder / "mosquitto.log").read_text(encoding="utf-8", errors="replace")

    def start(self) -> None:
        """Start the broker and wait until it listens; the authority's files must be there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "acl").write_text(ACL, encoding="utf-8")
        passwords = self.folder / "passwords"
        passwords.touch()
        subprocess.run(["mosquitto_passwd", "-b", passwords, USER, PASSWORD], check=True, timeout=30)
        values = {"tls_port": self.tls_port, "port": self.port, "folder": self.folder, "pki": self.pki}
        config = self.folder / "mosquitto.conf"
        config.write_text(CONFIG.format(user=getpass.getuser(), **values), encoding="utf-8")
        self.process = subprocess.Popen([self.program, "-c", str(config)], stderr=subprocess.DEVNULL)
        wait_until(lambda: is_listening(self.port) and is_listening(self.tls_port), what="mosquitto to listen")
        wait_until(lambda: self.pid_file.exists() and self.pid_file.read_text(), what="the broker's pid file")
