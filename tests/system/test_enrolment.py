"""Agents that enrol by themselves, a controller with HTTPS, a Mosquitto that knows devices by their certificates."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import update

from tests.common.artifact.build import Recipe, header_info
from tests.controller.api.served import Served
from tests.support.enrolling_agent import PATIENCE_S, EnrollingAgent
from tests.support.tls_mosquitto import PASSWORD, USER, TlsMosquitto
from tests.support.wait import wait_until
from wainwright_controller.config import BrokerSection, Enrolment
from wainwright_controller.pki import Authority, Folder
from wainwright_controller.rows import CERTIFICATE

DAY = timedelta(days=1)
SOFTWARE = os.urandom(4 * 1024 * 1024)


class Plant:
    """A controller, a broker and their authority, in one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        pki = Folder(folder / "controller" / "pki")
        authority = Authority.create(pki, "Plant", datetime.now(UTC), 30 * DAY)
        authority.issue_server(["127.0.0.1"], pki.broker, pki.broker_key, datetime.now(UTC))
        self.pki = pki
        self.broker = TlsMosquitto(folder / "mosquitto", pki.path)
        section = BrokerSection(
            url=self.broker.url, username=USER, password=PASSWORD, pid_file=str(self.broker.folder / "pid")
        )
        self.served = Served(folder / "controller", self.broker, enrolment=Enrolment(enabled=True), section=section)

    def device(self, name: str) -> EnrollingAgent:
        """Return a device that knows the controller by its root's fingerprint, and is not started."""
        fingerprint = self.served.get("ca")["fingerprint"]
        url = self.served.url
        return EnrollingAgent(self.folder / name, name, url, self.broker.tls_url, ca_fingerprint=fingerprint)

    def age(self, name: str) -> None:
        """Have the controller take a device's certificate for an old one, so that it issues another."""
        with self.served.controller.store.write() as connection:
            mine = update(CERTIFICATE).where(CERTIFICATE.c.name == name)
            connection.execute(mine.values(issued_at=CERTIFICATE.c.issued_at - 40 * 86_400))

    def is_online(self, name: str) -> bool:
        """Say what the controller thinks."""
        answer = self.served.call("GET", f"/api/v1/devices/{name}")
        return bool(answer.ok and answer.json()["online"])


@pytest.fixture
def plant(tmp_path: Path) -> Iterator[Plant]:
    made = Plant(tmp_path)
    with made.broker, made.served:
        yield made


def release(plant: Plant, name: str) -> None:
    info = header_info(artifact_provides={"artifact_name": name}, artifact_depends={"device_type": ["pi4"]})
    blob = Recipe(header_info=info, files=(("app.bin", SOFTWARE),)).blob()
    assert plant.served.upload(blob).ok


def part_of(plant: Plant, deployment: str, device: str) -> str:
    parts = plant.served.get(f"deployments/{deployment}/devices")["items"]
    return next((str(part["status"]) for part in parts if part["device_id"] == device), "")


@pytest.mark.long  # security/test_enrolled_fleet.py has it with the printed configuration
def test_of_two_devices_one_is_accepted_and_updated_and_the_other_rejected(plant: Plant) -> None:
    good, bad = plant.device("good"), plant.device("bad")
    with good, bad:
        key = good.wait_until_waiting()
        bad.wait_until_waiting()
        assert {one["device"]: one["digest"] for one in plant.served.get("enrolment/keys")["items"]}["good"] == key
        plant.served.post("devices/reject", {"ids": ["bad"]})
        plant.served.post("devices/accept", {"ids": ["good"]})

        good.wait_until_connected()
        wait_until(lambda: plant.is_online("good"), PATIENCE_S, "the device to be online")
        release(plant, "panel-2")
        made = plant.served.deploy("panel-2", "good")
        wait_until(lambda: part_of(plant, made["id"], "good") == "success", PATIENCE_S, "the update")

        assert (good.folder / "software").read_bytes() == SOFTWARE  # over HTTPS of the same authority
        assert bad.wait_for_trouble("refused")["reason"] == "rejected"
        assert not bad.files.device.exists()
        assert "link" in bad.status()
        assert not bad.status()["link"]["connected"]


@pytest.mark.long  # as above
def test_a_device_that_is_decommissioned_while_it_downloads_is_cut_off(plant: Plant) -> None:
    device = plant.device("gone")
    plant.served.post("devices/preauthorize", {"ids": ["gone"]})
    with device:
        device.wait_until_waiting()
        plant.served.post("devices/accept", {"ids": ["gone"]})
        device.wait_until_connected()
        release(plant, "panel-2")
        made = plant.served.deploy("panel-2", "gone", policy={"bytes_per_second": 100_000})
        wait_until(lambda: part_of(plant, made["id"], "gone") == "downloading", PATIENCE_S, "the download")

        plant.served.post("devices/gone/decommission")

        assert part_of(plant, made["id"], "gone") == "decommissioned"
        wait_until(lambda: not plant.is_online("gone"), PATIENCE_S, "the session to end")
        wait_until(lambda: "certificate verify failed" in plant.broker.log, PATIENCE_S, "the broker to refuse it")
        # It was told before it was cut off, so it does not install what it is fetching.
        device.wait_until_stopped()
        assert device.status()["artifact_name"] != "panel-2"
        code, said = device.wain("enrol", "--renew")
        assert (code, "taken out of the fleet" in said) == (4, True)
        assert not device.status()["link"]["connected"]


def test_a_certificate_is_renewed_in_time_and_the_link_shows_the_new_one(plant: Plant) -> None:
    device = plant.device("press-07")
    with device:
        device.wait_until_waiting()
        plant.served.post("devices/accept", {"ids": ["press-07"]})
        device.wait_until_connected()
    first = device.record.holding
    assert first is not None
    share = (first.renew_at - first.begins_at) / (first.ends_at - first.begins_at)
    assert 0.6 < share < 0.72
    plant.age("press-07")
    device.make_due()

    with device:
        wait_until(lambda: _serial(device) not in {"", first.serial}, PATIENCE_S, "the renewal")
        # Connected with the one, then with the other; the controller sees it all the time.
        wait_until(lambda: device.log.count("connected to") >= 3, PATIENCE_S, "the link to come back")
        device.wait_until_connected()
        wait_until(lambda: plant.is_online("press-07"), PATIENCE_S, "the controller to have heard it")
    assert "connects to" in device.log
    serials = [one["serial"] for one in plant.served.get("certificates", name="press-07")["items"]]
    assert sorted(serials) == sorted([first.serial, _serial(device)])


def _serial(device: EnrollingAgent) -> str:
    holding = device.record.holding
    return holding.serial if holding is not None else ""


@pytest.mark.long
def test_a_renewal_that_fails_is_tried_again_and_the_certificate_stays_in_use(plant: Plant) -> None:
    device = plant.device("press-07")
    with device:
        device.wait_until_waiting()
        plant.served.post("devices/accept", {"ids": ["press-07"]})
        device.wait_until_connected()
    first = _serial(device)
    before = device.files.device.read_bytes()
    plant.age("press-07")
    device.make_due()
    plant.served.stop()

    with device:
        device.wait_until_connected()  # to the broker, which is still there
        wait_until(lambda: device.enrolment().get("trouble"), PATIENCE_S, "an attempt to fail")
        assert "Cannot reach the controller" in device.enrolment()["trouble"]["text"]
        assert device.files.device.read_bytes() == before
        assert device.enrolment()["asks_in_s"] > 0
        code, said = device.wain("test")
        assert (code, "not renewed" in said) == (1, True)
        plant.served.start()
        assert device.wain("enrol", "--renew")[0] == 0  # as it would have done by itself a little later
        wait_until(lambda: _serial(device) != first, PATIENCE_S, "the renewal")
        device.wait_until_connected()


def test_an_agent_that_is_killed_while_it_waits_goes_on_with_the_same_key(plant: Plant) -> None:
    device = plant.device("press-07").start()
    key = device.wait_until_waiting()
    device.kill()
    plant.served.post("devices/accept", {"ids": ["press-07"]})

    with device:
        device.wait_until_connected()
        assert device.enrolment()["key"] == key
    assert [one["digest"] for one in plant.served.get("devices/press-07")["keys"]] == [key]


@pytest.mark.long
def test_a_device_whose_issuing_authority_was_taken_back_gets_another_certificate_by_itself(plant: Plant) -> None:
    device = plant.device("press-07")
    with device:
        device.wait_until_waiting()
        plant.served.post("devices/accept", {"ids": ["press-07"]})
        device.wait_until_connected()
        first = _serial(device)
        former = plant.served.get("ca")["issuers"][0]["id"]

        plant.served.post("ca/rotate")
        plant.served.post("ca/retire", {"issuer": former})
        plant.broker.kill()
        plant.broker.start()

        wait_until(lambda: _serial(device) != first, PATIENCE_S, "another certificate")
        device.wait_until_connected()


@pytest.mark.long
def test_a_device_that_starts_in_1970_enrols_as_soon_as_its_clock_is_set(plant: Plant, tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("@1970-01-01 00:05:00", encoding="ascii")
    device = plant.device("press-07")
    plant.served.post("devices/preauthorize", {"ids": ["press-07"]})
    device.env = {
        "LD_PRELOAD": "/usr/$LIB/faketime/libfaketime.so.1",
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    with device:
        wait_until(lambda: "This device's clock shows 1970-01-01" in device.log, PATIENCE_S, "the word about the clock")
        assert plant.served.get("enrolment/keys", device="press-07")["items"] == []
        began = time.monotonic()

        clock.write_text("+0", encoding="ascii")

        device.wait_until_waiting()
        assert time.monotonic() - began < PATIENCE_S
        plant.served.post("devices/accept", {"ids": ["press-07"]})
        device.wait_until_connected()
    assert "the clock was set" in device.log


@pytest.mark.long
def test_the_brokers_certificate_is_looked_at_as_well(plant: Plant, tmp_path: Path) -> None:
    """A broker that another authority has certified is not the broker."""
    other = Authority.create(Folder(tmp_path / "other"), "Other", datetime.now(UTC), DAY)
    device = plant.device("press-07")
    with device:
        device.wait_until_waiting()
        plant.served.post("devices/accept", {"ids": ["press-07"]})
        device.wait_until_connected()
        plant.broker.stop()
        theirs = other.folder
        other.issue_server(["127.0.0.1"], theirs.broker, theirs.broker_key, datetime.now(UTC))
        plant.pki.broker.write_bytes(theirs.broker.read_bytes())
        plant.pki.broker_key.write_bytes(theirs.broker_key.read_bytes())
        plant.broker.start()
        wait_until(
            lambda: "certificate verify failed" in str(device.status().get("link", {}).get("error")),
            PATIENCE_S,
            "the broker to be refused",
        )
