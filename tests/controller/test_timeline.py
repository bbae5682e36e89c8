"""What bounds the timelines: how often a device may turn, and what goes with time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace
from sqlalchemy import insert, select

from tests.controller.conftest import make_artifact
from wainwright_common.statuses import DeviceStatus
from wainwright_controller import timeline
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations import Operations, Order
from wainwright_controller.records import Event
from wainwright_controller.rows import EVENT, to_row
from wainwright_controller.store import Store
from wainwright_controller.ticker import TIDY_EVERY_S, Ticker
from wainwright_controller.timeline import STEPS_MAX, Keep
from wainwright_controller.waker import Waker

NOW = 1_000_000.0
KEEP = Keep(age_s=1000.0, lines_max=10)


def told(store: Store) -> list[str]:
    with store.read() as connection:
        return list(connection.execute(select(EVENT.c.text).order_by(EVENT.c.id)).scalars())


def add(store: Store, *events: Event) -> None:
    with store.write() as connection:
        connection.execute(insert(EVENT), [to_row(event) for event in events])


def line(text: str, at: float = NOW, deployment_id: str | None = None, device_id: str | None = "press-07") -> Event:
    return Event(at=at, kind="device", text=text, actor="device", deployment_id=deployment_id, device_id=device_id)


def ticker(store: Store, now: float = NOW) -> Ticker:
    return Ticker(store, Waker(lambda _topic, _command: None), Bulletin(), KEEP, clock=lambda: now)


def tidied(store: Store) -> list[str]:
    """Return the lines that are left."""
    clock = ticker(store)
    while clock.tidy():
        pass
    return told(store)


@pytest.mark.parametrize("per_transaction", [1, 7, 1000], ids=str)
def test_a_device_that_turns_for_ever_fills_no_timeline_and_its_end_is_noted(
    store: Store, per_transaction: int
) -> None:
    waker = Waker(lambda _topic, _command: None)
    operations = Operations(store, Bulletin(), waker, clock=lambda: NOW)
    operations.add_artifact(make_artifact(), "test")
    operations.preauthorize(["press-07", "press-08"], "test")
    deployment = operations.create_deployment(Order(release="panel-2", all_devices=True), "test")
    turns = [DeviceStatus.INSTALLING, DeviceStatus.REBOOTING] * 200 + [DeviceStatus.SUCCESS]
    before = len(told(store))
    while turns:
        with store.write() as connection:
            ledger = Ledger(connection, NOW)
            ledger.load_parts([(deployment.id, "press-07")])
            for status in turns[:per_transaction]:
                move(ledger, deployment.id, status)
            del turns[:per_transaction]
            ledger.flush()
    lines = told(store)[before:]
    steps = [text for text in lines if text.startswith(("installing", "rebooting"))]
    assert len(steps) == STEPS_MAX
    assert [text for text in steps if "not noted" in text] == steps[-1:]
    assert lines.count("success") == 1


def move(ledger: Ledger, deployment_id: str, status: DeviceStatus) -> None:
    part = ledger.parts[deployment_id, "press-07"]
    finished_at = NOW if status is DeviceStatus.SUCCESS else None
    ledger.put_part(replace(part, status=status, offered=True, finished_at=finished_at))


def test_old_steps_go_and_how_it_ended_stays(store: Store) -> None:
    old = NOW - KEEP.age_s - 1
    stays = ["success", "failure (timeout: silent)", "attempt 1 failed (x: y); next attempt in 10 s", "aborted"]
    goes = ["downloading", "installing", "rebooting"]
    add(store, line("created for 1 device", old, "d", None), line("finished: success", old, "d", None))
    add(store, *[line(text, old, "d") for text in goes + stays], line("accepted", old))
    add(store, *[line(text, NOW, "d") for text in goes])
    assert tidied(store) == ["created for 1 device", "finished: success", *stays, *goes]


def test_of_a_devices_own_lines_the_newest_stay_and_those_of_others_all(store: Store) -> None:
    add(store, *[line(f"{n} was installed by hand") for n in range(5000)])
    add(store, *[line("accepted", device_id=f"d{n}") for n in range(20)])
    add(store, *[line("success", deployment_id=f"d{n}") for n in range(50)])
    left = tidied(store)
    assert [text for text in left if "by hand" in text] == [f"{n} was installed by hand" for n in range(4990, 5000)]
    assert left.count("accepted") == 20
    assert left.count("success") == 50


def test_a_piece_at_a_time_so_that_others_write_in_between(store: Store) -> None:
    add(store, *[line("accepted", 0.0) for _ in range(timeline.AT_ONCE_MAX + 1)])
    clock = ticker(store)
    assert clock.tidy()
    assert len(told(store)) == 1
    assert clock.tidy()
    assert told(store) == []
    assert not clock.tidy()


def test_the_clock_looks_through_the_timelines_again_after_a_while(store: Store) -> None:
    clock = ticker(store)
    assert not clock.tidy()
    add(store, line("accepted", 0.0))
    assert not clock.tidy()
    clock._clock = lambda: NOW + TIDY_EVERY_S
    assert clock.tidy()
