"""A whole system as it is meant to stand in a network: TLS, certificates, and the broker as we print it."""

from __future__ import annotations

from pathlib import Path
from typing import Self

from tests.support.authority import Credentials
from tests.support.device import Device
from tests.support.printed_mosquitto import PrintedMosquitto
from tests.support.system import System
from wainwright_controller.demo.stage import environment


class SecureSystem(System):
    """Use it with `with`; `options` are those of `broker-config`."""

    def __init__(self, folder: Path, *options: str, agents: int = 0) -> None:
        self.broker = PrintedMosquitto(folder / "broker", *options)
        super().__init__(folder / "system", self.broker.url, agents)
        self.broker.controller_config = self.stage.controller_config
        self._issued: dict[str, Credentials] = {}

    def __enter__(self) -> Self:
        self.broker.start()
        return super().__enter__()

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        self.broker.stop()

    def controller_env(self) -> dict[str, str]:
        """Return the controller's environment, which has its certificate."""
        return environment() | _settings("WAINWRIGHT_CONTROLLER_BROKER", self.broker.controller)

    def agent_env(self, device_id: str) -> dict[str, str]:
        """Return an agent's environment, which has its device's certificate."""
        return environment() | _settings("WAINWRIGHT_BROKER", self.credentials(device_id))

    def credentials(self, device_id: str) -> Credentials:
        """Return the certificate of a device, which gets one when it is first asked for."""
        if device_id not in self._issued:
            self._issued[device_id] = self.broker.authority.issue(device_id)
        return self._issued[device_id]

    def device(self, device_id: str, device_type: str = "press") -> Device:
        """Return a device by hand that the controller has accepted, with its certificate."""
        self.api.call("POST", "/devices/preauthorize", json={"ids": [device_id]})
        prefix, credentials = self.stage.prefix, self.credentials(device_id)
        return Device(self.broker.port, device_id, device_type, prefix=prefix, credentials=credentials)


def _settings(section: str, credentials: Credentials) -> dict[str, str]:
    files = {"CA": credentials.ca, "CERTIFICATE": credentials.certificate, "KEY": credentials.key}
    return {f"{section}__{name}": str(file) for name, file in files.items()}
