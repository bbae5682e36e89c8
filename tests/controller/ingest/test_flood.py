"""One device that sends without end, over a real broker, beside others that do not."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
from sqlalchemy import func, select

from benchmarks.mqtt_load import publish_all, publish_packet
from tests.controller.conftest import accepted
from tests.support.device import Device
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_common.messages import Verdict
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind, Topic
from wainwright_controller.controller import Controller
from wainwright_controller.ingest.budgets import BUDGETS
from wainwright_controller.operations import Order
from wainwright_controller.rows import LOG_LINE, PART

MESSAGES = 20_000  # of one kind, in some seconds


def flood(kind: Kind, deployment_id: str) -> Iterator[bytes]:
    """Yield packets of good messages of one kind, no two alike, the last of which is told from the others."""
    now, topic = "2026-11-22T09:14:03Z", Topic("loud", kind).text()
    for number in range(1, MESSAGES + 1):
        is_last = number == MESSAGES
        body: dict[Kind, dict[str, object]] = {
            Kind.PRESENCE: {"online": not is_last, "since": now, "agent_version": str(number)},
            Kind.INVENTORY: {"digest": f"{number:064x}", "attributes": {"n": number}},
            Kind.CHECK_IN: {
                "id": str(number),
                "reason": "timer",
                "device_type": "pi4",
                "provides": {"artifact_name": str(number)},
                "boot_id": "b",
                "agent_version": "1",
                "inventory_digest": "0" * 64,
            },
            Kind.REPORT: {
                "deployment_id": deployment_id,
                "attempt": 1,
                "seq": number,
                "status": "success" if is_last else "downloading",
                "boot_id": "b",
                "at": now,
            },
            Kind.LOG: {
                "deployment_id": deployment_id,
                "attempt": 1,
                "first": number,
                "lines": [{"at": now, "level": "info", "text": "again"}],
            },
        }
        yield publish_packet(topic, msgspec.json.encode(body[kind]), number)


def newest(controller: Controller, kind: Kind) -> bool:
    """Say whether the last message of the flood has come into the store."""
    with controller.store.read() as connection:
        device = connection.exec_driver_sql(
            "SELECT online, artifact_name, inventory_digest FROM device WHERE id = 'loud'"
        ).one()
        status = connection.execute(select(PART.c.status).where(PART.c.device_id == "loud")).scalar_one()
    came: dict[Kind, bool] = {
        Kind.PRESENCE: not device.online,
        Kind.INVENTORY: device.inventory_digest == f"{MESSAGES:064x}",
        Kind.CHECK_IN: device.artifact_name == str(MESSAGES),
        Kind.REPORT: status == "success",
    }
    return came[kind]


@pytest.mark.parametrize("kind", list(BUDGETS), ids=[kind.name.lower() for kind in BUDGETS])
def test_a_flood_costs_no_more_than_its_budget_and_others_go_on(
    controller: Controller, own_mosquitto: Mosquitto, kind: Kind
) -> None:
    accepted(controller, "loud", "calm")
    deployment = controller.operations.create_deployment(Order(release="panel-2", all_devices=True), "test")
    with Device(own_mosquitto.port, "loud") as loud, Device(own_mosquitto.port, "calm") as calm:
        loud.check_in()
        calm.check_in()
        calm.patience_s = PATIENCE_S  # on a slow machine its messages wait behind many of the other's
        before, begun = dict(controller.counts.taken), time.monotonic()
        packets = list(flood(kind, deployment.id))
        flooding = threading.Thread(target=publish_all, args=(own_mosquitto.port, packets))
        flooding.start()
        for seq in range(1, 20):
            assert calm.report(deployment.id, seq, DeviceStatus.DOWNLOADING).verdict is Verdict.ACCEPTED
            assert calm.check_in().offer is not msgspec.UNSET
        assert calm.report(deployment.id, 20, DeviceStatus.SUCCESS).status is DeviceStatus.SUCCESS
        flooding.join()

        def all_came() -> bool:
            taken = controller.counts.taken[kind.value] - before.get(kind.value, 0)
            return taken + controller.counts.throttled[kind.value.rpartition("/")[2]] >= MESSAGES

        wait_until(all_came, what="the flood to be over")
        taken = controller.counts.taken[kind.value] - before.get(kind.value, 0)
        taken_max = BUDGETS[kind].burst + BUDGETS[kind].per_s * (time.monotonic() - begun) + 1
        assert taken <= taken_max + 40  # the other device's
        if BUDGETS[kind].keeps_latest:
            wait_until(lambda: newest(controller, kind), what="the newest message to be taken")
        else:
            with controller.store.read() as connection:
                lines = connection.execute(select(func.count()).select_from(LOG_LINE)).scalar_one()
            assert BUDGETS[kind].burst <= lines <= taken_max
