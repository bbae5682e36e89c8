"""A thousand technicians, or one broken script, ask a device to check in within a second."""

from __future__ import annotations

import itertools
import re
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Self

import pytest
import requests

from tests.support.mosquitto import Mosquitto
from tests.support.system import System
from wainwright_agent.checkin import GAP_S
from wainwright_agent.cli.ask import _ask
from wainwright_agent.config import load
from wainwright_agent.control import CLIENTS_MAX

CALLERS = 1000
TIMEOUT_S = 200.0  # each caller's; on a machine that does nothing else the last one has waited about 10 s
WATCHDOG_S = 20.0
PRESS = "press-01"
OTHER_THREADS = 16  # of the agent: link, update, accepting, scripts
OTHER_FILES = 16
MEMORY_MAX_KB = 24 * 1024  # that a storm may cost: threads' stacks, mostly


class Watchdog:
    """What a service manager hears: when each sign of life came."""

    def __init__(self, path: Path) -> None:
        self.signs: list[float] = []
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(path))
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while message := self._socket.recv(4096):
            if b"WATCHDOG=1" in message:
                self.signs.append(time.monotonic())

    def close(self) -> None:
        """Hear no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()

    def longest_gap_s(self, since: float) -> float:
        """Return the longest time without a sign, from one before `since` until now."""
        times = [max((sign for sign in self.signs if sign < since), default=since)]
        times += [sign for sign in self.signs if sign >= since] + [time.monotonic()]
        return max(after - before for before, after in itertools.pairwise(times))


class Peaks:
    """The most that a process has had at once, looked at all the time; use it with `with`."""

    def __init__(self, pid: int) -> None:
        self._proc = Path(f"/proc/{pid}")
        self.before = self._look()
        self.most = Counter(self.before)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._is_over.wait(0.02):
            self.most |= self._look()

    def _look(self) -> Counter[str]:
        status = (self._proc / "status").read_text()
        numbers = {name: int(number) for name, number in re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE)}
        return Counter({**numbers, "files": sum(1 for _ in (self._proc / "fd").iterdir())})


@pytest.fixture
def system(mosquitto: Mosquitto, tmp_path: Path) -> Iterator[System]:
    with System(tmp_path / "s", mosquitto.url, agents=1, auto_accept=True) as system:
        yield system


@pytest.fixture
def watchdog(tmp_path: Path) -> Iterator[Watchdog]:
    with closing(Watchdog(tmp_path / "notify")) as watchdog:
        yield watchdog


def check_ins(system: System) -> int:
    """Return how many check-ins the controller has taken."""
    text = requests.get(f"{system.stage.url}/metrics", timeout=30).text
    found = re.search(r'^wainwright_messages_total\{kind="check-in"\} (\d+)', text, re.MULTILINE)
    assert found, text
    return int(found[1])


@pytest.mark.timeout(300)
def test_a_thousand_local_check_ins_in_a_second_are_answered_and_the_controller_hears_few(
    system: System, watchdog: Watchdog, tmp_path: Path
) -> None:
    system.env |= {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": str(round(WATCHDOG_S * 1e6))}
    system.start_agents()
    config = load(system.agent(PRESS).config, {})
    answers: list[str] = []
    known = check_ins(system)

    def ask() -> None:
        answer = _ask(config, "check-in", TIMEOUT_S)
        answers.append(answer["reply"]["why"]["code"] if "reply" in answer else f"{answer['error']}: {answer['text']}")

    threads = [threading.Thread(target=ask) for _ in range(CALLERS)]
    with Peaks(system.processes.pid(PRESS)) as peaks:
        began = time.monotonic()
        for thread in threads:
            thread.start()
        all_ask = time.monotonic()
        for thread in threads:
            thread.join()
        over = time.monotonic()

    heard = check_ins(system) - known
    print(
        f"{CALLERS} callers within {all_ask - began:.2f} s, all answered in {over - began:.1f} s; "
        f"{heard} check-ins; before {dict(peaks.before)}, most {dict(peaks.most)}"
    )
    assert Counter(answers) == {"no-deployment": CALLERS}
    assert 1 <= heard <= 2 + (over - began) / GAP_S
    assert peaks.most["Threads"] <= CLIENTS_MAX + OTHER_THREADS
    assert peaks.most["files"] <= CLIENTS_MAX + peaks.before["files"] + OTHER_FILES
    assert peaks.most["VmRSS"] - peaks.before["VmRSS"] < MEMORY_MAX_KB
    assert watchdog.longest_gap_s(began) < WATCHDOG_S

    system.release("after", "press")
    assert system.finished(system.deploy("after"))["counts"] == {"success": 1}
    assert watchdog.signs
