"""Bad input changes nothing, is counted by reason, and does not stand in the way of a rollout."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.support.bad_input import GOOD, Bad, bad_messages, publish, reasons
from tests.support.fleets import wait_until_at_rest
from tests.support.mosquitto import Mosquitto
from tests.support.system import PATIENCE_S, System
from tests.support.wait import wait_until
from wainwright_controller.simulate import Fleet, FleetSpec

MESSAGES = 5000
DEVICES = 40
# A rollout beside 5,000 bad messages may take this many times as long, and this much longer, on a machine that
# other tests share: what is looked for is a queue that stalls, which costs minutes.
RATIO_MAX, EXTRA_MAX_S = 2.0, 30.0
SPEC = FleetSpec(devices=DEVICES, device_types=("press", "lathe"), download_s=1, install_s=0.3, check_in_s=600)


@contextmanager
def fleet_on(system: System) -> Iterator[Fleet]:
    with Fleet(SPEC, system.address) as fleet:
        system.wait_for_devices(fleet.ids)
        without = "SELECT id FROM device WHERE inventory_digest = ''"
        wait_until(lambda: not system.rows(without), PATIENCE_S, "the inventories, which devices send last")
        yield fleet


def timed_rollout(system: System, release: str) -> float:
    """Roll a release out to all; returns the seconds that it took."""
    system.release(release, size=2000)
    began = time.monotonic()
    deployment = system.finished(system.deploy(release))
    assert deployment["counts"] == {"success": DEVICES}
    return time.monotonic() - began


def contents(system: System) -> dict[str, list[tuple[Any, ...]]]:
    """Return all that the store holds, but for when devices were last heard of."""
    device = "SELECT id, state, online, device_type, artifact_name, provides, attributes, inventory_digest FROM device"
    tables = ("deployment", "phase", "device_deployment", "tally", "event", "log_line", "artifact")
    return {"device": system.rows(device)} | {table: system.rows(f"SELECT * FROM {table}") for table in tables}  # noqa: S608  names from the line above


def assert_refused(system: System, wanted: Counter[str], before: dict[str, int]) -> None:
    """Wait until as many messages as wanted were refused since `before`, and assert that the reasons are those."""
    total = sum(before.values()) + wanted.total()
    wait_until(lambda: sum(system.refusals().values()) >= total, PATIENCE_S, f"{total} refusals")
    assert Counter(system.refusals()) - Counter(before) == wanted


def refused_reports(system: System, ids: list[str], ended: str, running: str, failed_device: str) -> list[Bad]:
    """Return messages that are well formed, and that the rules must refuse."""

    def on(device_id: str, kind: str, reason: str, **changes: object) -> Bad:
        topic = f"{system.stage.prefix}/{device_id}/up/{kind}"
        return Bad(topic, json.dumps({**GOOD[kind], **changes}).encode(), reason)

    refused = []
    for seq in range(100, 150):
        for device_id in ids[:10]:
            refused += [
                on(device_id, "report", "report-unknown", deployment_id="no-such-deployment", seq=seq),
                on(device_id, "report", "report-stale", deployment_id=ended, seq=seq, status="failure"),
                on(device_id, "report", "report-unknown", deployment_id=ended, seq=seq, attempt=7),
                on(device_id, "log", "unknown-deployment", deployment_id="no-such-deployment"),
            ]
        refused.append(on("stranger", "report", "report-unknown", deployment_id=ended, seq=seq))
        refused.append(on(ids[0], "report", "report-unknown", deployment_id=running, seq=seq))
        refused.append(on(failed_device, "report", "report-stale", deployment_id=running, seq=seq))
    return refused


def test_malformed_messages_change_nothing_and_are_counted_by_reason(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with System(tmp_path, mosquitto.url, auto_accept=True) as system, fleet_on(system) as fleet:
        messages = bad_messages(system.stage.prefix, fleet.ids, MESSAGES)
        before = contents(system)
        publish(system.address, messages)
        assert_refused(system, reasons(messages), {})
        assert contents(system) == before
        assert set(reasons(messages)) == {"invalid", "not-json", "too-large", "bad-topic"}


def test_reports_that_the_rules_refuse_change_nothing_and_are_counted_by_verdict(
    mosquitto: Mosquitto, tmp_path: Path
) -> None:
    spec = FleetSpec(devices=1, id_prefix="faulty-", device_types=("press",), download_s=0.1, install_s=0.1, failing=1)
    with System(tmp_path, mosquitto.url, auto_accept=True) as system, fleet_on(system) as fleet:
        system.release("ended", size=2000)
        ended = system.deploy("ended", *fleet.ids)
        system.finished(ended)
        with Fleet(spec, system.address) as faulty:
            system.wait_for_devices(faulty.ids)
            system.release("running", size=2000)
            running = system.deploy("running", *faulty.ids, retries=1)
            system.wait_for_why(faulty.ids[0], "retry-later")
            wait_until_at_rest(faulty)
        system.wait_for_devices(faulty.ids, online=False)  # so that it does not begin its second attempt meanwhile
        wait_until_at_rest(fleet)
        messages = refused_reports(system, fleet.ids, ended, running, faulty.ids[0])
        already = system.refusals()
        before = contents(system)
        publish(system.address, messages)
        assert_refused(system, reasons(messages), already)
        assert contents(system) == before


def test_a_rollout_beside_bad_input_is_not_slowed_noticeably(mosquitto: Mosquitto, tmp_path: Path) -> None:
    with System(tmp_path, mosquitto.url, auto_accept=True) as system, fleet_on(system) as fleet:
        undisturbed = timed_rollout(system, "undisturbed")
        messages = bad_messages(system.stage.prefix, fleet.ids, MESSAGES, seed=2)
        before = system.refusals()
        flood = threading.Thread(target=publish, args=(system.address, messages))
        flood.start()
        disturbed = timed_rollout(system, "disturbed")
        flood.join()
        assert_refused(system, reasons(messages), before)
        print(f"a rollout took {undisturbed:.1f} s, beside {MESSAGES} bad messages {disturbed:.1f} s")
        assert disturbed < undisturbed * RATIO_MAX + EXTRA_MAX_S
