"""The scenery: one temporary folder with the controller's, the key's and every device's files."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from wainwright_common.topics import PREFIX
from wainwright_controller.config import EMBEDDED

DEVICE_TYPES = ("press", "lathe")
HTTP_PORT = 8080  # what `wainwright` looks for without options; another one is taken when this is in use
MQTT_PORT = 1883
PROGRESS_INTERVAL_S = 0.2  # between two progress reports: five a second is what an eye follows
LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class DemoDevice:
    """One device: a folder, and an agent that works in it."""

    id: str
    type: str
    folder: Path

    @property
    def software(self) -> Path:
        """The file that updates replace."""
        return self.folder / "software"

    @property
    def commits(self) -> list[str]:
        """What was installed for good, in order."""
        try:
            return (self.folder / "commits").read_text(encoding="utf-8").splitlines()
        except FileNotFoundError:
            return []

    @property
    def config(self) -> Path:
        """The agent's configuration."""
        return self.folder / "agent.toml"

    def set_pace(self, seconds: float | None) -> None:
        """Make every 64 KiB of a download take so long; None for as fast as it goes."""
        self._fate("pace", None if seconds is None else f"{seconds:g}\n")

    def rig(self) -> None:
        """Have the next software fail to start on this device."""
        self._fate("rigged", "")

    def repair(self) -> None:
        """Undo `rig`."""
        self._fate("rigged", None)

    def _fate(self, name: str, content: str | None) -> None:
        if content is None:
            (self.folder / name).unlink(missing_ok=True)
        else:
            (self.folder / name).write_text(content, encoding="utf-8")


@dataclass(slots=True)
class Stage:
    """See the module. `broker` is the address of a broker that runs already; None for the embedded one.

    With `usual_ports` it takes the ports that every tool looks for, if they are free: for a person who plays with it.
    Without, any free ones, so that several can be started at the same time. One that is `secure` has an authority,
    HTTPS, and a broker that knows devices by certificates, which they get with a token; it stores only what is signed.
    """

    folder: Path
    broker: str | None = None
    usual_ports: bool = False
    secure: bool = False
    devices: list[DemoDevice] = field(default_factory=list)
    http_port: int = 0
    mqtt_port: int = 0
    prefix: str = PREFIX

    @property
    def url(self) -> str:
        """Where the controller's HTTP API is."""
        return f"{'https' if self.secure else 'http'}://{LOOPBACK}:{self.http_port}"

    @property
    def broker_url(self) -> str:
        """Where the broker is."""
        return self.broker or f"{'mqtts' if self.secure else 'mqtt'}://{LOOPBACK}:{self.mqtt_port}"

    @property
    def ca(self) -> Path | None:
        """The root that everybody trusts, once the controller has made it; None without one."""
        return self.folder / "controller" / "pki" / "root.pem" if self.secure else None

    @property
    def token_file(self) -> Path:
        """The token by which devices enrol."""
        return self.folder / "enrolment-token"

    @property
    def public_key(self) -> Path:
        """The key that the devices trust."""
        return self.folder / "release-key.pub.pem"

    @property
    def private_key(self) -> Path:
        """The key that signs releases."""
        return self.folder / "release-key.pem"

    @property
    def logs(self) -> Path:
        """The folder of what the processes say."""
        return self.folder / "logs"

    @property
    def controller_config(self) -> Path:
        """The controller's configuration."""
        return self.folder / "controller.toml"

    def build(self, devices: int) -> None:
        """Choose free ports, and write all folders and configuration files."""
        self.http_port = free_port(HTTP_PORT if self.usual_ports else 0)
        self.mqtt_port = free_port(MQTT_PORT if self.usual_ports else 0)
        if self.broker is not None:  # other fleets may be on it
            self.prefix = f"wain-demo/{secrets.token_hex(4)}"
        self.logs.mkdir()
        digits = max(2, len(str(devices)))
        for number in range(devices):
            device_type = DEVICE_TYPES[number % len(DEVICE_TYPES)]
            device_id = f"{device_type}-{number // len(DEVICE_TYPES) + 1:0{digits}d}"
            self.devices.append(DemoDevice(device_id, device_type, self.folder / device_id))
        self._write_controller()
        for device in self.devices:
            self._write_device(device)

    def _write_controller(self) -> None:
        settings: dict[str, Any] = {
            "data_dir": str(self.folder / "controller"),
            "http": {"host": LOOPBACK, "port": self.http_port},
            "broker": {
                "url": self.broker or EMBEDDED,
                "port": self.mqtt_port,
                "prefix": self.prefix,
                "client_id": f"wainwright-demo-{secrets.token_hex(4)}",
            },
        }
        if self.secure:
            settings["http"]["tls"] = settings["broker"]["tls"] = True
            settings["enrolment"] = {"enabled": True}
            settings["artifacts"] = {"verify_keys": [str(self.public_key)]}
        self.controller_config.write_text(toml(settings), encoding="utf-8")

    def _write_device(self, device: DemoDevice) -> None:
        modules = device.folder / "modules"
        modules.mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("module"), modules / "demo")
        (modules / "demo").chmod(0o755)
        settings: dict[str, Any] = {
            "device_id": device.id,
            "device_type": device.type,
            "data_dir": str(device.folder / "data"),
            "control_socket": str(device.folder / "agent.sock"),
            "broker": {"url": self.broker_url, "prefix": self.prefix, "reconnect_first_s": 0.5},
            "update": {
                "modules": [str(modules)],
                "verify_keys": [str(self.public_key)],
                "progress_interval_s": PROGRESS_INTERVAL_S,
            },
            "inventory": {"scripts": str(device.folder / "inventory")},
        }
        if self.secure:
            settings["enrolment"] = {"url": self.url, "ca": str(self.ca), "token_file": str(self.token_file)}
        device.config.write_text(toml(settings), encoding="utf-8")

    @property
    def controller_argv(self) -> list[str]:
        """The command that runs the controller."""
        return [sys.executable, "-m", "wainwright_controller", "serve", "--config", str(self.controller_config)]

    def agent_argv(self, device: DemoDevice) -> list[str]:
        """Return the command that runs a device's agent."""
        return [sys.executable, "-m", "wainwright_agent", "run", "--config", str(device.config)]


def environment() -> dict[str, str]:
    """Return this process's environment without the settings in it: the demo's are in its files."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WAINWRIGHT_")}


def free_port(wanted: int) -> int:
    """Return a TCP port of loopback that nobody listens on now: the wanted one if possible."""
    for port in (wanted, 0):
        with socket.socket() as probe:
            try:
                probe.bind((LOOPBACK, port))
            except OSError:
                continue
            number: int = probe.getsockname()[1]
            return number
    raise OSError("no TCP port is free on 127.0.0.1")


def toml(settings: dict[str, Any]) -> str:
    """Print settings, sections last; a JSON text, number, boolean or list is a TOML one as well."""
    values = [f"{key} = {_json(value)}" for key, value in settings.items() if not isinstance(value, dict)]
    sections = [f"\n[{key}]\n{toml(value)}" for key, value in settings.items() if isinstance(value, dict)]
    return "\n".join([*values, *sections]) + "\n"


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
