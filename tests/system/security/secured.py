"""A whole system as it is meant to stand in a network: TLS, certificates, and the broker as we print it."""

from __future__ import annotations

import re
import threading
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import paho.mqtt.client as paho
import requests
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.authority import Authority, Credentials
from tests.support.clients import end_client
from tests.support.device import Device
from tests.support.printed_mosquitto import PrintedMosquitto
from tests.support.system import System
from tests.system.security.attacker import PATIENCE_S, Heard
from wainwright_controller.demo.api import Api
from wainwright_controller.demo.stage import environment
from wainwright_controller.pki import CONTROLLER

READERS = (f"{CONTROLLER}-2", f"{CONTROLLER}-3")


class AcceptedDevice(Device):
    """A device by hand that the controller accepts once it listens: what it is told of that is over when it is open."""

    def __init__(self, api: Api, *where: Any, **how: Any) -> None:  # noqa: ANN401  as Device takes them
        super().__init__(*where, **how)
        self._api = api

    def __enter__(self) -> Self:
        super().__enter__()
        if self._api.call("POST", "/devices/preauthorize", json={"ids": [self.id]})["changed"]:
            self.woken()
        return self


def accept(system: SecureSystem | EmbeddedSystem, device_id: str) -> None:
    """Accept a device that is not connected, and wait until the controller has told it so: it would hear it later."""
    with system.device("scout") as scout:
        system.api.call("POST", "/devices/preauthorize", json={"ids": [device_id]})
        system.api.call("POST", "/devices/check-in", json={"ids": [scout.id]})
        scout.woken()  # one is told after the other


class SecureSystem(System):
    """Use it with `with`; `options` are those of `broker-config`.

    The authority is a test's own and not the controller's, so that it signs anything.
    """

    def __init__(self, folder: Path, *options: str, agents: int = 0) -> None:
        self.authority = Authority(folder / "pki")
        self.authority.issue("127.0.0.1", is_server=True, file_name="broker")
        self._issued: dict[str, Credentials] = {}
        names = [option for name in (CONTROLLER, *READERS) for option in ("--controller", name)]
        self.broker = PrintedMosquitto(folder / "broker", folder / "pki", *names, *options)
        super().__init__(folder / "system", self.broker.tls_url, agents)
        self.broker.controller_config = self.stage.controller_config

    def __enter__(self) -> Self:
        self.broker.start()
        return super().__enter__()

    def __exit__(self, *raised: object) -> None:
        super().__exit__(*raised)
        self.broker.stop()

    @property
    def port(self) -> int:
        """The broker's, for devices."""
        return self.broker.tls_port

    def controller_env(self) -> dict[str, str]:
        """Return the controller's environment, which has its certificate."""
        return environment() | _settings("WAINWRIGHT_CONTROLLER_BROKER", self.credentials(CONTROLLER))

    def agent_env(self, device_id: str) -> dict[str, str]:
        """Return an agent's environment, which has its device's certificate."""
        return environment() | _settings("WAINWRIGHT_BROKER", self.credentials(device_id))

    def revoke(self, *credentials: Credentials) -> None:
        """Have the authority revoke certificates, and the broker learn of it."""
        self.authority.revoke(*credentials)
        self.broker.reload()

    def credentials(self, device_id: str) -> Credentials:
        """Return the certificate of a device, which gets one when it is first asked for."""
        if device_id not in self._issued:
            self._issued[device_id] = self.authority.issue(device_id)
        return self._issued[device_id]

    def device(self, device_id: str, device_type: str = "press") -> Device:
        """Return a device by hand that the controller accepts, with its certificate."""
        prefix, credentials = self.stage.prefix, self.credentials(device_id)
        return AcceptedDevice(self.api, self.port, device_id, device_type, prefix=prefix, credentials=credentials)

    def metric(self, name: str, **labels: str) -> int:
        """Return a counter of messages; 0 if there is none."""
        [(key, value)] = labels.items()
        text = requests.get(f"{self.stage.url}/metrics", timeout=30).text
        found = re.search(rf'^wainwright_messages_{name}\{{{key}="{value}"\}} (\d+)$', text, re.MULTILINE)
        return int(found[1]) if found else 0

    def reader(self, topics: str, name: str = READERS[0]) -> Reader:
        """Return a client with a second controller's certificate that reads topics; two at once need two names."""
        return Reader(self.port, self.credentials(name), topics)


class EmbeddedSystem(System):
    """The same with the embedded broker, by TLS or without it."""

    def __init__(self, folder: Path, *, tls: bool) -> None:
        super().__init__(folder, None)
        self.is_tls = tls
        self._folder = folder
        self._issued: dict[str, Credentials] = {}

    def controller_env(self) -> dict[str, str]:
        """Return the controller's environment, which has TLS switched on or not."""
        return environment() | {"WAINWRIGHT_CONTROLLER_BROKER__TLS": str(self.is_tls).lower()}

    @property
    def port(self) -> int:
        """The broker's."""
        return self.stage.mqtt_port

    @property
    def broker_folder(self) -> Path:
        """What the broker works in."""
        return self._folder / "controller" / "broker"

    def refused_or_throttled(self) -> int:
        """Return how many messages the controller has read and not taken."""
        text = requests.get(f"{self.stage.url}/metrics", timeout=30).text
        found = re.findall(r"^wainwright_messages_(?:refused|throttled)_total\{.*\} (\d+)$", text, re.MULTILINE)
        return sum(map(int, found))

    @cached_property
    def authority(self) -> Authority:
        """The controller's authority, in the hands of somebody who signs anything."""
        return Authority.with_keys_of(self._folder / "controller" / "pki", self._folder / "issued")

    def credentials(self, device_id: str) -> Credentials:
        """Return the certificate of a device, which gets one when it is first asked for."""
        if device_id not in self._issued:
            self._issued[device_id] = self.authority.issue(device_id)
        return self._issued[device_id]

    def device(self, device_id: str) -> Device:
        """Return a device by hand that the controller accepts, with its certificate if it needs one."""
        credentials = self.credentials_of(device_id)
        return AcceptedDevice(
            self.api, self.port, device_id, "press", prefix=self.stage.prefix, credentials=credentials
        )

    def credentials_of(self, device_id: str) -> Credentials | None:
        """Return the certificate of a device; None where there is no TLS."""
        return self.credentials(device_id) if self.is_tls else None


class Reader:
    """What a controller would be given; use it with `with`."""

    def __init__(self, port: int, credentials: Credentials, topics: str) -> None:
        self.heard: list[Heard] = []
        self._port = port
        self._topics = topics
        self._client = paho.Client(CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
        credentials.show(self._client)
        self._subscribed = threading.Event()
        self._client.on_message = lambda _c, _d, m: self.heard.append(Heard(m.topic, bytes(m.payload)))
        self._client.on_subscribe = lambda *_: self._subscribed.set()

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self.catch_up()
        return self

    def catch_up(self) -> None:
        """Subscribe, again if need be: the broker says so after all that it has for this client already."""
        self._subscribed.clear()
        self._client.subscribe(self._topics, qos=1)
        assert self._subscribed.wait(PATIENCE_S)

    def __exit__(self, *_: object) -> None:
        end_client(self._client)

    def count(self, topic: str) -> int:
        """Return how many messages have come on a topic."""
        return sum(heard.topic == topic for heard in self.heard)


def _settings(section: str, credentials: Credentials) -> dict[str, str]:
    files = {"CA": credentials.ca, "CERTIFICATE": credentials.certificate, "KEY": credentials.key}
    return {f"{section}__{name}": str(file) for name, file in files.items()}
