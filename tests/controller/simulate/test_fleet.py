"""A simulated fleet on a real broker: how it leaves, and what it says when there is none."""

from __future__ import annotations

import time
from pathlib import Path

from msgspec import json
from paho.mqtt import subscribe

from tests.agent.service.peers import Controller
from tests.support.mosquitto import Mosquitto
from tests.support.wait import free_port, wait_until
from wainwright_common.messages import Command, CommandName
from wainwright_common.topics import PREFIX, Kind, Topic
from wainwright_controller.simulate import Broker, Fleet, FleetSpec
from wainwright_controller.simulate.command import sentence


def retained(port: int, fleet: Fleet) -> list[bool]:
    """Return what the broker keeps about the presence of each device."""
    topics = [Topic(device_id, Kind.PRESENCE).text(PREFIX) for device_id in fleet.ids]
    heard = subscribe.simple(topics, qos=1, msg_count=len(topics), hostname="127.0.0.1", port=port)  # type: ignore[no-untyped-call]  # of paho
    return [json.decode(message.payload)["online"] for message in heard]


def test_a_fleet_that_ends_leaves_its_devices_offline(tmp_path: Path) -> None:
    with Mosquitto(tmp_path) as broker:
        with Fleet(FleetSpec(devices=5), Broker.at(f"mqtt://127.0.0.1:{broker.port}")) as fleet:
            wait_until(lambda: fleet.standing().connected == len(fleet.ids), what="the fleet to be connected")
            assert retained(broker.port, fleet) == [True] * len(fleet.ids)
        assert retained(broker.port, fleet) == [False] * len(fleet.ids)


def test_a_fleet_without_a_broker_says_why_it_is_not_connected() -> None:
    address = f"127.0.0.1:{free_port()}"
    with Fleet(FleetSpec(devices=1), Broker.at(f"mqtt://{address}")) as fleet:
        wait_until(lambda: fleet.standing().trouble, what="the first attempt")
        said = sentence(fleet, fleet.standing())
    assert f"No connection to {address}: [Errno 111] Connection refused." in said


def test_a_check_in_that_nobody_heard_is_sent_again_soon(mosquitto: Mosquitto) -> None:
    broker = Broker.at(mosquitto.url, "unheard")
    spec = FleetSpec(devices=1, check_in_s=3600, resend_s=0.05)
    with Fleet(spec, broker) as fleet:
        (device,) = fleet.devices.values()

        wait_until(lambda: device.messages[Kind.CHECK_IN] >= 3, what="the third check-in that nobody answers")


def test_a_check_in_that_was_answered_is_followed_by_the_next_when_it_is_due(tmp_path: Path) -> None:
    spec = FleetSpec(devices=1, check_in_s=3600, resend_s=0.05)
    with Mosquitto(tmp_path) as broker, Fleet(spec, Broker.at(broker.url)) as fleet:
        (device,) = fleet.devices.values()
        with Controller(broker.port, device.id) as controller:
            wait_until(lambda: device.replies, what="the answer to a check-in")
            answered = device._check_in_id  # a message is counted when the broker has it, which may be told later
            time.sleep(4 * spec.resend_s)  # twice as long as it would wait for an answer

            assert device._check_in_id == answered
            controller.send(Kind.COMMAND, Command(id="c-1", name=CommandName.CHECK_IN))
            wait_until(lambda: device._check_in_id != answered, what="the check-in that was asked for")
