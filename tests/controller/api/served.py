"""A real controller with its HTTP server, in this process, that a test may stop and start again."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import requests
from msgspec import UNSET

from tests.common.artifact.build import Recipe, header_info
from tests.support.device import Device
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S, free_port, wait_until
from wainwright_common.messages import Reason
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.config import FLEET_MAX, Artifacts, BrokerSection, Config, Deployments, Enrolment, Http
from wainwright_controller.controller import Controller
from wainwright_controller.serve import Server

Json = dict[str, Any]


def artifact(name: str = "panel-2", device_type: str = "pi4", payload: bytes = b"the application\n" * 100) -> bytes:
    """Return the bytes of a valid artifact."""
    info = header_info(artifact_provides={"artifact_name": name}, artifact_depends={"device_type": [device_type]})
    return replace(Recipe(), header_info=info, files=(("app.bin", payload),)).blob()


@dataclass(frozen=True)
class Line:
    """A server-sent event; a comment has no kind."""

    kind: str
    id: int
    data: Json


class Served:
    """A controller and its server; use it with `with`."""

    def __init__(
        self,
        folder: Path,
        broker: Mosquitto,
        *,
        token: str = "",
        max_bytes: int = 2**30,
        verify_keys: tuple[str, ...] = (),
        approval_above: int = FLEET_MAX,
        enrolment: Enrolment | None = None,
        section: BrokerSection | None = None,
    ) -> None:
        """With `enrolment`, the controller gives certificates and is served by HTTPS; `section` is about the broker."""
        self.port = free_port()
        self.url = f"{'https' if enrolment else 'http'}://127.0.0.1:{self.port}"
        self.broker = broker
        self.token = token
        self.config = Config(
            data_dir=folder,
            http=Http(token=token, tls=enrolment is not None),
            broker=section or BrokerSection(url=broker.url),
            enrolment=enrolment or Enrolment(),
            artifacts=Artifacts(max_bytes=max_bytes, verify_keys=verify_keys),
            deployments=Deployments(approval_above=approval_above),
        )

    def start(self) -> None:
        """Start both, and wait until they are ready."""
        self.controller = Controller(self.config, self.url)
        self.controller.start()
        self._server = Server(self.controller)
        listener = socket.create_server(("127.0.0.1", self.port))
        self._thread = threading.Thread(target=self._server.run, args=([listener],))
        self._thread.start()
        wait_until(lambda: self._server.started, what="the HTTP server")
        wait_until(self.controller.link.connected.is_set, what="the broker's connection")

    def stop(self) -> None:
        """Stop both."""
        self.controller.context.closing.set()
        self._server.should_exit = True
        self._thread.join(PATIENCE_S)
        self.controller.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def files(self) -> list[str]:
        """The names in the artifacts' folder."""
        return sorted(path.name for path in self.controller.artifacts.folder.iterdir())

    def call(self, method: str, path: str, **options: Any) -> requests.Response:  # noqa: ANN401  as requests takes them
        """Send a request to the server, with the token."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= options.pop("headers", {})
        if self.config.http.tls:
            options.setdefault("verify", str(self.config.pki_folder / "root.pem"))
        return requests.request(method, self.url + path, headers=headers, timeout=PATIENCE_S, **options)

    def get(self, path: str, **params: object) -> Json:
        """Return what the API gives; an error fails the test."""
        return _good(self.call("GET", f"/api/v1/{path}", params=params))

    def post(self, path: str, body: object = None) -> Json:
        """Do something over the API; an error fails the test."""
        return _good(self.call("POST", f"/api/v1/{path}", json=body if body is not None else {}))

    def upload(self, blob: bytes) -> requests.Response:
        """Upload an artifact."""
        return self.call("POST", "/api/v1/artifacts", data=blob, headers={"Content-Type": "application/octet-stream"})

    def release(self, name: str = "panel-2", device_type: str = "pi4") -> Json:
        """Store a release with one artifact."""
        return _good(self.upload(artifact(name, device_type)))

    def accept(self, *ids: str) -> None:
        """Accept devices before they are heard of."""
        self.post("devices/preauthorize", {"ids": ids})

    def deploy(self, release: str, *ids: str, **order: object) -> Json:
        """Make a deployment to devices."""
        return self.post("deployments", {"release": release, "devices": ids} | order)

    def carry_out(
        self,
        deployment_id: str,
        *ids: str,
        status: DeviceStatus = DeviceStatus.SUCCESS,
        why: tuple[str, str] = ("no-space", "disk full"),
    ) -> None:
        """Let devices take an offer, each over a connection of its own, and report how it ended; failures say `why`."""
        error = Reason(code=why[0], text=why[1]) if status is DeviceStatus.FAILURE else UNSET
        for device_id in ids:
            with Device(self.broker.port, device_id) as device:
                offered = device.check_in().offer
                assert getattr(offered, "deployment_id", None) == deployment_id
                device.report(deployment_id, 1, DeviceStatus.INSTALLING)
                device.report(deployment_id, 2, status, error=error)

    def events(self, path: str, **options: Any) -> Iterator[Line]:  # noqa: ANN401  as requests takes them
        """Yield server-sent events until the stream ends."""
        with self.call("GET", f"/api/v1/{path}", stream=True, **options) as response:
            assert response.headers["content-type"].startswith("text/event-stream")
            fields: dict[str, str] = {}
            for raw in response.iter_lines(chunk_size=None):
                name, _, value = raw.decode().partition(": ")
                if name:
                    fields[name] = value
                elif "event" in fields:
                    yield Line(fields["event"], int(fields["id"]), json.loads(fields["data"]))
                    fields = {}


def _good(response: requests.Response) -> Json:
    assert response.ok, response.text
    value: Json = response.json()
    return value
