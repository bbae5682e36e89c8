"""Device traffic where databases differ: a server that goes away, and texts as long as the protocol allows."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select

from tests.controller.conftest import make_artifact
from tests.support.device import Device
from tests.support.mosquitto import Mosquitto
from tests.support.postgresql import Postgresql
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_common.messages import Ack, CheckIn, CheckInReason, Reply, Verdict
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind
from wainwright_controller.config import BrokerSection, Config, StoreSection
from wainwright_controller.controller import Controller
from wainwright_controller.operations import Order
from wainwright_controller.rows import DEVICE, PART


def test_texts_as_long_as_the_protocol_allows_are_stored(controller: Controller, own_mosquitto: Mosquitto) -> None:
    longest = CheckIn(
        id="i" * 64,
        reason=CheckInReason.TIMER,
        device_type="\U0001f600" * 256,
        provides={"artifact_name": "\u00e9" * 4096},
        boot_id="b" * 64,
        agent_version="v" * 64,
        inventory_digest="0" * 64,
    )
    with Device(own_mosquitto.port, "d" * 128) as device:
        device.send(Kind.CHECK_IN, longest)
        assert device.receive(Reply).why is not msgspec.UNSET

    with controller.store.read() as connection:
        stored = connection.execute(select(DEVICE)).mappings().one()
    assert (stored["id"], stored["device_type"]) == ("d" * 128, "\U0001f600" * 256)
    assert stored["artifact_name"] == "\u00e9" * 256
    assert controller.counts.refused == {}


def test_what_arrives_while_postgresql_is_down_is_stored_when_it_is_back(
    own_mosquitto: Mosquitto, own_postgresql: Postgresql, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "wainwright_controller.ingest.pipeline")
    store = StoreSection(url=own_postgresql.database())
    config = Config(data_dir=tmp_path / "c", broker=BrokerSection(url=own_mosquitto.url), store=store)
    controller = Controller(config, "http://127.0.0.1:9")
    controller.operations.add_artifact(make_artifact(), "test")
    controller.operations.preauthorize(["press-07"], "test")
    controller.start()
    try:
        assert controller.link.connected.wait(PATIENCE_S)
        with Device(own_mosquitto.port, "press-07") as device:
            deployment = controller.operations.create_deployment(Order(release="panel-2", devices=["press-07"]), "test")
            device.check_in()
            device.drain()
            own_postgresql.kill()
            told = {
                "deployment_id": deployment.id,
                "attempt": 1,
                "seq": 1,
                "status": DeviceStatus.SUCCESS,
                "boot_id": "b",
                "at": "2026-11-22T09:14:03Z",
            }
            device.send_raw("wain/v1/press-07/up/report", msgspec.json.encode(told))
            wait_until(lambda: "the store refuses 1 messages" in caplog.text, what="the refusal")

            own_postgresql.start()

            wait_until(lambda: "the store takes messages again" in caplog.text, what="the store's return")
            device.patience_s = PATIENCE_S
            assert device.receive(Ack).verdict is Verdict.ACCEPTED
        with controller.store.read() as connection:
            assert connection.execute(select(PART.c.status)).scalar_one() == DeviceStatus.SUCCESS
    finally:
        controller.stop()
    assert controller.counts.refused == {}
