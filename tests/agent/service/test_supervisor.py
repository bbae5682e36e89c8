"""What the service manager is told, and what an idle agent costs."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.agent.service.peers import Agent, Controller, offer_of, offered
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_agent.config import load
from wainwright_agent.events import EventQueue, Stop, spawn
from wainwright_agent.service import Service
from wainwright_agent.supervisor import Watchdog, log_to_stderr, notify, watchdog_interval_s
from wainwright_common.messages import CheckIn, LogLines, Report

NEVER_IDLE = {
    "requests",
    "urllib3",
    "urllib.request",
    "http.client",
    "email",
    "cryptography",
    "asyncio",
    "sqlite3",
    "backports",
    "concurrent.futures",
    "multiprocessing",
}
RSS_MAX_MB = 32  # measured 22 to 24 on Python 3.11, x86-64


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    """The socket on which a service manager listens."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(PATIENCE_S)
        yield listener


def _drain(manager: socket.socket) -> set[bytes]:
    """Return what was told so far."""
    told = set()
    timeout_s = manager.gettimeout()
    manager.settimeout(0)
    try:
        while True:
            told.add(manager.recv(100))
    except BlockingIOError:
        return told
    finally:
        manager.settimeout(timeout_s)


def test_the_service_manager_learns_of_the_start_the_life_and_the_end(
    agent: Agent, controller: Controller, manager: socket.socket
) -> None:
    agent.start({"NOTIFY_SOCKET": str(manager.getsockname()), "WATCHDOG_USEC": "200000"})
    assert agent.process is not None
    told: set[bytes] = set()
    while b"WATCHDOG=1" not in told or not controller.all(CheckIn):
        told.add(manager.recv(100))
    agent.process.terminate()
    while b"STOPPING=1" not in told:  # a manager that does not listen holds the agent up, once a few signs wait
        told.add(manager.recv(100))

    assert told == {b"READY=1", b"WATCHDOG=1", b"STOPPING=1"}
    assert agent.process.wait(PATIENCE_S) == 0


SLOW_MEDIUM = """
import os, sys, time
from wainwright_agent import cli
real, slow = os.fsync, sys.argv[1]
def fsync(descriptor):
    if os.path.exists(slow):
        print('the medium is busy', file=sys.stderr, flush=True)
    while os.path.exists(slow):
        time.sleep(0.01)
    real(descriptor)
os.fsync = fsync
sys.exit(cli.main(["run", "--config", sys.argv[2]]))
"""


def test_a_medium_that_is_busy_for_long_does_not_starve_the_watchdog(
    agent: Agent, controller: Controller, manager: socket.socket, tmp_path: Path
) -> None:
    slow = tmp_path / "slow"
    slow.touch()
    controller.reply = lambda check_in: offered(check_in, offer_of("http://127.0.0.1:1/", b"x"))
    with agent.log.open("ab") as log:
        command = [sys.executable, "-c", SLOW_MEDIUM, str(slow), str(agent.config)]
        env = {"NOTIFY_SOCKET": str(manager.getsockname()), "WATCHDOG_USEC": "40000"}
        agent.process = subprocess.Popen(command, stderr=log, env=os.environ | env)

    def is_storing() -> bool:
        manager.recv(100)  # or the manager's queue is full, and whoever tells it something waits
        return "Updating to" in agent.logged()

    wait_until(is_storing, what="the agent to store that an update begins")
    _drain(manager)  # what was told before
    assert {manager.recv(100) for _ in range(3)} == {b"WATCHDOG=1"}
    assert controller.all(Report) == []

    slow.unlink()
    wait_until(lambda: (manager.recv(100), controller.all(Report))[1], what="the report of what was stored")


def test_logs_that_a_busy_medium_does_not_take_do_not_starve_the_watchdog(
    agent: Agent, controller: Controller, manager: socket.socket, tmp_path: Path
) -> None:
    slow = tmp_path / "slow"
    slow.touch()
    controller.reply = lambda check_in: offered(check_in, offer_of("http://127.0.0.1:1/", b"x"))
    with agent.log.open("ab") as log:
        program = SLOW_MEDIUM.replace("fsync", "fdatasync")
        command = [sys.executable, "-c", program, str(slow), str(agent.config)]
        env = {"NOTIFY_SOCKET": str(manager.getsockname()), "WATCHDOG_USEC": "40000"}
        agent.process = subprocess.Popen(command, stderr=log, env=os.environ | env)
    wait_until(lambda: (manager.recv(100), "the medium is busy" in agent.logged())[1], what="the agent to sync a log")
    _drain(manager)  # what was told before
    assert {manager.recv(100) for _ in range(3)} == {b"WATCHDOG=1"}
    assert controller.all(LogLines) == []

    slow.unlink()
    wait_until(lambda: (manager.recv(100), controller.all(LogLines))[1], what="the log")


def test_a_medium_that_never_answers_is_waited_for_only_so_long(
    manager: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.getsockname()))
    watchdog = Watchdog(lambda: True, {"WATCHDOG_USEC": "2000000"}, patience_s=3.0)  # fewer signs than a queue takes
    is_given_up = threading.Event()
    feed_until = watchdog._feed_until

    def feed(is_over: threading.Event) -> None:
        feed_until(is_over)
        assert not is_over.is_set()
        is_given_up.set()

    monkeypatch.setattr(watchdog, "_feed_until", feed)

    with watchdog.patience():
        assert is_given_up.wait(PATIENCE_S)

    assert manager.recv(100) == b"WATCHDOG=1"


def test_without_a_service_manager_nothing_is_told() -> None:
    notify("READY=1", {})
    assert watchdog_interval_s({}) is None
    assert watchdog_interval_s({"WATCHDOG_USEC": "30000000"}) == 15


def test_an_abstract_notify_socket_works() -> None:
    name = f"wainwright-test-notify-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        notify("READY=1", {"NOTIFY_SOCKET": f"@{name}"})

        assert listener.recv(100) == b"READY=1"


def test_in_the_journal_a_log_line_begins_with_its_level(capfd: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.handlers[:], root.level
    try:
        log_to_stderr("info", {"JOURNAL_STREAM": "8:1"})
        logging.getLogger("a").warning("one")
        logging.getLogger("a").debug("none")
        log_to_stderr("info", {})
        logging.getLogger("a").error("two")
    finally:
        root.handlers[:], root.level = before

    one, two = capfd.readouterr().err.splitlines()
    assert one == "<4>a: one"
    assert two.endswith("Z ERROR   a: two")


def test_a_thread_that_fails_stops_the_service_with_its_error() -> None:
    events: EventQueue = EventQueue()

    def fail() -> None:
        raise ZeroDivisionError("a bug")

    spawn(events, "update", fail).join(PATIENCE_S)

    stop = events.get(timeout=1)
    assert isinstance(stop, Stop)
    assert isinstance(stop.error, ZeroDivisionError)
    assert stop.reason == "the thread update failed: a bug"


def test_an_idle_agent_has_not_loaded_what_only_an_update_needs(agent: Agent, controller: Controller) -> None:
    """The list comes from the interpreter itself, by -X importtime: the agent has no way in for tests."""
    with agent.log.open("ab") as log:
        command = [sys.executable, "-X", "importtime", "-m", "wainwright_agent", "run", "--config", str(agent.config)]
        agent.process = subprocess.Popen(command, stderr=log)
    controller.wait_for(CheckIn)
    wait_until(lambda: "no offer" in agent.logged(), what="the agent to be idle")
    loaded = {
        line.rpartition("|")[2].strip() for line in agent.logged().splitlines() if line.startswith("import time:")
    }

    assert {"paho.mqtt.client", "msgspec", "wainwright_agent.service"} <= loaded
    assert not {name for name in loaded if any(name == one or name.startswith(f"{one}.") for one in NEVER_IDLE)}

    memory = psutil.Process(agent.process.pid).memory_full_info()
    print(f"idle agent: RSS {memory.rss / 1e6:.1f} MB, PSS {memory.pss / 1e6:.1f} MB, {len(loaded)} modules")
    assert memory.rss < RSS_MAX_MB * 1e6


def test_an_idle_agent_sleeps(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    wait_until(lambda: "no offer" in agent.logged(), what="the agent to be idle")
    assert agent.process is not None
    process = psutil.Process(agent.process.pid)
    before = process.cpu_times()

    controller.wake()
    controller.wait_for(CheckIn, 2)

    after = process.cpu_times()
    assert after.user + after.system - before.user - before.system < 0.2
    wait_until(lambda: process.num_threads() <= 5, what="the threads of the inventory and of the answers to end")


def test_an_agent_whose_threads_do_not_live_does_not_feed_the_watchdog(
    agent: Agent, manager: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.getsockname()))
    monkeypatch.setenv("WATCHDOG_USEC", "200000")
    service = Service(load(agent.config, {}))  # its threads are not started
    manager.settimeout(0)

    service._do_what_is_due(time.monotonic())

    with pytest.raises(BlockingIOError):
        manager.recv(100)
    assert "the thread update has ended" in caplog.text
    assert "the thread link has ended" in caplog.text
