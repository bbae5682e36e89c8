"""A whole system of real processes on a broker that the test gives: a controller, and as many agents as wanted.

The scenery is the demo's: agents with folders of their own, whose software is one file, and whose fate a test decides.
"""

from __future__ import annotations

import sqlite3
import subprocess
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any, Self
from unittest import mock

import requests

from tests.support.wait import free_port, wait_until
from wainwright_agent.config import load
from wainwright_agent.control import AgentUnreachable, ask
from wainwright_common.artifact import ArtifactSpec, PayloadSource, load_signing_key, write_module_image
from wainwright_common.statuses import FINISHED
from wainwright_controller.demo import stage
from wainwright_controller.demo.api import Api, ApiError, Json
from wainwright_controller.demo.processes import Processes
from wainwright_controller.demo.releases import make_key, name_of, software
from wainwright_controller.demo.stage import DEVICE_TYPES, DemoDevice, Stage, environment
from wainwright_controller.simulate import Broker

PATIENCE_S = 60.0  # for what takes a second or two on a machine that does nothing else
SOFTWARE_SIZE = 200 * 1024  # bytes; with a pace of 0.2 s a download of about 0.6 s
LONG_SIZE = 4 * 1024 * 1024  # bytes; with a pace of 0.3 s a download of 20 s, to be ended before by who has seen enough


class System:
    """Use it with `with`: the controller is up and connected then; agents are started by the test."""

    def __init__(self, folder: Path, broker_url: str | None, agents: int = 0, *, auto_accept: bool = False) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.stage = Stage(folder, broker_url)
        # The demo's own ports are among those that the kernel gives to anybody until the controller listens.
        with mock.patch.object(stage, "free_port", side_effect=lambda _wanted: free_port()):
            self.stage.build(agents)
        for device in self.stage.devices:
            _heed_a_change_of_pace(device.folder / "modules" / "demo")
        if auto_accept:
            with self.stage.controller_config.open("a", encoding="utf-8") as config:
                config.write("\n[devices]\nauto_accept = true\n")
        make_key(self.stage.private_key, self.stage.public_key)
        self.processes = Processes(self.stage.logs)
        self.api = Api(self.stage.url)
        self.env = environment()
        """What the processes find in their environment."""

    def __enter__(self) -> Self:
        self.start_controller()
        return self

    def __exit__(self, *_: object) -> None:
        self.processes.stop_all()

    # ---- processes ----------------------------------------------------------------------------------------------

    @property
    def address(self) -> Broker:
        """Where simulated devices connect to."""
        return Broker.at(self.stage.broker_url, self.stage.prefix)

    def controller_env(self) -> dict[str, str]:
        """Return the controller's environment."""
        return self.env

    def agent_env(self, device_id: str) -> dict[str, str]:  # noqa: ARG002  systems with certificates look at it
        """Return an agent's environment."""
        return self.env

    def start_controller(self) -> None:
        """Start the controller, and wait until it has store and broker."""
        self.processes.start("controller", self.stage.controller_argv, self.controller_env())
        wait_until(self.api.is_ready, PATIENCE_S, "the controller to be ready")

    def kill_controller(self) -> None:
        """End the controller as a power cut would."""
        self.processes.kill("controller")

    def agent(self, device_id: str) -> DemoDevice:
        """Return the device of an id."""
        return next(device for device in self.stage.devices if device.id == device_id)

    def start_agents(self, *device_ids: str) -> None:
        """Start the agents of these devices, all of them without any id, and wait until each has checked in."""
        chosen = [d for d in self.stage.devices if not device_ids or d.id in device_ids]
        for device in chosen:
            self.start_agent_without_waiting(device.id)
        self.wait_for_devices([device.id for device in chosen])

    def start_agent_without_waiting(self, device_id: str) -> None:
        """Start an agent."""
        self.processes.start(device_id, self.stage.agent_argv(self.agent(device_id)), self.agent_env(device_id))

    def wait_for_devices(self, ids: list[str], *, online: bool = True) -> None:
        """Wait until these devices have checked in and are connected, or until they are not connected."""

        def as_wanted() -> bool:
            known = self.api.devices()
            return all(i in known and known[i]["online"] is online and "last_check_in_at" in known[i] for i in ids)

        wait_until(as_wanted, PATIENCE_S, f"{len(ids)} devices to be {'on' if online else 'off'}line")

    def wait_until_idle(self, device_id: str) -> None:
        """Wait until an agent has tidied up after its update, and heard that the controller knows how it ended.

        The controller knows the end of an update before that: a test that goes on with the device itself has to wait.
        """
        config = load(self.agent(device_id).config, {})

        def is_idle() -> bool:
            try:
                status = next(iter(ask(config, "status", line_s=PATIENCE_S)))
            except AgentUnreachable:
                return False
            return "trying" not in status and status.get("unacknowledged_reports") == 0

        wait_until(is_idle, PATIENCE_S, f"{device_id} to be idle")

    # ---- releases and deployments -------------------------------------------------------------------------------

    def release(self, name: str, *types: str, size: int = SOFTWARE_SIZE) -> None:
        """Build, sign and upload a release, by default with one artifact for each device type."""
        for device_type in types or DEVICE_TYPES:
            self.artifact(name, device_type, size=size)

    def artifact(
        self,
        name: str,
        *types: str,
        size: int = SOFTWARE_SIZE,
        payload_type: str = "demo",
        **more: Any,  # noqa: ANN401  as ArtifactSpec takes it
    ) -> str:
        """Build, sign and upload one artifact for these device types; returns its id."""
        path = self.build(name, *types, size=size, payload_type=payload_type, **more)
        stored: str = self.api.upload(path)["id"]
        return stored

    def build(
        self,
        name: str,
        *types: str,
        size: int = SOFTWARE_SIZE,
        payload_type: str = "demo",
        **more: Any,  # noqa: ANN401  as above
    ) -> Path:
        """Build and sign one artifact for these device types; returns its file."""
        source = PayloadSource.from_bytes("software", software(name, types[0], size))
        spec = ArtifactSpec(name=name, device_types=types, payload_type=payload_type, files=(source,), **more)
        path = self.stage.folder / f"{name}-{types[0]}.mender"
        with path.open("wb") as file:
            write_module_image(file, spec, key=load_signing_key(self.stage.private_key))
        return path

    def release_by_mender_artifact(self, name: str, device_type: str, size: int = SOFTWARE_SIZE) -> None:
        """The same by the real tool."""
        payload, path = self.stage.folder / "software", self.stage.folder / f"{name}-{device_type}-real.mender"
        payload.write_bytes(software(name, device_type, size))
        options = ["-T", "demo", "-n", name, "-t", device_type, "-k", str(self.stage.private_key)]
        command = ["mender-artifact", "write", "module-image", *options, "-f", str(payload), "-o", str(path)]
        subprocess.run(command, check=True, capture_output=True)
        self.api.upload(path)

    def deploy(self, release: str, *device_ids: str, **order: object) -> str:
        """Create a deployment to these devices, to all without any; returns its id."""
        target: dict[str, object] = {"devices": list(device_ids)} if device_ids else {"all_devices": True}
        deployment_id: str = self.api.deploy(release=release, **target, **order)["id"]
        return deployment_id

    def finished(self, deployment_id: str, timeout_s: float = PATIENCE_S) -> Json:
        """Wait until a deployment is finished, however often the controller is away meanwhile; returns it."""

        def look() -> Json | None:
            try:
                deployment = self.api.deployment(deployment_id)
            except ApiError:
                return None
            return deployment if deployment["status"] == "finished" else None

        return wait_until(look, timeout_s, f"deployment {deployment_id} to be finished") or {}

    def part(self, deployment_id: str, device_id: str) -> Json:
        """Return one device's part in a deployment."""
        return self.api.parts(deployment_id)[device_id]

    def wait_for_part(self, deployment_id: str, device_id: str, status: str) -> Json:
        """Wait until a device stands at `status` in a deployment; returns its part."""

        def look() -> Json | None:
            part = self.api.parts(deployment_id).get(device_id)  # one that joins later has none yet
            return part if part is not None and part["status"] == status else None

        return wait_until(look, PATIENCE_S, f"{device_id} to be {status}") or {}

    def why(self, device_id: str) -> Json:
        """Return why a device is, or is not, being updated."""
        return self.api.call("GET", f"/devices/{device_id}/why")

    def wait_for_why(self, device_id: str, code: str) -> Json:
        """Wait until a device's `why` has this code; returns it."""

        def look() -> Json | None:
            why = self.why(device_id)
            return why if why["code"] == code else None

        return wait_until(look, PATIENCE_S, f"why {device_id} to be {code}") or {}

    def runs(self, device_id: str) -> str:
        """Return what a device really runs, read from its files: a release's name."""
        return name_of(self.agent(device_id).software).partition(" for ")[0]

    def act(self, deployment_id: str, action: str, reason: str = "") -> Json:
        """Do with a deployment what a person may do; returns the API's answer."""
        return self.api.call("POST", f"/deployments/{deployment_id}/{action}", json={"reason": reason})

    def remove(self, path: str) -> None:
        """Delete something; a refusal fails the test."""
        response = requests.delete(f"{self.stage.url}/api/v1{path}", timeout=30)
        assert response.status_code == 204, response.text

    def refusal(self, method: str, path: str, **how: Any) -> tuple[int, str]:  # noqa: ANN401  what requests takes
        """Return the status and the code with which the API refuses a request."""
        response = requests.request(method, f"{self.stage.url}/api/v1{path}", timeout=30, **how)
        assert not response.ok, f"{method} {path} was not refused: {response.text[:200]}"
        return response.status_code, response.json()["code"]

    def wait_for_deployment(self, deployment_id: str, what: str, is_so: Callable[[Json], object]) -> Json:
        """Wait until a deployment, as the API shows it, is as wanted; returns it."""

        def look() -> Json | None:
            deployment = self.api.deployment(deployment_id)
            return deployment if is_so(deployment) else None

        return wait_until(look, PATIENCE_S, f"deployment {deployment_id} to be {what}") or {}

    def told(self, deployment_id: str) -> list[tuple[str, str]]:
        """Return the timeline of a deployment as (who, what)."""
        return [(line["actor"], line["text"]) for line in self.api.timeline(deployment_id)]

    # ---- what must hold afterwards ------------------------------------------------------------------------------

    def refusals(self) -> dict[str, int]:
        """Return how many messages the controller has refused since it started, by reason."""
        text = requests.get(f"{self.stage.url}/metrics", timeout=30).text
        lines = [line for line in text.splitlines() if line.startswith("wainwright_messages_refused_total{")]
        return {line.split('"')[1]: int(line.rsplit(" ", 1)[1]) for line in lines}

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401  what SQLite holds
        """Return what the store's file says, past the controller."""
        path = self.stage.folder / "controller" / "wainwright.db"
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=PATIENCE_S)) as connection:
            return connection.execute(query, values).fetchall()

    def assert_exact(self, deployment_id: str, ids: list[str]) -> None:
        """Assert that every device has one final status, that counts add up, and that each finished once."""
        parts = self.rows(
            "SELECT device_id, phase, status FROM device_deployment WHERE deployment_id = ?", deployment_id
        )
        assert sorted(ids) == sorted(row[0] for row in parts)
        final = {str(status) for status in FINISHED}
        unfinished = [row for row in parts if row[2] not in final]
        assert not unfinished
        tally = self.rows("SELECT phase, status, n FROM tally WHERE deployment_id = ? AND n <> 0", deployment_id)
        counted = Counter((phase, status) for _, phase, status in parts)
        assert {(phase, status): n for phase, status, n in tally} == dict(counted)
        ends = self.rows(
            "SELECT device_id, text FROM event WHERE deployment_id = ? AND device_id IS NOT NULL", deployment_id
        )
        told = Counter(device_id for device_id, text in ends if text.partition(" ")[0] in final)
        assert dict(told) == dict.fromkeys(ids, 1)


def _heed_a_change_of_pace(module: Path) -> None:
    """Have a download that is under way go on at once when its device is not slow any more."""
    text = module.read_text(encoding="utf-8")
    assert text.count('sleep "$pace"') == 1
    heedful = 'if [ -f "$device/pace" ]; then sleep "$pace"; fi'
    module.write_text(text.replace('sleep "$pace"', heedful), encoding="utf-8")
