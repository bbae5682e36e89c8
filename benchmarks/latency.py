"""From `POST /api/v1/deployments` to the first `downloading` report in the store, with real processes.

A controller and agents as they are shipped, each a process; a deployment to one idle device; the clock stops when the
device's status is committed, as another process reads it from the database. Then the update is carried out, and when
all are idle again, the next device is asked.
"""

from __future__ import annotations

import argparse
import sqlite3
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from benchmarks.figures import machine, milliseconds
from tests.support.mosquitto import Mosquitto
from tests.support.system import System

RUNS = 100
AGENTS = 3
RELEASE = "release"
REST_S = 0.5  # between two runs: the device before has cleaned up, and the fleet is idle
LOOK_S = 0.0005  # between two looks into the database
TIMEOUT_S = 60.0


def main(argv: Sequence[str] | None = None) -> None:
    """Measure on both brokers, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--broker", choices=["mosquitto", "embedded", "both"], default="both")
    arguments = parser.parse_args(argv)
    print(f"latency: {arguments.runs} deployments to one of {AGENTS} devices each; {machine()}")
    brokers = ["mosquitto", "embedded"] if arguments.broker == "both" else [arguments.broker]
    for broker in brokers:
        with system_on(broker) as system:
            seconds = [measure(system, number) for number in range(arguments.runs)]
        print(f"  {broker:9}  {milliseconds(seconds)}")


@contextmanager
def system_on(broker: str) -> Iterator[System]:
    """Run a controller and accepted agents on one of the two brokers."""
    with tempfile.TemporaryDirectory(prefix="wb-") as name:
        folder = Path(name)
        if broker == "embedded":
            with system_of(folder, None) as system:
                yield system
        else:
            with Mosquitto(folder / "mosquitto") as mosquitto, system_of(folder, mosquitto.url) as system:
                yield system


@contextmanager
def system_of(folder: Path, broker_url: str | None) -> Iterator[System]:
    """Run a controller and accepted agents that have a release to install."""
    with System(folder / "system", broker_url, agents=AGENTS, auto_accept=True) as system:
        system.start_agents()
        system.release(RELEASE, size=4096)
        yield system


def measure(system: System, number: int) -> float:
    """Deploy once, to the devices in turn; returns the seconds until the report is in the store."""
    device_id = system.stage.devices[number % AGENTS].id
    database = system.stage.folder / "controller" / "wainwright.db"
    time.sleep(REST_S)
    began = time.perf_counter()
    deployment_id = system.deploy(RELEASE, device_id, force=True)
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        while not has_reported(connection, deployment_id):
            if time.perf_counter() - began > TIMEOUT_S:
                raise TimeoutError(f"{device_id} did not report within {TIMEOUT_S:.0f} s")
            time.sleep(LOOK_S)
    seconds = time.perf_counter() - began
    deployment = system.finished(deployment_id)
    assert deployment["outcome"] == "success", deployment
    return seconds


def has_reported(connection: sqlite3.Connection, deployment_id: str) -> bool:
    """Say whether a device's first report is committed."""
    query = "SELECT status FROM device_deployment WHERE deployment_id = ?"
    status: str = connection.execute(query, (deployment_id,)).fetchone()[0]
    return status != "pending"


if __name__ == "__main__":
    main()
