"""A process that runs schedules: `python -m tests.agent.crash.worker FOLDER WAY`, jobs on standard input.

    {"faults": []}                              the points of the whole way
    {"faults": [["fsync data", 2, "reset"]]}    one schedule; each fault counts its points from the one before
    {"faults": [...], "then": "reset"}          the same, and then a second fault at each point that follows

Says one line for each job: the points of the last segment, how many schedules were run, and what was wrong.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from tests.agent.crash.bench import NEW, SCRIPT, SCRIPTS, WAYS, Bench
from tests.agent.crash.conductor import DISK_FULL, Conductor, Fault, Stuck
from tests.agent.crash.driver import Controller
from tests.agent.crash.judge import problems
from tests.agent.crash.plans import places
from tests.agent.update.lab import run
from tests.agent.update.web import Web
from wainwright_common.messages import Action, Artifact, Offer
from wainwright_common.statuses import FINISHED

SHIPPED = Path(__file__).parents[3] / "agent/wainwright_agent/modules/v3"

TRIES = 5  # of a fault whose point does not come each time: see `Missed`


class Missed(Exception):  # noqa: N818  tried again
    """The point of a fault did not come.

    Bytes of a download come in other pieces each time, and a reboot that was asked for may be there before the agent
    takes another step.
    """


class Job(msgspec.Struct, frozen=True):
    """Which schedules to run."""

    faults: tuple[tuple[str, int, str], ...]
    then: str | None = None
    only: str = "all"
    """At which of the points that follow the second fault happens: a word of plans.py."""
    deaf_boots: int = 0
    """After the faults: how many boots of the device hear nothing of the controller."""


class Done(msgspec.Struct, frozen=True):
    """What has come of a job."""

    points: tuple[str, ...]
    schedules: int
    wrong: tuple[str, ...] = ()
    outcomes_told: int = 0
    """How often an outcome was published."""
    missed: int = 0
    """Schedules that did not happen, however often they were tried; they are not among `schedules`."""


class Worker:
    """One device, used again and again."""

    def __init__(self, folder: Path, bench: Bench, offer: Offer, spared: set[int]) -> None:
        self._fresh = folder / "fresh"
        self._middle = folder / "middle"
        self._bench = bench
        self._conductor = Conductor(bench, offer, spared)
        self._boots = bench.keep(self._fresh)

    def do(self, job: Job) -> Done:
        """Run the schedules of a job; a first fault that does not happen is tried again."""
        for _ in range(TRIES - 1):
            with contextlib.suppress(Missed):
                return self._do(job)
        try:
            return self._do(job)
        except Missed:
            return Done((), 0, missed=1)

    def _do(self, job: Job) -> Done:
        self._conductor.end_all()
        self._bench.put_back(self._fresh, self._boots)
        faults = [Fault(*fault) for fault in job.faults]
        full = next((fault for fault in faults if fault.kind in DISK_FULL), None)
        try:
            if full is not None:
                return self._around_a_full_disk(full, job)
            for fault in faults:
                trace = self._conductor.run(fault)
                if not trace.faulted:
                    raise Missed
            if job.then is not None:
                return self._second(faults, job)
            for _ in range(job.deaf_boots):
                self._conductor.run(is_deaf=True)
                self._bench.boot()
            trace = self._conductor.run()
            told = [report for report in Controller(self._bench.root).reports if report.status in FINISHED]
            return Done(tuple(trace.points), 1, self._judged(faults), len(told))
        except Stuck as stuck:
            return Done((), 1, (f"{_words(faults)}: {stuck}",))

    def _around_a_full_disk(self, full: Fault, job: Job) -> Done:
        """Run an update to its end on a disk that is full once, restart it; then again, with a kill in between."""
        trace = self._conductor.run(full=full)
        self._conductor.run()
        wrong = [*self._judged([full])]
        chosen = places(trace.points, job.only) if job.then is not None else []
        chosen = [at for at in chosen if at > _index(trace.points, full)]
        missed = 0
        for at in chosen:
            found = self._once_more([], _fault(trace.points, at, job.then or ""), full)
            wrong += found or ()
            missed += found is None
        return Done(tuple(trace.points), 1 + len(chosen) - missed, tuple(wrong), missed=missed)

    def _second(self, faults: list[Fault], job: Job) -> Done:
        """Run a second fault at each point that follows the first ones."""
        is_shared = not self._conductor.left_running()  # what is stuck in a module cannot be copied
        boots = self._bench.keep(self._middle)
        trace = self._conductor.run()
        wrong = [*self._judged(faults)]
        chosen = places(trace.points, job.only)
        missed = 0
        for at in chosen:
            second = _fault(trace.points, at, job.then or "")
            found = self._once_more(faults, second, None, boots if is_shared else None)
            wrong += found or ()
            missed += found is None
        return Done(tuple(trace.points), 1 + len(chosen) - missed, tuple(wrong), missed=missed)

    def _once_more(
        self, before: list[Fault], fault: Fault, full: Fault | None, boots: int | None = None
    ) -> tuple[str, ...] | None:
        """Run one schedule of two faults, from the copy of the device after the first where there is one.

        Returns what is wrong at its end; None when a fault did not happen in TRIES tries.
        """
        faults = [*before, *([] if full is None else [full]), fault]
        for _ in range(TRIES):
            self._conductor.end_all()
            try:
                if boots is not None:
                    self._bench.put_back(self._middle, boots)
                elif not self._has_happened(before):
                    continue
                if not self._conductor.run(fault, full=full).faulted:
                    continue
                self._conductor.run()
                return self._judged(faults)
            except Stuck as stuck:
                return (f"{_words(faults)}: {stuck}",)
        return None

    def _has_happened(self, faults: list[Fault]) -> bool:
        """Begin anew with these faults; say whether they happened."""
        self._bench.put_back(self._fresh, self._boots)
        return all(self._conductor.run(fault).faulted for fault in faults)

    def _judged(self, faults: list[Fault]) -> tuple[str, ...]:
        found = problems(self._bench, self._conductor.outlasting(), is_interrupted=bool(faults))
        return tuple(f"{_words(faults)}: {problem}" for problem in found)


def _fault(points: Sequence[str], at: int, kind: str) -> Fault:
    """Return the fault of a kind at one of these points."""
    return Fault(points[at], points[:at].count(points[at]), kind)


def _index(points: Sequence[str], fault: Fault) -> int:
    return [at for at, what in enumerate(points) if what == fault.what][fault.nth]


def _words(faults: Sequence[Fault]) -> str:
    return ", then ".join(f"{fault.kind} at {fault.what!r} {fault.nth}" for fault in faults) or "no fault"


@contextmanager
def served(blob: bytes) -> Iterator[tuple[str, int]]:
    """Serve one file from a process of its own; yield its address and the process: a fork wants no threads here."""
    read, write = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        web = Web()
        web.files["/artifact"] = blob
        os.write(write, f"{web.url}/artifact\n".encode())
        while os.getppid() == parent:  # so that it does not outlive a worker that is killed
            time.sleep(1.0)
        os._exit(0)
    try:
        yield os.read(read, 200).decode().strip(), pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(read)
        os.close(write)


def artifact(folder: Path, bench: Bench) -> bytes:
    """Write the artifact of a bench with the real tool."""
    source = folder / "source"
    source.mkdir()
    files = {"panel": NEW}
    if bench.way.module == "single-file":
        files |= {"dest_dir": str(bench.target.parent).encode(), "filename": b"panel", "permissions": b"0644"}
    options = []
    for name, content in files.items():
        (source / name).write_bytes(content)
        options += ["-f", str(source / name)]
    for name in SCRIPTS if bench.way.scripts else ():
        bench.program(f"../source/{name}", SCRIPT)
        options += ["-s", str(source / name)]
    out = folder / "release-2.mender"
    tool = ("mender-artifact", "write", "module-image", "-n", "release-2", "-t", "lab", "--compression", "none")
    run(*tool, "-T", bench.way.module, "-o", str(out), *options)
    return out.read_bytes()


def main(folder: Path, way: str) -> None:
    """Do the jobs of standard input."""
    bench = Bench(folder / "device", WAYS[way])
    bench.build(SHIPPED)
    blob = artifact(folder, bench)
    with served(blob) as (url, web):
        about = Artifact(
            id="a-1",
            name="release-2",
            size=len(blob),
            sha256=hashlib.sha256(blob).hexdigest(),
            uri=url,
            expires=datetime.now(UTC) + timedelta(days=1),
        )
        offer = Offer(deployment_id="d-1", attempt=1, action=Action.INSTALL, artifact=about)
        worker = Worker(folder, bench, offer, {web})
        try:
            for line in sys.stdin.buffer:
                done = worker.do(msgspec.json.decode(line, type=Job))
                sys.stdout.buffer.write(msgspec.json.encode(done) + b"\n")
                sys.stdout.buffer.flush()
        finally:
            worker._conductor.end_all()


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
