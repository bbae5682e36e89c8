"""How long well-behaved devices wait for their answers while another device floods, beside how long without.

A controller as it is shipped, a process of its own; fifty devices, each of which checks in and reports once a second
and waits for each answer. One run is measured calm, then beside a flooder, a process of its own too: one connection
that sends good messages of one kind at a given rate, or as fast as the broker takes them. The ratio is the figure.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from queue import Empty
from typing import NamedTuple
from urllib.parse import urlsplit

import requests

from benchmarks.figures import machine, milliseconds, percentile
from benchmarks.mqtt_load import publish_all, publish_packet
from tests.support.device import Device
from tests.support.mosquitto import Mosquitto
from tests.support.system import System
from wainwright_common.messages import CheckIn, CheckInReason, Progress, Report, encode
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind, Topic

DEVICES = 50
PERIOD_S = 1.0  # of each device: one check-in and one report
SECONDS = 15.0  # of each measurement
WARM_UP_S = 3.0  # the flooder's burst is taken in these
RELEASE = "release"
LOUD = "loud"
ANSWER_S = 60.0  # after that an answer counts as missing, and as having taken so long
PACE_S = 0.02  # a flooder at a rate sends what is due this often
RATES = (2000, 5000, 0)  # messages a second; 0: as fast as the broker takes them


class Waits(NamedTuple):
    """Seconds from a check-in to its reply, from a report to its ack, and answers that did not come in time."""

    replies: list[float]
    acks: list[float]
    missing: list[str]


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--broker", choices=["mosquitto", "embedded", "both"], default="both")
    parser.add_argument("--kind", choices=["report", "check-in"], default="report")
    parser.add_argument("--rates", type=int, nargs="+", default=list(RATES), help="messages a second; 0: no limit")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--flood", nargs=5, metavar=("PORT", "PREFIX", "DEPLOYMENT", "KIND", "RATE"), help="flood only")
    arguments = parser.parse_args(argv)
    if arguments.flood:
        port, prefix, deployment_id, kind, rate = arguments.flood
        while True:  # the embedded broker ends the connection of who floods; he comes back at once
            with suppress(OSError):
                publish_all(int(port), packets(prefix, deployment_id, Kind(kind), int(rate)))
    print(f"flood: {DEVICES} devices beside one that floods with {arguments.kind}s; {machine()}")
    brokers = ["mosquitto", "embedded"] if arguments.broker == "both" else [arguments.broker]
    for broker in brokers:
        for rate in arguments.rates:
            with system_on(broker) as system:
                run(system, broker, Kind(f"up/{arguments.kind}"), rate, arguments.seconds)


@contextmanager
def system_on(broker: str) -> Iterator[System]:
    """Run a controller on one of the two brokers."""
    with tempfile.TemporaryDirectory(prefix="wb-") as name, ExitStack() as stack:
        folder, url = Path(name), None
        if broker == "mosquitto":
            url = stack.enter_context(Mosquitto(folder / "mosquitto")).url
        system = stack.enter_context(System(folder / "system", url, auto_accept=True))
        system.release(RELEASE, "pi4", size=2000)
        yield system


def run(system: System, broker: str, kind: Kind, rate: int, seconds: float) -> None:
    """Measure once without and once with a flooder, and print."""
    port, prefix = urlsplit(system.stage.broker_url).port or 0, system.stage.prefix
    with ExitStack() as stack:
        names = [f"calm-{number:02}" for number in range(DEVICES)]
        devices = [stack.enter_context(Device(port, name, prefix=prefix)) for name in names]
        with Device(port, LOUD, prefix=prefix) as loud:
            for device in [*devices, loud]:
                device.patience_s = ANSWER_S
                device.check_in()
            deployment_id = system.deploy(RELEASE)
            for device in [*devices, loud]:
                device.check_in()
        calm = measure(devices, deployment_id, 1000, seconds)
        command = [
            sys.executable,
            "-m",
            "benchmarks.flood",
            "--flood",
            str(port),
            prefix,
            deployment_id,
            kind,
            str(rate),
        ]
        flooder = subprocess.Popen(command)
        try:
            time.sleep(WARM_UP_S)
            before = came(system)
            began = time.monotonic()
            loud_waits = measure(devices, deployment_id, 2000, seconds)
            arrived = (came(system) - before) / (time.monotonic() - began)
        finally:
            flooder.kill()
            flooder.wait()
    show = f"{rate:,}/s" if rate else "no limit"
    print(f"  {broker}, flooder at {show} ({arrived:,.0f} messages/s reached the controller):")
    for name, without, beside in (
        ("check-in to reply", calm.replies, loud_waits.replies),
        ("report to ack", calm.acks, loud_waits.acks),
    ):
        ratios = ", ".join(f"p{p} x{percentile(beside, p) / percentile(without, p):.1f}" for p in (50, 99))
        print(f"    {name}: calm {milliseconds(without)}; beside it {milliseconds(beside)}; {ratios}")
    if loud_waits.missing:
        print(f"    {len(loud_waits.missing)} answers did not come within {ANSWER_S:.0f} s")


def came(system: System) -> int:
    """Return how many messages have reached the controller."""
    total = 0
    for line in requests.get(f"{system.stage.url}/metrics", timeout=60).text.splitlines():
        if line.startswith(("wainwright_messages_total{", "wainwright_messages_throttled_total{")):
            total += int(line.rsplit(" ", 1)[1])
    return total


def measure(devices: Sequence[Device], deployment_id: str, seq: int, seconds: float) -> Waits:
    """Have every device check in and report once a second for a while; returns how long the answers took."""
    waits = Waits([], [], [])
    until = time.monotonic() + seconds

    def behave(device: Device, number: int) -> None:
        time.sleep(PERIOD_S * number / len(devices))
        turn = seq
        while time.monotonic() < until:
            turn += 1
            began = time.perf_counter()
            device.check_in()
            waits.replies.append(time.perf_counter() - began)
            began = time.perf_counter()
            device.report(deployment_id, turn, DeviceStatus.DOWNLOADING, progress=Progress(done=turn, total=10**6))
            waits.acks.append(time.perf_counter() - began)
            time.sleep(PERIOD_S)

    def run_one(device: Device, number: int) -> None:
        try:
            behave(device, number)
        except Empty:
            waits.missing.append(device.id)
            waits.replies.append(ANSWER_S)
            waits.acks.append(ANSWER_S)

    threads = [threading.Thread(target=run_one, args=(device, number)) for number, device in enumerate(devices)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return waits


def packets(prefix: str, deployment_id: str, kind: Kind, rate: int) -> Iterator[bytes]:
    """Yield good messages of one kind for ever, no two alike, `rate` a second."""
    topic, now, number, began = Topic(LOUD, kind).text(prefix), datetime.now(UTC), 0, time.monotonic()
    check_in = CheckIn(
        id="@",
        reason=CheckInReason.TIMER,
        device_type="pi4",
        provides={"artifact_name": "panel-1"},
        boot_id="b",
        agent_version="1",
        inventory_digest="0" * 64,
    )
    report = Report(deployment_id=deployment_id, attempt=1, seq=1, status=DeviceStatus.DOWNLOADING, boot_id="b", at=now)
    pattern = encode(check_in) if kind is Kind.CHECK_IN else encode(report).replace(b'"seq":1,', b'"seq":@,')
    while True:
        number += 1
        if rate:
            while number > (time.monotonic() - began) * rate:
                time.sleep(PACE_S)
        yield publish_packet(topic, pattern.replace(b"@", b"%d" % number), number)


if __name__ == "__main__":
    main()
