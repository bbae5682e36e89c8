"""However many ask at once, and however many controllers answer: never more offers than the open phase has places."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import func, select

from tests.controller.conftest import make_artifact
from tests.support.clients import end_client
from tests.support.mosquitto import Mosquitto
from tests.support.postgresql import Postgresql
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_common.messages import CheckIn, CheckInReason, Reply, encode
from wainwright_common.topics import PREFIX, Kind, Topic
from wainwright_controller.config import BrokerSection, Config, StoreSection
from wainwright_controller.controller import Controller
from wainwright_controller.operations import Order
from wainwright_controller.records import Opens
from wainwright_controller.rows import PART, TALLY
from wainwright_controller.rules.phases import PhaseSpec

DEVICES, PLACES = 200, 50
IDS = [f"d{number:03}" for number in range(DEVICES)]


@pytest.fixture(params=["one-controller-on-sqlite", "two-controllers-on-postgresql"])
def controllers(request: pytest.FixtureRequest, tmp_path: Path, own_mosquitto: Mosquitto) -> Iterator[list[Controller]]:
    """All controllers of a fleet, on one store and one broker."""
    with ExitStack() as stack:
        if request.param == "one-controller-on-sqlite":
            configs = [Config(data_dir=tmp_path / "c", broker=BrokerSection(url=own_mosquitto.url))]
        else:
            server: Postgresql = request.getfixturevalue("postgresql")
            store = StoreSection(url=server.database())
            brokers = [BrokerSection(url=own_mosquitto.url, client_id=f"controller-{n}", share="all") for n in range(2)]
            configs = [Config(data_dir=tmp_path / b.client_id, broker=b, store=store) for b in brokers]
        running = [Controller(config, "http://127.0.0.1:9") for config in configs]
        running[0].operations.add_artifact(make_artifact(), "test")
        running[0].operations.preauthorize(IDS, "test")
        for controller in running:
            controller.start()
            stack.callback(controller.stop)
        for controller in running:
            assert controller.link.connected.wait(PATIENCE_S)
        yield running


def check_in(device_id: str) -> CheckIn:
    return CheckIn(
        id=device_id,
        reason=CheckInReason.TIMER,
        device_type="pi4",
        provides={"artifact_name": "panel-1"},
        boot_id="b",
        agent_version="1",
        inventory_digest="0" * 64,
    )


def ask_at_once(port: int) -> dict[str, Reply]:
    """Have every device check in, as fast as one connection can send; returns what each is answered."""
    replies: dict[str, Reply] = {}
    ready = threading.Event()
    fleet = paho.Client(CallbackAPIVersion.VERSION2)
    fleet.max_inflight_messages_set(DEVICES)
    fleet.on_subscribe = lambda *_: ready.set()

    def on_message(_client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        replies[message.topic.split("/")[2]] = msgspec.json.decode(message.payload, type=Reply)

    fleet.on_message = on_message
    fleet.connect("127.0.0.1", port)
    fleet.loop_start()
    fleet.subscribe(f"{PREFIX}/+/{Kind.REPLY.value}", qos=1)
    assert ready.wait(PATIENCE_S)
    for device_id in IDS:
        fleet.publish(Topic(device_id, Kind.CHECK_IN).text(PREFIX), encode(check_in(device_id)), qos=1)
    wait_until(lambda: len(replies) == DEVICES, what="all replies")
    end_client(fleet)
    return replies


def test_two_hundred_check_ins_at_once_against_a_phase_of_fifty_give_exactly_fifty_offers(
    controllers: list[Controller], own_mosquitto: Mosquitto
) -> None:
    ask_at_once(own_mosquitto.port)  # so that the fleet is known, with its types
    phases = [PhaseSpec(count=PLACES), PhaseSpec(opens=Opens.APPROVAL)]
    order = Order(release="panel-2", where='device_type = "pi4"', phases=phases)
    deployment = controllers[0].operations.create_deployment(order, "test")
    before = [controller.counts.taken["up/check-in"] for controller in controllers]

    first = ask_at_once(own_mosquitto.port)
    again = ask_at_once(own_mosquitto.port)

    took = [c.counts.taken["up/check-in"] - n for c, n in zip(controllers, before, strict=True)]
    assert sum(took) == 2 * DEVICES
    assert min(took) > 0
    for replies in (first, again):
        offered = {i for i, reply in replies.items() if reply.offer is not msgspec.UNSET}
        assert len(offered) == PLACES
        refused = {reply.why.code for i, reply in replies.items() if reply.why is not msgspec.UNSET}
        assert refused == {"phase-closed"}
    assert {i for i, r in first.items() if r.offer is not msgspec.UNSET} == {
        i for i, r in again.items() if r.offer is not msgspec.UNSET
    }
    with controllers[-1].store.read() as connection:
        mine = PART.c.deployment_id == deployment.id
        assert connection.execute(select(func.count()).where(mine, PART.c.offered.is_(True))).scalar_one() == PLACES
        key = (PART.c.phase, PART.c.status)
        counted = {tuple(row) for row in connection.execute(select(*key, func.count()).where(mine).group_by(*key))}
        tally = select(TALLY.c.phase, TALLY.c.status, TALLY.c.n).where(TALLY.c.n != 0)
        assert counted == {tuple(row) for row in connection.execute(tally)}
