"""Device traffic, from a real broker through the rules into a real store and back."""

from __future__ import annotations

import random

import msgspec
import pytest
from pytest_mock import MockerFixture
from sqlalchemy import func, select, update
from sqlalchemy.exc import OperationalError

from tests.controller.conftest import accepted
from tests.support.device import Device
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_common.messages import (
    Ack,
    Attributes,
    Command,
    CommandName,
    Inventory,
    Line,
    LogLines,
    Reason,
    Reply,
    Verdict,
    inventory_digest,
)
from wainwright_common.statuses import DeviceStatus, Outcome
from wainwright_common.topics import Kind
from wainwright_controller.controller import Controller
from wainwright_controller.ingest.intake import Delivery
from wainwright_controller.operations import Order
from wainwright_controller.records import DeviceState, Opens
from wainwright_controller.rows import DEPLOYMENT, DEVICE, EVENT, LOG_LINE, PART, TALLY
from wainwright_controller.rules.phases import PhaseSpec
from wainwright_controller.rules.selection import choose

BACKOFF_S = 600.0  # longer than a test lasts


def rows(controller: Controller, table: object) -> list[dict[str, object]]:
    with controller.store.read() as connection:
        return [dict(row) for row in connection.execute(select(table)).mappings()]  # type: ignore[call-overload]


def counts_are_exact(controller: Controller) -> bool:
    with controller.store.read() as connection:
        counted = connection.execute(
            select(PART.c.deployment_id, PART.c.phase, PART.c.status, func.count()).group_by(
                PART.c.deployment_id, PART.c.phase, PART.c.status
            )
        )
        tally = connection.execute(select(TALLY).where(TALLY.c.n != 0))
        return {tuple(row) for row in counted} == {tuple(row) for row in tally}


def test_a_new_device_is_pending_and_told_so_until_somebody_accepts_it(
    controller: Controller, own_mosquitto: Mosquitto
) -> None:
    with Device(own_mosquitto.port, "press-07") as device:
        reply = device.check_in()
        assert reply.why is not msgspec.UNSET
        assert reply.why.code == "not-accepted"
        assert rows(controller, DEVICE)[0]["state"] == "pending"

        controller.operations.decide_devices(["press-07"], DeviceState.ACCEPTED, "test")

        assert device.woken().name is CommandName.CHECK_IN
        reply = device.check_in()
        assert reply.why is not msgspec.UNSET
        assert reply.why.code == "no-deployment"


def test_what_a_technician_has_installed_is_noted_once_in_the_devices_history(
    controller: Controller, own_mosquitto: Mosquitto
) -> None:
    with Device(own_mosquitto.port, "press-07") as device:
        device.check_in()
        device.running = "panel-2"
        device.check_in(by_hand=True)
        device.check_in(by_hand=True)
        device.running = "panel-3"
        device.check_in()

    noted = [str(row["text"]) for row in rows(controller, EVENT) if "by hand" in str(row["text"])]
    assert noted == ["panel-2 was installed in place of panel-1 by hand"]


def test_an_inventory_is_asked_for_until_the_digests_agree(controller: Controller, own_mosquitto: Mosquitto) -> None:
    attributes: Attributes = {"mem_mb": 512, "mac": ["a", "b"]}
    with Device(own_mosquitto.port, "press-07") as device:
        device.digest = inventory_digest(attributes)
        assert device.check_in().send_inventory

        device.send(Kind.INVENTORY, Inventory(digest=device.digest, attributes=attributes))

        assert not device.check_in().send_inventory
        assert msgspec.json.decode(str(rows(controller, DEVICE)[0]["attributes"])) == attributes


def test_a_deployment_goes_from_the_wake_to_the_success(controller: Controller, own_mosquitto: Mosquitto) -> None:
    accepted(controller, "press-07")
    with Device(own_mosquitto.port, "press-07") as device:
        device.announce()
        deployment = controller.operations.create_deployment(Order(release="panel-2", devices=["press-07"]), "test")

        assert device.woken().name is CommandName.CHECK_IN
        reply = device.check_in()
        assert isinstance(reply, Reply)
        assert reply.offer is not msgspec.UNSET
        assert (reply.offer.deployment_id, reply.offer.attempt) == (deployment.id, 1)
        assert reply.offer.artifact.uri.startswith("http://127.0.0.1:9/download/a1?")
        for seq, status in enumerate(("downloading", "installing", "rebooting", "installing", "success"), 1):
            ack = device.report(deployment.id, seq, DeviceStatus(status))
            assert (ack.verdict, ack.status) == (Verdict.ACCEPTED, status)

        finished = rows(controller, DEPLOYMENT)[0]
        assert (finished["status"], finished["outcome"]) == ("finished", Outcome.SUCCESS)
        assert rows(controller, PART)[0]["former_name"] == "panel-1"
        assert counts_are_exact(controller)
        told = [row["text"] for row in rows(controller, EVENT) if row["deployment_id"] == deployment.id]
        assert told == [
            "created for 1 device",
            "phase 1 of 1 opened",
            "inprogress",
            "downloading",
            "installing",
            "rebooting",
            "installing",
            "success",
            "phase 1 of 1 is done",
            "finished: success",
        ]


def test_a_failure_is_offered_again_when_its_time_comes_and_an_old_attempt_is_stale(
    controller: Controller, own_mosquitto: Mosquitto, mocker: MockerFixture
) -> None:
    mocker.patch("wainwright_controller.rules.retries.BACKOFF_FIRST_S", BACKOFF_S)
    accepted(controller, "press-07")
    with Device(own_mosquitto.port, "press-07") as device:
        order = Order(release="panel-2", devices=["press-07"], retries=1)
        deployment = controller.operations.create_deployment(order, "test")
        device.woken()
        device.check_in()
        device.report(deployment.id, 1, DeviceStatus.DOWNLOADING)
        error = Reason(code="download-failed", text="cut")
        ack = device.report(deployment.id, 2, DeviceStatus.FAILURE, error=error)
        assert (ack.verdict, ack.status) == (Verdict.ACCEPTED, DeviceStatus.PENDING)

        early = device.check_in()
        assert early.why is not msgspec.UNSET
        assert early.why.code == "retry-later"
        assert 0 < early.check_in_after_s <= 2 * BACKOFF_S
        with controller.store.write() as connection:
            connection.execute(update(PART).values(next_attempt_at=1.0))

        assert device.woken().name is CommandName.CHECK_IN
        reply = device.check_in()
        assert reply.offer is not msgspec.UNSET
        assert reply.offer.attempt == 2
        assert device.report(deployment.id, 3, DeviceStatus.SUCCESS, attempt=1).verdict is Verdict.STALE
        assert device.report(deployment.id, 1, DeviceStatus.SUCCESS, attempt=2).verdict is Verdict.ACCEPTED
        assert counts_are_exact(controller)


def test_silence_becomes_a_failure_by_time_limit(controller: Controller, own_mosquitto: Mosquitto) -> None:
    accepted(controller, "press-07")
    with Device(own_mosquitto.port, "press-07") as device:
        order = Order(release="panel-2", devices=["press-07"], in_progress_timeout_s=0.5)
        deployment = controller.operations.create_deployment(order, "test")
        device.check_in()
        device.report(deployment.id, 1, DeviceStatus.DOWNLOADING)

        wait_until(lambda: rows(controller, PART)[0]["status"] == "failure", what="the time limit")

        assert rows(controller, PART)[0]["error_code"] == "timeout"
        assert rows(controller, DEPLOYMENT)[0]["outcome"] == Outcome.FAILURE
        assert device.report(deployment.id, 2, DeviceStatus.SUCCESS).verdict is Verdict.STALE


def test_a_phase_that_is_done_opens_the_next_and_wakes_its_devices(
    controller: Controller, own_mosquitto: Mosquitto
) -> None:
    accepted(controller, "a", "b")
    with Device(own_mosquitto.port, "a") as first, Device(own_mosquitto.port, "b") as second:
        order = Order(release="panel-2", devices=["a", "b"], phases=[PhaseSpec(count=1), PhaseSpec()])
        deployment = controller.operations.create_deployment(order, "test")
        first.woken()
        closed = second.check_in()
        assert closed.why is not msgspec.UNSET
        assert closed.why.code == "phase-closed"
        first.check_in()
        first.report(deployment.id, 1, DeviceStatus.SUCCESS)

        assert second.woken().name is CommandName.CHECK_IN
        assert second.check_in().offer is not msgspec.UNSET


def test_a_phase_after_a_delay_opens_by_the_clock(controller: Controller, own_mosquitto: Mosquitto) -> None:
    accepted(controller, "a", "b")
    with Device(own_mosquitto.port, "a") as first, Device(own_mosquitto.port, "b") as second:
        later = PhaseSpec(opens=Opens.AFTER, delay_s=0.3)
        order = Order(release="panel-2", devices=["a", "b"], phases=[PhaseSpec(count=1), later])
        deployment = controller.operations.create_deployment(order, "test")
        first.check_in()
        first.report(deployment.id, 1, DeviceStatus.SUCCESS)

        assert second.woken().name is CommandName.CHECK_IN
        wait_until(lambda: second.check_in().offer is not msgspec.UNSET, what="its phase to be open")


def test_an_abort_tells_the_device_at_once_and_again_when_it_reports(
    controller: Controller, own_mosquitto: Mosquitto
) -> None:
    accepted(controller, "press-07", "press-08")
    with Device(own_mosquitto.port, "press-07") as device:
        order = Order(release="panel-2", all_devices=True)
        deployment = controller.operations.create_deployment(order, "test")
        device.woken()
        device.check_in()
        device.report(deployment.id, 1, DeviceStatus.DOWNLOADING)

        controller.operations.abort(deployment.id, "test", "wrong release")

        command = device.receive(Command)
        assert (command.name, command.deployment_id) == (CommandName.ABORT, deployment.id)
        ack = device.report(deployment.id, 2, DeviceStatus.INSTALLING)
        assert (ack.verdict, ack.status) == (Verdict.ABORTED, DeviceStatus.ABORTED)
        assert {row["status"] for row in rows(controller, PART)} == {"aborted"}
        assert counts_are_exact(controller)


def test_a_decommissioned_device_is_told_so_and_gets_nothing_more(
    controller: Controller, own_mosquitto: Mosquitto
) -> None:
    accepted(controller, "press-07")
    with Device(own_mosquitto.port, "press-07") as device:
        order = Order(release="panel-2", devices=["press-07"])
        deployment = controller.operations.create_deployment(order, "test")
        device.check_in()
        controller.operations.decommission("press-07", "test")

        assert device.report(deployment.id, 1, DeviceStatus.DOWNLOADING).verdict is Verdict.DECOMMISSIONED
        reply = device.check_in()
        assert reply.why is not msgspec.UNSET
        assert reply.why.code == "not-accepted"
        assert rows(controller, DEPLOYMENT)[0]["status"] == "finished"


def test_a_repeated_report_is_acknowledged_and_a_foreign_one_is_unknown(
    controller: Controller, own_mosquitto: Mosquitto
) -> None:
    accepted(controller, "press-07", "press-08")
    with Device(own_mosquitto.port, "press-07") as device, Device(own_mosquitto.port, "press-08") as thief:
        deployment = controller.operations.create_deployment(Order(release="panel-2", devices=["press-07"]), "test")
        device.check_in()
        assert device.report(deployment.id, 5, DeviceStatus.INSTALLING).verdict is Verdict.ACCEPTED
        before = rows(controller, PART)

        assert device.report(deployment.id, 5, DeviceStatus.INSTALLING).verdict is Verdict.ACCEPTED
        assert device.report(deployment.id, 4, DeviceStatus.DOWNLOADING).verdict is Verdict.STALE
        assert thief.report(deployment.id, 9, DeviceStatus.SUCCESS).verdict is Verdict.UNKNOWN
        assert thief.report("no-such-deployment", 1, DeviceStatus.SUCCESS).verdict is Verdict.UNKNOWN
        assert rows(controller, PART) == before


def test_log_lines_are_stored_once_and_only_for_a_deployment_of_the_device(
    controller: Controller, own_mosquitto: Mosquitto
) -> None:
    accepted(controller, "press-07")
    with Device(own_mosquitto.port, "press-07") as device:
        deployment = controller.operations.create_deployment(Order(release="panel-2", devices=["press-07"]), "test")
        device.check_in()
        line = msgspec.convert({"at": "2026-11-22T09:14:03Z", "level": "info", "text": "hello"}, Line)
        for _ in range(2):
            device.send(Kind.LOG, LogLines(deployment_id=deployment.id, attempt=1, first=0, lines=[line, line]))
        device.send(Kind.LOG, LogLines(deployment_id="unknown", attempt=1, first=0, lines=[line]))
        device.send(Kind.LOG, LogLines(deployment_id=deployment.id, attempt=2, first=0, lines=[line]))
        device.send(Kind.LOG, LogLines(deployment_id=deployment.id, attempt=1, first=10**9, lines=[line]))
        device.check_in()

        assert [row["number"] for row in rows(controller, LOG_LINE)] == [0, 1]
        assert controller.counts.refused["unknown-deployment"] == 2


def test_presence_follows_the_connection_and_an_old_will_does_not_end_a_new_one(
    controller: Controller, own_mosquitto: Mosquitto
) -> None:
    with Device(own_mosquitto.port, "press-07") as device:
        device.announce()
        device.check_in()
        assert rows(controller, DEVICE)[0]["online"] is True
        old = b'{"online":false,"since":"2020-01-01T00:00:00Z","agent_version":"1"}'
        device.send_raw("wain/v1/press-07/up/presence", old)
        device.check_in()
        assert rows(controller, DEVICE)[0]["online"] is True
        device.announce(online=False)
        device.check_in()
        assert rows(controller, DEVICE)[0]["online"] is False


def test_a_device_whose_presence_was_lost_is_online_once_it_asks_and_offline_by_its_last_will(
    controller: Controller, own_mosquitto: Mosquitto
) -> None:
    """As where it connects while the controller subscribes: what is retained may reach nobody."""
    with Device(own_mosquitto.port, "press-07") as device:
        device.check_in()
        assert rows(controller, DEVICE)[0]["online"] is True
        will = b'{"online":false,"since":"2020-01-01T00:00:00Z","agent_version":"1"}'
        device.send_raw("wain/v1/press-07/up/presence", will)
        device.check_in()  # as one that has waited behind the will
        assert rows(controller, DEVICE)[0]["online"] is False


def test_a_retained_presence_that_comes_again_does_not_make_a_dead_device_seem_alive(
    controller: Controller, own_mosquitto: Mosquitto
) -> None:
    will = b'{"online":false,"since":"2026-11-22T09:14:03Z","agent_version":"1"}'
    with Device(own_mosquitto.port, "press-07") as device, Device(own_mosquitto.port, "other") as other:
        device.send_raw("wain/v1/press-07/up/presence", will, retain=True)
        wait_until(lambda: rows(controller, DEVICE), what="the presence")
        before = rows(controller, DEVICE)[0]
        controller.link._client.subscribe("wain/v1/+/up/#", qos=1)  # brings all that is retained
        wait_until(lambda: controller.counts.taken["up/presence"] == 2, what="the presence again")
        other.check_in()

        after = next(row for row in rows(controller, DEVICE) if row["id"] == "press-07")

    assert (after["online"], after["online_since"]) == (False, before["online_since"])
    assert after["last_seen_at"] == before["last_seen_at"]


def test_only_a_presence_may_be_retained(controller: Controller, own_mosquitto: Mosquitto) -> None:
    with Device(own_mosquitto.port, "press-07") as device:
        device.send_raw("wain/v1/press-07/up/report", b"{}", retain=True)
        device.check_in()
        controller.link._client.subscribe("wain/v1/+/up/#", qos=1)

        wait_until(lambda: controller.counts.refused["retained"] == 1, what="the refusal")


def test_stopping_in_the_middle_of_a_batch_acknowledges_nothing_of_it(
    controller: Controller, mocker: MockerFixture
) -> None:
    pipeline = controller.pipeline
    controller.ticker.stop()
    pipeline.stop()
    pipeline._stopping.clear()
    real, calls = pipeline._transact, 0

    def stopping(arrivals: object) -> object:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise ZeroDivisionError  # a bug of ours: the batch is applied one by one
        if calls == 3:
            pipeline._stopping.set()
            raise OperationalError("INSERT", {}, Exception("disk I/O error"))
        return real(arrivals)  # type: ignore[arg-type]  # passed on as it came

    mocker.patch.object(pipeline, "_transact", stopping)
    acknowledge = mocker.patch.object(controller.link, "acknowledge")
    payload = b'{"online":true,"since":"2026-11-22T09:14:03Z","agent_version":"1"}'

    batch = [Delivery(f"wain/v1/d{i}/up/presence", payload, (0, i, 1)) for i in range(3)]
    pipeline._take(batch, batch)

    assert [row["id"] for row in rows(controller, DEVICE)] == ["d0"]
    assert acknowledge.call_count == 0


def test_bad_input_is_counted_by_reason_and_stops_nothing(controller: Controller, own_mosquitto: Mosquitto) -> None:
    accepted(controller, "press-07")
    with Device(own_mosquitto.port, "press-07") as device:
        device.check_in()
        before = rows(controller, DEVICE)
        device.send_raw("wain/v1/press-07/up/report", b"\xff\xfe")
        device.send_raw("wain/v1/press-07/up/report", b"{}")
        device.send_raw("wain/v1/press-07/up/report", b" " * (300 * 1024))
        device.send_raw("wain/v1/press-07/up/other", b"{}")
        device.send_raw("wain/v1/press 07/up/report", b"{}")
        device.send_raw("wain/v1/press-07/up", b"")

        device.check_in()

        assert dict(controller.counts.refused) == {"not-json": 1, "invalid": 1, "too-large": 1, "bad-topic": 3}
        after = rows(controller, DEVICE)
        moved = ("last_seen_at", "last_check_in_at")
        assert [{k: v for k, v in row.items() if k not in moved} for row in after] == [
            {k: v for k, v in row.items() if k not in moved} for row in before
        ]


def test_what_arrives_while_the_store_refuses_is_neither_lost_nor_acknowledged_before_it_is_stored(
    controller: Controller, own_mosquitto: Mosquitto, mocker: MockerFixture
) -> None:
    accepted(controller, *(f"d{i}" for i in range(20)))
    deployment = controller.operations.create_deployment(Order(release="panel-2", all_devices=True), "test")
    devices = [Device(own_mosquitto.port, f"d{i}").__enter__() for i in range(20)]
    try:
        for device in devices:
            device.check_in()
            device.drain()
        acknowledge = mocker.spy(controller.link, "acknowledge")
        real = controller.store.write
        acknowledged: list[int] = []
        heard_since: list[float | None] = []

        def refusing() -> object:
            if len(acknowledged) < 3:
                acknowledged.append(acknowledge.call_count)
                heard_since.append(controller.hearing.since)
                raise OperationalError("INSERT", {}, Exception("disk I/O error"))
            return real()

        mocker.patch.object(controller.store, "write", refusing)
        told = (
            b'{"deployment_id":"%s","attempt":1,"seq":1,"status":"success","boot_id":"b","at":"2026-11-22T09:14:03Z"}'
        )
        payload = told.replace(b"%s", deployment.id.encode())
        for device in devices:
            device.send_raw(f"wain/v1/{device.id}/up/report", payload)
        for device in devices:
            assert device.receive(Ack).verdict is Verdict.ACCEPTED
        # The first refusal comes after whatever was stored before it was acknowledged; from then on there was nothing.
        assert len(acknowledged) == 3
        assert len(set(acknowledged)) == 1
        before, *meanwhile = heard_since
        assert meanwhile == [None, None]
        assert (controller.hearing.since or 0.0) > (before or 0.0) > 0
    finally:
        for device in devices:
            device.__exit__()
    assert rows(controller, DEPLOYMENT)[0]["outcome"] == Outcome.SUCCESS
    assert counts_are_exact(controller)


def test_a_message_that_a_bug_of_ours_cannot_apply_is_set_aside_and_the_rest_goes_on(
    controller: Controller, own_mosquitto: Mosquitto, mocker: MockerFixture
) -> None:

    def buggy(device: object, *rest: object) -> object:
        if getattr(device, "device_type", "") == "broken":
            raise ZeroDivisionError
        return choose(device, *rest)  # type: ignore[arg-type]  # passed on as they came

    mocker.patch("wainwright_controller.ingest.check_ins.choose", buggy)
    with Device(own_mosquitto.port, "good") as good, Device(own_mosquitto.port, "bad", "broken") as bad:
        payload = (
            b'{"id":"x","reason":"timer","device_type":"broken","provides":{"artifact_name":"a"},"boot_id":"b",'
            b'"agent_version":"1","inventory_digest":"' + b"0" * 64 + b'"}'
        )
        bad.send_raw("wain/v1/bad/up/check-in", payload)
        good.check_in()

        wait_until(lambda: controller.counts.refused["internal"] == 1, what="the refusal")
        good.check_in()


def test_a_store_that_is_back_is_noticed_by_a_message_that_cannot_be_applied_as_well(
    controller: Controller, own_mosquitto: Mosquitto, mocker: MockerFixture
) -> None:
    """Nobody else may have anything to say, and no silence would ever count."""
    with Device(own_mosquitto.port, "d0") as device:
        device.check_in()
        wait_until(lambda: controller.hearing.since is not None, what="the broker")
        outcomes = [OperationalError("INSERT", {}, Exception("disk I/O error")), ZeroDivisionError()]
        mocker.patch("wainwright_controller.ingest.pipeline.Traffic.apply", side_effect=outcomes)

        device.send_raw("wain/v1/d0/up/inventory", b'{"digest":"' + b"0" * 64 + b'","attributes":{}}')

        wait_until(lambda: controller.counts.refused["internal"] == 1, what="the refusal")
        wait_until(lambda: controller.hearing.since is not None, what="the store")


def test_unknown_devices_are_remembered_up_to_a_limit(controller: Controller, own_mosquitto: Mosquitto) -> None:
    limit = controller.config.devices.pending_max
    assert limit >= 1000
    controller.pipeline._traffic._settings = controller.pipeline._traffic._settings._replace(pending_max=3)
    with Device(own_mosquitto.port, "knocker") as device:
        for i in range(10):
            device.send_raw(
                f"wain/v1/unknown-{i}/up/presence",
                b'{"online":true,"since":"2026-11-22T09:14:03Z","agent_version":"1"}',
            )
        wait_until(lambda: controller.counts.refused["too-many-pending"] == 7, what="the refusals")
        wait_until(lambda: len(rows(controller, DEVICE)) == 3, what="the three that are remembered")


def test_the_broker_may_go_away_and_come_back(controller: Controller, own_mosquitto: Mosquitto) -> None:
    heard_since = [controller.hearing.since]
    own_mosquitto.kill()
    wait_until(lambda: not controller.link.connected.is_set(), what="the loss of the broker")
    heard_since.append(controller.hearing.since)
    own_mosquitto.start()
    assert controller.link.connected.wait(PATIENCE_S)
    before, meanwhile, after = [*heard_since, controller.hearing.since]
    assert meanwhile is None
    assert (after or 0.0) > (before or 0.0) > 0
    with Device(own_mosquitto.port, "press-07") as device:
        assert device.check_in().why is not msgspec.UNSET


@pytest.mark.parametrize("seed", range(3))
def test_random_reports_of_many_devices_leave_exact_counts(
    controller: Controller, own_mosquitto: Mosquitto, seed: int
) -> None:
    rng = random.Random(seed)
    ids = [f"d{i}" for i in range(30)]
    accepted(controller, *ids)
    deployment = controller.operations.create_deployment(
        Order(release="panel-2", all_devices=True, retries=1, phases=[PhaseSpec(percent=40), PhaseSpec()]), "test"
    )
    with Device(own_mosquitto.port, "d0") as device:
        for _ in range(600):
            device.id = rng.choice(ids)
            if rng.random() < 0.3:
                payload = (
                    b'{"id":"x","reason":"timer","device_type":"pi4","provides":{"artifact_name":"a"},"boot_id":"b",'
                    b'"agent_version":"1","inventory_digest":"' + b"0" * 64 + b'"}'
                )
                device.send_raw(f"wain/v1/{device.id}/up/check-in", payload)
            else:
                status = rng.choice([*DeviceStatus])
                body = {
                    "deployment_id": deployment.id,
                    "attempt": rng.randint(1, 2),
                    "seq": rng.randint(1, 9),
                    "status": status,
                    "boot_id": "b",
                    "at": "2026-11-22T09:14:03Z",
                }
                device.send_raw(f"wain/v1/{device.id}/up/report", msgspec.json.encode(body))
        wait_until(lambda: sum(controller.counts.taken.values()) >= 600, what="all messages")
        device.id = "d0"
        device.check_in()
    assert counts_are_exact(controller)
    unfinished = [row for row in rows(controller, PART) if row["finished_at"] is None]
    assert (rows(controller, DEPLOYMENT)[0]["status"] == "finished") == (not unfinished)
