"""The process that is killed: the agent's updater with its journal, and a controller that judges by the real rules.

The link between the two is a function call here. Between a report and its Ack lie two points: before the controller
has committed the report, and before the agent hears of it. So a report, or an Ack, is lost by a kill as on a line.
"""

from __future__ import annotations

import math
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import msgspec
from msgspec import UNSET

from tests.agent.crash.bench import Bench
from tests.agent.crash.points import Points, install
from tests.support.wait import wait_until
from wainwright_agent.actions import Limits
from wainwright_agent.journal import Journal
from wainwright_agent.update import Updater
from wainwright_common.messages import Ack, Offer, Report
from wainwright_common.statuses import FINISHED
from wainwright_controller.records import Deployment, DeviceDeployment, Strategy
from wainwright_controller.rules.reports import judge

LIMITS = Limits(grace_s=0.3, journal_retry_s=0.01)
END_S = 60.0  # for one run of the agent; a generous bound against waiting for ever
RESEND_S = 2.0  # as outbox.py does it, sooner: reports that nobody has acknowledged are told again
OFFERS_MAX = 5  # in one run of the agent
DEPLOYMENT = Deployment(
    id="d-1",
    sequence=1,
    name="d-1",
    artifact_name="release-2",
    target="all",
    strategy=Strategy.IMMEDIATE,
    retries=0,
    in_progress_timeout_s=86400.0,
    force=False,
    device_count=1,
    created_at=0.0,
    created_by="test",
)


class Controller:
    """The part of one device in one deployment, as the controller's database has it."""

    def __init__(self, root: Path) -> None:
        self._file = root / "controller.json"
        self._log = root / "reports"

    @property
    def part(self) -> DeviceDeployment:
        """What is committed."""
        if not self._file.exists():
            return DeviceDeployment(deployment_id="d-1", device_id="press-07", sequence=1, phase=1, offered=True)
        return msgspec.json.decode(self._file.read_bytes(), type=DeviceDeployment)

    @property
    def is_finished(self) -> bool:
        """Whether it offers nothing any more."""
        return self.part.status in FINISHED

    def hear(self, report: Report) -> None:
        """Note that a report was published, whatever becomes of it."""
        with self._log.open("ab") as file:
            file.write(msgspec.json.encode(report) + b"\n")

    def take(self, report: Report) -> Ack:
        """Judge a report, commit, and return the answer."""
        verdict, part = judge(self.part, report, DEPLOYMENT, now=0.0, jitter=0.0)
        new = self._file.with_suffix(".new")
        new.write_bytes(msgspec.json.encode(part))
        new.replace(self._file)
        return Ack(
            deployment_id=report.deployment_id,
            attempt=report.attempt,
            seq=report.seq,
            verdict=verdict,
            status=self.part.status,
        )

    @property
    def reports(self) -> list[Report]:
        """All that was ever published."""
        lines = self._log.read_bytes().splitlines() if self._log.exists() else []
        return [msgspec.json.decode(line, type=Report) for line in lines]


def be_agent(bench: Bench, offer: Offer, *, tell_syncs: bool, is_deaf: bool = False) -> NoReturn:
    """Be one run of the agent, in a process that was forked for it; ends when nothing is left to do, or on SIGTERM."""
    status = 1
    try:
        os.dup2(os.open(bench.root / "stderr", os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        sys.stderr = open(2, "w", closefd=False)  # noqa: SIM115  a descriptor
        points = Points(bench.root, bench.disk, tell_syncs=tell_syncs)
        install(points)
        _run(bench, offer, points, is_deaf=is_deaf)
        status = 0
    except BaseException:  # noqa: BLE001  whatever it is, the parent's loop must not run here
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _run(bench: Bench, offer: Offer, points: Points, *, is_deaf: bool) -> None:
    controller = Controller(bench.root)
    journal = Journal.open(bench.data)
    stopping = threading.Event()
    something = threading.Event()

    def publish(report: Report) -> None:
        controller.hear(report)
        if is_deaf or report.progress is not UNSET:  # progress may be lost, and here it always is
            return
        points.at(f"report {report.status}")
        ack = controller.take(report)
        points.at(f"ack {report.status}")
        updater.verdict(ack)

    updater = Updater(bench.config(), journal, publish=publish, changed=something.set, limits=LIMITS)

    def stop(*_: object) -> None:
        stopping.set()
        updater.stop()
        something.set()

    points.on_stop = stop
    signal.signal(signal.SIGTERM, stop)
    for report in journal.state.outbox:
        publish(report)
    if updater.needs_link and not is_deaf:
        updater.offer(offer)
    worker = threading.Thread(target=updater.run)
    worker.start()
    again = _Again(journal, publish, math.inf if is_deaf else RESEND_S)  # whom nobody hears tells it once a boot
    for _ in range(OFFERS_MAX):
        if journal.state.update is None and not stopping.is_set() and not (is_deaf or controller.is_finished):
            updater.offer(offer)
        wait_until(lambda: stopping.is_set() or _is_idle(worker, journal, something, again), END_S, "the update's end")
        if stopping.is_set() or is_deaf or controller.is_finished:
            break
    updater.stop()
    worker.join()


class _Again:
    """Tells again what nobody has acknowledged for a while: the disk may have been too full for what was heard."""

    def __init__(self, journal: Journal, publish: Callable[[Report], None], resend_s: float) -> None:
        self._journal = journal
        self._publish = publish
        self._resend_s = resend_s
        self._told_at = time.monotonic()

    def look(self) -> None:
        if not self._journal.state.outbox:
            self._told_at = time.monotonic()
        elif time.monotonic() > self._told_at + self._resend_s:
            for report in self._journal.state.outbox:
                self._publish(report)
            self._told_at = time.monotonic()


def _is_idle(worker: threading.Thread, journal: Journal, something: threading.Event, again: _Again) -> bool:
    assert worker.is_alive(), "the updater's thread has ended"
    again.look()
    if journal.state.update is None:
        return True
    something.wait(0.05)
    something.clear()
    return journal.state.update is None
