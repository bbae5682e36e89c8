"""Check-ins a second that the rules and the store answer: 100,000 devices, 5 open deployments to all of them.

Without a broker: batches of check-ins of random devices go into one transaction each (SQLite, synchronous=FULL), as the
pipeline makes them of a loud fleet; then single ones, as it makes them of a quiet one. With `--rules` the deployments
have limits on failures and a largest number of devices at once, and so many dynamic ones are open, each for a site that
every thousandth device is at.
"""

from __future__ import annotations

import argparse
import json
import random
import tempfile
import time
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from msgspec import UNSET
from msgspec.structs import replace
from sqlalchemy import insert

from benchmarks.figures import machine, milliseconds
from wainwright_common import messages
from wainwright_common.messages import CheckIn, CheckInReason
from wainwright_common.topics import Kind
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.ingest.intake import Arrival
from wainwright_controller.ingest.traffic import Settings, Traffic
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations import Operations, Order
from wainwright_controller.records import Artifact, Device, DeviceState, Limit, Pace
from wainwright_controller.rows import DEVICE, to_row
from wainwright_controller.store import Store
from wainwright_controller.waker import Waker

DEVICES = 100_000
DEPLOYMENTS = 5
SITES = 1000
BATCH, BATCHES, SINGLES = 500, 60, 300
SETTINGS = Settings(check_in_interval_s=1800, auto_accept=False, pending_max=1000)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument(
        "--rules", type=int, default=0, metavar="N", help="limits, pace, and N open dynamic deployments"
    )
    arguments = parser.parse_args(argv)
    beside = f" and {arguments.rules} dynamic ones" if arguments.rules else ""
    print(f"selection: {arguments.devices} devices, {DEPLOYMENTS} open deployments to all{beside}; {machine()}")
    with tempfile.TemporaryDirectory() as folder:
        store = Store(f"sqlite:///{Path(folder) / 'benchmark.db'}")
        store.upgrade()
        began = time.perf_counter()
        fill(store, arguments.devices, arguments.rules)
        print(
            f"  {DEPLOYMENTS * arguments.devices} device deployments were made in {time.perf_counter() - began:.0f} s"
        )
        measure(store, arguments.devices)
        store.close()


def fill(store: Store, devices: int, rules: int) -> None:
    """Make devices, and deployments that all of them have an unfinished part in."""
    now = time.time()
    rows = [
        to_row(Device(id=device_id(number), state=DeviceState.ACCEPTED, created_at=now))
        | {"attributes": json.dumps({"site": f"site-{number % SITES}", "mem_mb": 1024, "kernel": "6.1.0"})}
        for number in range(devices)
    ]
    with store.write() as connection:
        connection.execute(insert(DEVICE), rows)
    operations = Operations(store, Bulletin(), Waker(lambda _topic, _command: None))  # not started: nobody is there
    for number in range(DEPLOYMENTS):
        operations.add_artifact(artifact(f"release-{number}", now), "benchmark")
        order = Order(release=f"release-{number}", all_devices=True)
        if rules:
            order = replace(order, limits=(Limit(percent=5.0, min_sample=10),), pace=Pace(concurrency=devices))
        operations.create_deployment(order, "benchmark")
    for number in range(rules):
        where = f'inventory.site = "site-{number}" and mem_mb >= 512'
        operations.create_deployment(Order(release="release-0", where=where), "benchmark")


def artifact(name: str, now: float) -> Artifact:
    """Return a stored artifact that fits every device."""
    return Artifact(
        id=uuid.uuid4().hex,
        name=name,
        size=1000,
        sha256="0" * 64,
        payload_type="demo",
        depends={"device_type": ("press",)},
        provides={},
        signed=False,
        created_at=now,
    )


def device_id(number: int) -> str:
    """Return the id of a device."""
    return f"device-{number:06}"


def check_in(number: int) -> Arrival:
    """Return a device's check-in as the pipeline has admitted it."""
    message = CheckIn(
        id=uuid.uuid4().hex,
        reason=CheckInReason.TIMER,
        device_type="press",
        provides={"artifact_name": "former"},
        boot_id="b" * 36,
        agent_version="1",
        inventory_digest="0" * 64,
    )
    return Arrival(device_id(number), Kind.CHECK_IN, message)


def make_link(stored: Artifact, _now: float) -> messages.Artifact:
    """Return an artifact's link; signing it is not what is measured."""
    expires = datetime.now(UTC)
    uri = f"http://127.0.0.1:8080/download/{stored.id}"
    return messages.Artifact(
        id=stored.id, name=stored.name, size=stored.size, sha256=stored.sha256, uri=uri, expires=expires
    )


def measure(store: Store, devices: int) -> None:
    """Answer check-ins in batches, then one by one."""
    chance = random.Random(1)
    traffic = Traffic(SETTINGS, make_link)
    for name, batch, batches in (("batches", BATCH, BATCHES), ("single ", 1, SINGLES)):
        arrivals = [[check_in(chance.randrange(devices)) for _ in range(batch)] for _ in range(batches)]
        used = time.process_time()
        spent = [answer(store, traffic, some) for some in arrivals]
        used = (time.process_time() - used) / (batch * batches)
        print(
            f"  {name} of {batch:3}: {batch * batches / sum(spent):,.0f} check-ins/s, {1e6 * used:,.0f} µs of CPU each;"
            f" a transaction takes {milliseconds(spent)}"
        )


def answer(store: Store, traffic: Traffic, arrivals: Sequence[Arrival]) -> float:
    """Answer one batch in one transaction; returns the seconds that it took."""
    began = time.perf_counter()
    with store.write() as connection:
        result = traffic.apply(Ledger(connection, time.time()), arrivals)
    seconds = time.perf_counter() - began
    offers = [
        message for _, message in result.answers if isinstance(message, messages.Reply) and message.offer is not UNSET
    ]
    assert len(offers) == len(arrivals)
    return seconds


if __name__ == "__main__":
    main()
