"""Live news: nothing twice, nothing missing, and an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from tests.controller.api.served import Json, Line, Served
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_controller.api import events


@pytest.fixture(scope="module", autouse=True)
def _release(served: Served) -> None:
    served.release("panel-2")


def deploy(served: Served, *devices: str, **order: object) -> Json:
    served.accept(*devices)
    return served.deploy("panel-2", *devices, **order)


def of_kind(stream: Iterator[Line], kind: str) -> list[Json]:
    return [line.data for line in stream if line.kind == kind]


def test_a_stream_brings_the_timeline_and_states_and_ends_with_the_final_one(served: Served) -> None:
    made = deploy(served, "live-1", "live-2")
    seen: list[Line] = []
    reader = threading.Thread(target=lambda: seen.extend(served.events(f"deployments/{made['id']}/events")))
    reader.start()
    wait_until(lambda: any(line.kind == "state" for line in seen), what="the first state")
    served.carry_out(made["id"], "live-1", "live-2")
    reader.join(PATIENCE_S)
    assert not reader.is_alive()
    timeline = served.get(f"deployments/{made['id']}/timeline", limit=1000)["items"]
    assert [line.data for line in seen if line.kind == "timeline"] == timeline
    states = [line.data for line in seen if line.kind == "state"]
    assert (states[0]["status"], states[0]["active"]) == ("pending", [])
    assert seen[-1].kind == "state"
    last = dict(seen[-1].data)
    assert (last.pop("active"), last.pop("failures")) == ([], [])
    assert last == served.get(f"deployments/{made['id']}")
    assert last["outcome"] == "success"
    assert all(one != two for one, two in pairwise(states))


def test_a_stream_resumes_after_the_line_that_was_seen_last(served: Served) -> None:
    made = deploy(served, "resumed-1")
    served.carry_out(made["id"], "resumed-1")
    path = f"deployments/{made['id']}/events"
    whole = of_kind(served.events(path), "timeline")
    assert len(whole) > 3
    middle = whole[2]["id"]
    assert of_kind(served.events(path, headers={"Last-Event-ID": str(middle)}), "timeline") == whole[3:]
    assert of_kind(served.events(path, params={"after": middle}), "timeline") == whole[3:]
    assert of_kind(served.events(path, params={"after": "now"}), "timeline") == []


def test_devices_under_way_are_in_the_state(served: Served) -> None:
    from tests.support.device import Device
    from wainwright_common.messages import Progress
    from wainwright_common.statuses import DeviceStatus

    made = deploy(served, "active-1")
    with Device(served.broker.port, "active-1") as device:
        device.check_in()
        progress = Progress(done=40, total=100)
        device.report(made["id"], 1, DeviceStatus.DOWNLOADING, progress=progress)
        for line in served.events(f"deployments/{made['id']}/events"):
            if line.kind == "state" and line.data["active"]:
                break
    (part,) = line.data["active"]
    assert (part["device_id"], part["status"]) == ("active-1", "downloading")
    assert part["progress"] == {"done": 40, "total": 100}


def test_states_come_at_most_five_times_a_second(served: Served) -> None:
    devices = [f"paced-{number}" for number in range(12)]
    made = deploy(served, *devices)
    begun = time.monotonic()
    states: list[Json] = []
    reader = threading.Thread(
        target=lambda: states.extend(of_kind(served.events(f"deployments/{made['id']}/events"), "state"))
    )
    reader.start()
    served.carry_out(made["id"], *devices)
    reader.join(PATIENCE_S)
    assert len(states) <= 5 * (time.monotonic() - begun) + 2
    assert states[-1]["counts"] == {"success": 12}


def test_the_stream_of_everything_begins_now(served: Served) -> None:
    stream = iter(served.events("events", params={"after": "now"}))
    seen: list[Line] = []
    reader = threading.Thread(target=lambda: seen.append(next(stream)))
    with served.call("GET", "/api/v1/events", stream=True):  # more than one at a time
        reader.start()
        wait_until(lambda: len(served.controller.bulletin._waiting) >= 2, what="both to listen")
        made = deploy(served, "all-1")
        reader.join(PATIENCE_S)
    assert seen[0].kind == "timeline"
    assert "all-1" in str(seen[0].data) or seen[0].data.get("deployment_id") == made["id"]


def test_a_quiet_stream_says_that_it_is_still_there(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "HEARTBEAT_S", 0.0)
    made = deploy(served, "quiet-1")
    with served.call("GET", f"/api/v1/deployments/{made['id']}/events?after=now", stream=True) as response:
        assert any(line == b": still here" for line in response.iter_lines(chunk_size=None))


def test_live_streams_do_not_hold_up_the_shutdown(tmp_path: Path, own_mosquitto: Mosquitto) -> None:
    served = Served(tmp_path, own_mosquitto)
    with served:
        served.release("panel-2")
        made = deploy(served, "held-1")
        stream = served.events(f"deployments/{made['id']}/events")
        next(stream)
        begun = time.monotonic()
    assert time.monotonic() - begun < PATIENCE_S / 2  # the stream has no end of its own
    list(stream)


def test_a_deployment_that_is_deleted_ends_its_streams(served: Served) -> None:
    made = deploy(served, "deleted-1", name="to be deleted")
    assert served.call("GET", "/api/v1/deployments/nothing/events").status_code == 404
    served.post(f"deployments/{made['id']}/abort")
    assert of_kind(served.events(f"deployments/{made['id']}/events"), "state")[-1]["outcome"] == "aborted"
