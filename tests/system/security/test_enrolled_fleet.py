"""Real agents that enrol by themselves, on the broker as we print it and on the embedded one by TLS.

The controller has an authority of its own, and HTTPS; nothing here makes a certificate but they.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.common.artifact.build import Recipe, header_info
from tests.controller.api.served import Served
from tests.support.authority import Credentials
from tests.support.enrolling_agent import PATIENCE_S, EnrollingAgent
from tests.support.tls_mosquitto import PASSWORD, USER, TlsMosquitto
from tests.support.wait import wait_until
from tests.system.security.attacker import Attacker, Refused
from wainwright_controller.config import BrokerSection, Enrolment
from wainwright_controller.pki import Authority, Folder
from wainwright_controller.warden import SETTLE_S

SOFTWARE = bytes(range(256)) * 4096 * 4  # 4 MiB: 40 s by the limit below
SLOW = {"bytes_per_second": 100_000}


class Plant(NamedTuple):
    """A controller, and where devices reach its broker."""

    folder: Path
    served: Served
    broker_url: Callable[[], str]

    def device(self, name: str) -> EnrollingAgent:
        """Return a device that knows the controller by its root's fingerprint, and is not started."""
        fingerprint = self.served.get("ca")["fingerprint"]
        url = self.served.url
        return EnrollingAgent(self.folder / name, name, url, self.broker_url(), ca_fingerprint=fingerprint)

    def deploy(self, name: str, *devices: str, **order: object) -> str:
        """Make a release and a deployment of it; returns the deployment's id."""
        info = header_info(artifact_provides={"artifact_name": name}, artifact_depends={"device_type": ["pi4"]})
        assert self.served.upload(Recipe(header_info=info, files=(("app.bin", SOFTWARE),)).blob()).ok
        deployment_id: str = self.served.deploy(name, *devices, **order)["id"]
        return deployment_id

    def part(self, deployment_id: str, device: str) -> str:
        """Return a device's status in a deployment."""
        parts = self.served.get(f"deployments/{deployment_id}/devices")["items"]
        return next((str(part["status"]) for part in parts if part["device_id"] == device), "")

    def is_online(self, name: str) -> bool:
        """Say what the controller thinks."""
        answer = self.served.call("GET", f"/api/v1/devices/{name}")
        return bool(answer.ok and answer.json()["online"])

    def is_let_in(self, device: EnrollingAgent) -> bool:
        """Say whether the broker takes the certificate that a device has, from a client that is not its agent."""
        shown = Credentials(self.folder / "controller" / "pki" / "ca.pem", device.files.device, device.files.key)
        port = int(self.broker_url().rpartition(":")[2])
        prefix = self.served.config.broker.prefix
        try:
            with Attacker(port, shown, device.name, prefix=prefix, version="3.1.1"):
                return True
        except Refused:
            return False


@pytest.fixture(params=["mosquitto", pytest.param("embedded", marks=pytest.mark.long)])
def plant(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Plant]:
    """One on each broker."""
    pki = Folder(tmp_path / "controller" / "pki")
    broker = TlsMosquitto(tmp_path / "mosquitto", pki.path)
    section = BrokerSection(tls=True, port=0)
    with ExitStack() as running:
        if request.param == "mosquitto":
            authority = Authority.create(pki, "Plant", datetime.now(UTC), timedelta(days=30))
            authority.issue_server(["127.0.0.1"], pki.broker, pki.broker_key, datetime.now(UTC))
            running.enter_context(broker)
            section = BrokerSection(url=broker.url, username=USER, password=PASSWORD, pid_file=str(broker.pid_file))
        served = Served(tmp_path / "controller", broker, enrolment=Enrolment(enabled=True), section=section)
        running.enter_context(served)
        embedded = served.controller.broker
        yield Plant(tmp_path, served, lambda: broker.tls_url if embedded is None else embedded.url)


@pytest.mark.timeout(300)  # a minute where nothing else runs: one download takes 40 s
def test_of_two_devices_that_enrol_one_is_updated_then_cut_off_in_a_download_and_the_other_rejected(
    plant: Plant,
) -> None:
    good, bad, third = plant.device("good"), plant.device("bad"), plant.device("third")
    with good, bad, third:
        for device in (good, bad, third):
            device.wait_until_waiting()
        plant.served.post("devices/reject", {"ids": ["bad"]})
        plant.served.post("devices/accept", {"ids": ["good", "third"]})

        # One is accepted, gets its certificate and is updated.
        for device in (good, third):
            device.wait_until_connected()
        first = plant.deploy("panel-2", "good")
        wait_until(lambda: plant.part(first, "good") == "success", PATIENCE_S, "the update")
        assert (good.folder / "software").read_bytes() == SOFTWARE

        # The other is rejected, has no certificate and is not connected.
        assert bad.wait_for_trouble("refused")["reason"] == "rejected"
        assert not bad.files.device.exists()
        assert not bad.status()["link"]["connected"]

        # One is decommissioned while it downloads.
        second = plant.deploy("panel-3", "good", "third", policy=SLOW)
        wait_until(lambda: plant.part(second, "good") == "downloading", PATIENCE_S, "the download")
        plant.served.post("devices/good/decommission")

        assert plant.part(second, "good") == "decommissioned"
        wait_until(lambda: not plant.is_online("good"), PATIENCE_S, "its session to end")
        wait_until(lambda: not plant.is_let_in(good), PATIENCE_S + SETTLE_S, "its certificate to be refused")
        good.wait_until_stopped()
        assert good.status()["artifact_name"] == "panel-2"
        assert not good.status()["link"]["connected"]
        assert plant.part(second, "good") == "decommissioned"

        # And whoever has nothing to do with it goes on.
        assert third.status()["link"]["connected"]
        assert plant.is_online("third")
        wait_until(lambda: plant.part(second, "third") == "success", PATIENCE_S, "the other's update")


@pytest.mark.long  # test_warden.py has it with clients that are no agents
def test_a_certificate_that_is_revoked_on_demand_ends_the_session_and_the_others_stay(plant: Plant) -> None:
    lost, other = plant.device("lost.01"), plant.device("other")
    with lost, other:
        for device in (lost, other):
            device.wait_until_waiting()
        plant.served.post("devices/accept", {"ids": ["lost.01", "other"]})
        for device in (lost, other):
            device.wait_until_connected()
        connections = other.log.count("connected to")

        plant.served.post("devices/lost.01/revoke", {"reason": "key-compromise"})

        wait_until(lambda: not plant.is_online("lost.01"), PATIENCE_S, "its session to end")
        wait_until(lambda: not plant.is_let_in(lost), PATIENCE_S + SETTLE_S, "its certificate to be refused")
        assert plant.is_online("other")
        assert other.status()["link"]["connected"]
        assert other.log.count("connected to") == connections
