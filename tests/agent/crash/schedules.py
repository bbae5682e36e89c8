"""Running plans of crashes on several devices at a time, each of them a worker process."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Self

import msgspec

from tests.agent.crash.conductor import DISK_FULL
from tests.agent.crash.plans import Plan, places
from tests.agent.crash.worker import TRIES, Done, Job

PROGRESS = 1000  # schedules of a plan after which a line says how far it is
ROOT = Path(__file__).parents[3]


@dataclass
class Summary:
    """What has come of them; as text, the figures."""

    schedules: int = 0
    missed: int = 0
    seconds: float = 0.0
    wrong: list[str] = field(default_factory=list)
    of_each: dict[Plan, int] = field(default_factory=dict)

    def __str__(self) -> str:
        missed = f"; {self.missed} more did not happen in {TRIES} tries each" if self.missed else ""
        return f"{self.schedules} schedules in {self.seconds:.0f} s, {len(self.wrong)} ended wrong{missed}"


class Device:
    """A worker process."""

    def __init__(self, folder: Path, way: str) -> None:
        folder.mkdir()
        argv = [sys.executable, "-m", "tests.agent.crash.worker", str(folder), way]
        self._process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def do(self, job: Job) -> Done:
        """Run a job."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(msgspec.json.encode(job) + b"\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the worker has ended; its words are on standard error"
        return msgspec.json.decode(line, type=Done)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()


def explore(
    folder: Path, chosen: Sequence[Plan], *, workers: int = 2, say: Callable[[str], object] = lambda _: None
) -> Summary:
    """Run plans; `say` hears of each when it is done."""
    summary, began = Summary(), time.monotonic()
    waiting: SimpleQueue[tuple[int, Plan]] = SimpleQueue()
    for numbered in enumerate(chosen):
        waiting.put(numbered)
    mutex = threading.Lock()

    def work() -> None:
        for number, plan in _taken(waiting):
            done = _carry_out(folder / str(number), plan, say)
            with mutex:
                summary.schedules += done.schedules
                summary.missed += done.missed
                summary.wrong += done.wrong
                summary.of_each[plan] = done.schedules
                missed = f", {done.missed} did not happen" if done.missed else ""
                say(
                    f"{plan.way}, {plan.kind} at {plan.first}, then {plan.second}: "
                    f"{done.schedules}, {len(done.wrong)} wrong{missed}"
                )
                for line in done.wrong:
                    say(f"    {line}")

    threads = [threading.Thread(target=work) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(summary.of_each) == len(chosen), "a worker has ended"
    summary.seconds = time.monotonic() - began
    return summary


def _taken(waiting: SimpleQueue[tuple[int, Plan]]) -> Iterator[tuple[int, Plan]]:
    while True:
        try:
            yield waiting.get_nowait()
        except Empty:
            return


def _carry_out(folder: Path, plan: Plan, say: Callable[[str], object]) -> Summary:
    with Device(folder, plan.way) as device:
        whole = device.do(Job(()))
        result = Summary(whole.schedules, wrong=[*whole.wrong])
        for at in places(whole.points, plan.first):
            what = whole.points[at]
            then = None if plan.second == "none" else "reset" if plan.kind in DISK_FULL else plan.kind
            done = device.do(Job(((what, whole.points[:at].count(what), plan.kind),), then=then, only=plan.second))
            result.schedules += done.schedules
            result.missed += done.missed
            result.wrong += [f"{plan.way}: {line}" for line in done.wrong]
            if result.schedules // PROGRESS > (result.schedules - done.schedules) // PROGRESS:
                say(f"    {plan.way}, {plan.kind}: {result.schedules} so far, {len(result.wrong)} wrong")
        return result
