"""What browsers look at: a real controller as a process, a broker, a small fleet, and a person of each role."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import requests

from tests.controller.api.served import artifact
from tests.support.mosquitto import Mosquitto
from tests.support.serve import PATIENCE_S, Json, Serve
from tests.support.wait import wait_until
from wainwright_controller.people import Role
from wainwright_controller.simulate import Broker, Fleet, FleetSpec

TYPE = "press"
QUICK: dict[str, Any] = {
    "device_types": (TYPE,),
    "artifact_name": "one",
    "download_s": 0.2,
    "install_s": 0.1,
    "check_in_s": 600.0,  # they are woken: what is missed would be seen
    "resend_s": 0.5,
    "connects_per_s": 500.0,
}
_NUMBERS = itertools.count(1)


class House:
    """Use it with `with`: releases `one` and `two` are there then, and `tokens` has one of each role."""

    def __init__(self, folder: Path, **settings: object) -> None:
        self.broker = Mosquitto(folder / "broker")
        self._folder, self._settings = folder, settings
        self._stack = ExitStack()
        self.tokens: dict[Role, str] = {}

    def __enter__(self) -> Self:
        try:
            self._move_in()
        except BaseException:
            self._stack.close()
            raise
        return self

    def _move_in(self) -> None:
        self._stack.enter_context(self.broker)
        self.serve = Serve(self._folder / "controller", self.broker.url, **self._settings)
        self.serve.__enter__()
        self._stack.callback(self.stop_controller)
        for role in Role:
            self.tokens[role] = self.serve.person(f"the-{role}", role)
        for name in ("one", "two"):
            self.release(name)

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def url(self) -> str:
        """Where the pages are."""
        return self.serve.url

    def stop_controller(self) -> None:
        """End the controller's process."""
        self.serve.__exit__()

    def start_controller(self) -> None:
        """Start the controller again, at its address."""
        self.serve.__enter__()

    def get(self, path: str, **params: object) -> Json:
        """Return what the API gives."""
        return self.serve.good("GET", path, params=params)

    def post(self, path: str, body: object = None) -> Json:
        """Do something by the API, as the admin of the configuration."""
        return self.serve.good("POST", path, json=body if body is not None else {})

    def release(self, name: str) -> None:
        """Store a release with one artifact."""
        headers = {"Content-Type": "application/octet-stream"}
        self.serve.good("POST", "artifacts", data=artifact(name, TYPE), headers=headers)

    @contextmanager
    def fleet(self, devices: int, *, accepted: bool = True, **spec: Any) -> Iterator[Fleet]:  # noqa: ANN401  FleetSpec's
        """Have simulated devices that are connected, and accepted."""
        prefix = f"d{next(_NUMBERS)}-"
        broker = Broker.at(self.broker.url, str(self.serve.settings["broker__prefix"]))
        chosen = QUICK | {"id_prefix": prefix, "attributes": {"fleet": (prefix,)}} | spec
        with Fleet(FleetSpec(devices=devices, **chosen), broker) as fleet:
            wait_until(lambda: all(d.replies for d in fleet.devices.values()), PATIENCE_S, f"{devices} devices to ask")
            if accepted:
                self.post("devices/accept", {"ids": fleet.ids})
            yield fleet

    def deploy(self, *device_ids: str, release: str = "two", **order: object) -> Json:
        """Make a deployment to devices."""
        return self.post("deployments", {"release": release, "devices": device_ids} | order)

    def deployment(self, deployment_id: str) -> Json:
        """Return a deployment as the API gives it."""
        return self.get(f"deployments/{deployment_id}")

    def wait_for(self, deployment_id: str, **wanted: object) -> Json:
        """Wait until a deployment has these values; returns it."""

        def look() -> Json | None:
            found = self.deployment(deployment_id)
            return found if all(found.get(name) == value for name, value in wanted.items()) else None

        return wait_until(look, PATIENCE_S, f"deployment {deployment_id} to have {wanted}") or {}

    def abort_all(self) -> None:
        """End every deployment that has not finished, so that none holds the devices any more."""
        for one in self.get("deployments", limit=200)["items"]:
            if "abort" in one["allowed"]:
                self.serve.call("POST", f"deployments/{one['id']}/abort", json={})  # unless it has just finished

    def cookie(self, role: Role) -> Any:  # noqa: ANN401  as Playwright takes it
        """Return the cookie of somebody of a role who has signed in."""
        answer = requests.post(
            f"{self.url}/sign-in", data={"token": self.tokens[role]}, timeout=PATIENCE_S, allow_redirects=False
        )
        name, _, value = answer.headers["set-cookie"].split(";")[0].partition("=")
        return {"name": name, "value": value, "url": self.url}
