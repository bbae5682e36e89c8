"""Device traffic through the whole pipeline into the store, beside what the MQTT client alone receives.

In one run, on one broker: a persistent session is filled with messages while nobody is connected; then it is drained,
first by the MQTT client alone (paho, acknowledging by hand as the controller does), then by a controller: receive,
validate, apply the rules, commit, answer each device, acknowledge. The time ends when the deployment is finished in
the store, which takes the last message of every device. The store is SQLite with synchronous=FULL, or a PostgreSQL of
its own, which syncs as well.

The messages are those of one rollout: all devices at once, each with its reports in order. With `--rules` the rollout
has limits on failures and a largest number of devices at once, and as many dynamic deployments are open beside it.
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import paho.mqtt.client as paho
from msgspec.structs import replace
from paho.mqtt.enums import CallbackAPIVersion
from sqlalchemy import update

from benchmarks.figures import machine
from benchmarks.mqtt_load import publish_all, publish_packet
from tests.support.mosquitto import Mosquitto
from tests.support.postgresql import Postgresql
from tests.support.wait import wait_until
from wainwright_common.messages import Progress, Report, encode
from wainwright_common.statuses import DeploymentStatus, DeviceStatus
from wainwright_common.topics import Kind, Topic, uplinks
from wainwright_controller.config import BrokerSection, Config, StoreSection
from wainwright_controller.controller import Controller
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations import Order
from wainwright_controller.records import Artifact, Device, DeviceState, Limit, Pace
from wainwright_controller.rows import PART
from wainwright_controller.serve import calm_the_collector

DEVICES = 2000
PROGRESS_REPORTS = 46  # of a download of 46 s, at one a second
MESSAGES_PER_DEVICE = PROGRESS_REPORTS + 4
SESSION, RECEIVER = "wainwright-controller", "receiver"
IN_FLIGHT_MAX = 1000  # as the controller has
ARTIFACT_SIZE = 50_000_000  # bytes; nothing is downloaded
DRAIN_TIMEOUT_S = 300.0


class Spent(NamedTuple):
    """Seconds that passed, and seconds that this process computed: the machine may have had other work."""

    wall_s: float
    cpu_s: float


@contextmanager
def spending() -> Iterator[list[Spent]]:
    """Give a list that has what was spent in here, afterwards."""
    spent: list[Spent] = []
    wall, cpu = time.perf_counter(), time.process_time()
    yield spent
    spent.append(Spent(time.perf_counter() - wall, time.process_time() - cpu))


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--devices", type=int, default=DEVICES)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--store", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument(
        "--rules", type=int, default=0, metavar="N", help="limits, pace, and N open dynamic deployments"
    )
    parser.add_argument("--profile", action="store_true", help="print what costs most in the pipeline's thread")
    arguments = parser.parse_args(argv)
    calm_the_collector()  # as `wainwright serve` does
    print(
        f"throughput: {arguments.devices} devices with {MESSAGES_PER_DEVICE} reports each, into {arguments.store},"
        f" {arguments.rules} dynamic deployments; {machine()}"
    )
    with ExitStack() as stack:
        server = stack.enter_context(Postgresql()) if arguments.store == "postgresql" else None
        for _ in range(arguments.runs):
            url = server.database() if server is not None else ""
            run(arguments.devices, url, arguments.rules, profile=arguments.profile)


def run(devices: int, store_url: str, rules: int, *, profile: bool) -> None:
    """Measure once, into the database at `store_url`; empty is a new SQLite file."""
    total = devices * MESSAGES_PER_DEVICE
    with tempfile.TemporaryDirectory() as folder, Mosquitto(Path(folder) / "mosquitto") as broker:
        data_dir = Path(folder) / "controller"
        config = Config(
            data_dir=data_dir,
            broker=BrokerSection(url=broker.url, client_id=SESSION),
            store=StoreSection(url=store_url),
        )
        deployment_id = prepare(config, devices, rules)
        for session in (SESSION, RECEIVER):
            subscribe(broker.port, session)
        publish_all(broker.port, packets(deployment_id, devices))
        alone = drain_with_the_client_alone(broker.port, total)
        whole = drain_with_a_controller(config, deployment_id, profile=profile)
    print(
        f"  MQTT client alone {total / alone.wall_s:,.0f} messages/s ({1e6 * alone.cpu_s / total:.0f} us of CPU each);"
        f" whole pipeline {total / whole.wall_s:,.0f} messages/s ({1e6 * whole.cpu_s / total:.0f} us),"
        f" {alone.wall_s / whole.wall_s:.0%} of it"
    )


def prepare(config: Config, devices: int, rules: int) -> str:
    """Make a store with a deployment that has been offered to all devices; returns the deployment's id."""
    controller = Controller(config, "http://127.0.0.1:1")
    now = time.time()
    ids = [f"device-{number:05}" for number in range(devices)]
    with controller.store.write() as connection:
        ledger = Ledger(connection, now)
        for device_id in ids:
            ledger.put_device(Device(id=device_id, state=DeviceState.ACCEPTED, created_at=now))
        ledger.flush()
    artifact = Artifact(
        id="a" * 32,
        name="release",
        size=ARTIFACT_SIZE,
        sha256="0" * 64,
        payload_type="demo",
        depends={"device_type": ("press",)},
        provides={},
        signed=False,
        created_at=now,
    )
    controller.operations.add_artifact(artifact, "benchmark")
    order = Order(release="release", all_devices=True)
    if rules:
        limits = (Limit(percent=5.0, min_sample=10), Limit(count=3, codes=("no-space",)))
        order = replace(order, limits=limits, pace=Pace(concurrency=devices))
    deployment = controller.operations.create_deployment(order, "benchmark")
    for number in range(rules):
        where = f'inventory.site = "site-{number}" and mem_mb >= 512'
        controller.operations.create_deployment(Order(release="release", where=where), "benchmark")
    with controller.store.write() as connection:
        connection.execute(update(PART).values(offered=True))
    controller.store.close()
    return deployment.id


def reports(deployment_id: str) -> Iterator[Report]:
    """Return what one device reports in one rollout, in order."""
    at = datetime.now(UTC)
    seq = 1

    def report(status: DeviceStatus, **fields: object) -> Report:
        nonlocal seq
        made = Report(deployment_id=deployment_id, attempt=1, seq=seq, status=status, boot_id="b" * 36, at=at, **fields)  # type: ignore[arg-type]  # fields of Report
        seq += 1
        return made

    yield report(DeviceStatus.DOWNLOADING)
    for step in range(1, PROGRESS_REPORTS + 1):
        done = Progress(done=ARTIFACT_SIZE * step // PROGRESS_REPORTS, total=ARTIFACT_SIZE)
        yield report(DeviceStatus.DOWNLOADING, progress=done)
    yield report(DeviceStatus.INSTALLING, substate="ArtifactInstall")
    yield report(DeviceStatus.INSTALLING, substate="ArtifactCommit")
    yield report(DeviceStatus.SUCCESS, artifact_name="release")


def packets(deployment_id: str, devices: int) -> Iterator[bytes]:
    """Return the reports of all devices, packed: first the first of every device, then the second of every device."""
    number = 0
    for report in reports(deployment_id):
        payload = encode(report)
        for device in range(devices):
            number += 1
            yield publish_packet(Topic(f"device-{device:05}", Kind.REPORT).text(), payload, number)


def client(session: str) -> paho.Client:
    """Return an MQTT client as the controller's link makes it."""
    made = paho.Client(CallbackAPIVersion.VERSION2, client_id=session, clean_session=False, manual_ack=True)
    made.max_inflight_messages_set(IN_FLIGHT_MAX)
    return made


def subscribe(port: int, session: str) -> None:
    """Have the broker keep the devices' messages for a session from now on."""
    done = threading.Event()
    subscriber = client(session)
    subscriber.on_subscribe = lambda *_: done.set()
    subscriber.connect("127.0.0.1", port)
    subscriber.loop_start()
    subscriber.subscribe(uplinks(), qos=1)
    assert done.wait(10)
    subscriber.disconnect()
    subscriber.loop_stop()


def drain_with_the_client_alone(port: int, total: int) -> Spent:
    """Receive and acknowledge all that waits; returns what that took."""
    received, done = 0, threading.Event()
    receiver = client(RECEIVER)

    def on_message(receiver: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        nonlocal received
        receiver.ack(message.mid, message.qos)
        received += 1
        if received == total:
            done.set()

    receiver.on_message = on_message
    with spending() as spent:
        receiver.connect("127.0.0.1", port)
        receiver.loop_start()
        assert done.wait(DRAIN_TIMEOUT_S)
    receiver.disconnect()
    receiver.loop_stop()
    return spent[0]


def drain_with_a_controller(config: Config, deployment_id: str, *, profile: bool) -> Spent:
    """Start a controller on its full session, and wait until the deployment is finished; returns what that took."""
    controller = Controller(config, "http://127.0.0.1:1")
    profiler = cProfile.Profile()
    if profile:
        thread, run = controller.pipeline._thread, controller.pipeline._run  # noqa: SLF001  to look inside is the point
        thread._target = lambda: profiler.runcall(run)  # type: ignore[attr-defined]  # noqa: SLF001  as above

    def is_finished() -> bool:
        time.sleep(0.05)
        with controller.store.read() as connection:
            ledger = Ledger(connection, time.time())
            ledger.load_deployments([deployment_id])
            return ledger.deployments[deployment_id].status is DeploymentStatus.FINISHED

    with spending() as spent:
        controller.start()
        wait_until(is_finished, DRAIN_TIMEOUT_S, "the deployment to be finished")
    controller.stop()
    batches, taken = controller.counts.batches, sum(controller.counts.taken.values())
    print(f"  {taken} messages in {batches} batches; refused: {dict(controller.counts.refused)}")
    if profile:
        pstats.Stats(profiler).sort_stats("tottime").print_stats(60)
    return spent[0]


if __name__ == "__main__":
    main()
