"""Signals: an agent heeds them at once, whichever of its threads the kernel gives them to, and at whatever moment."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from random import Random

import pytest

from tests.agent.service.peers import Agent, Controller, new_device_id
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_agent.config import load
from wainwright_agent.control import ask
from wainwright_common.messages import CheckIn

SOON_S = 20.0  # an agent that does not notice sleeps for 30 s
AT_ONCE = 8  # agents
START_S = 4.0  # within which most agents on a busy machine have connected


def other_threads(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the ids of a process's threads, without the main one."""
    return sorted({int(thread.name) for thread in Path(f"/proc/{process.pid}/task").iterdir()} - {process.pid})


def send_to_thread(process: subprocess.Popen[bytes], thread: int, number: signal.Signals) -> bool:
    """Give a signal to one thread, as the kernel may with what a process is sent; says whether it was there. tgkill(2).

    An agent has threads that end, as the one that runs the inventory's scripts.
    """
    is_there: bool = ctypes.CDLL(None).tgkill(process.pid, thread, int(number)) == 0
    return is_there


def wait_for_reply(agent: Agent) -> None:
    """Wait until the agent has nothing to do before the next check-in."""
    wait_until(lambda: "no offer" in agent.logged(), what="the reply to arrive")


@contextmanager
def idle(agent: Agent, controller: Controller) -> Iterator[subprocess.Popen[bytes]]:
    """Start an agent, and wait until nothing but a signal would wake it for long."""
    agent.start()
    controller.wait_for(CheckIn)
    wait_for_reply(agent)
    assert agent.process is not None
    yield agent.process


def test_every_thread_may_get_the_signal_that_asks_for_a_check_in(agent: Agent, controller: Controller) -> None:
    with idle(agent, controller) as process:
        count = 1
        for thread in other_threads(process):
            if send_to_thread(process, thread, signal.SIGUSR1):
                count += 1
                controller.wait_for(CheckIn, count)

        assert count > 2


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_agent_ends_at_once_when_another_thread_gets_the_signal(
    agent: Agent, controller: Controller, number: signal.Signals
) -> None:
    with idle(agent, controller) as process:
        assert send_to_thread(process, other_threads(process)[0], number)
        begin = time.monotonic()

        assert process.wait(PATIENCE_S) == 0
        assert time.monotonic() - begin < SOON_S
        controller.wait_for_presence(online=False)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("rounds", [1, pytest.param(30, marks=pytest.mark.long)])
def test_agents_that_are_told_to_end_at_random_moments_end_soon(
    tmp_path: Path, mosquitto: Mosquitto, rounds: int
) -> None:
    random, took = Random(1), []
    for _ in range(rounds):
        with ExitStack() as running:
            agents = [running.enter_context(a_device(tmp_path, mosquitto)) for _ in range(AT_ONCE)]
            due = {agent: time.monotonic() + random.uniform(0, START_S) for agent in agents}
            for agent in sorted(agents, key=due.__getitem__):
                time.sleep(max(0.0, due[agent] - time.monotonic()))
                took.append(seconds_to_end(agent))

    print(f"{len(took)} stops, the slowest {max(took):.2f} s")
    assert max(took) < SOON_S


@pytest.mark.timeout(900)
@pytest.mark.parametrize("signals", [200, pytest.param(2000, marks=pytest.mark.long)])
def test_a_signal_that_comes_while_the_main_thread_goes_back_to_sleep_is_heeded(
    agent: Agent, controller: Controller, signals: int
) -> None:
    config = load(agent.config, {})
    with on_one_processor(), idle(agent, controller) as process:
        for _ in range(signals):
            controller.heard.clear()
            next(ask(config, "status", line_s=SOON_S))  # its answer comes when the main thread is about to sleep

            process.send_signal(signal.SIGUSR2)

            wait_until(controller.inventories, SOON_S, "the inventory")


@contextmanager
def on_one_processor() -> Iterator[None]:
    """Have this thread and what it starts share a processor: then whoever is woken comes before who has woken it."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def a_device(folder: Path, mosquitto: Mosquitto) -> Iterator[Agent]:
    """Start an agent in a folder of its own."""
    device_id = new_device_id()
    (folder / device_id).mkdir()
    with Agent(folder / device_id, mosquitto.url, device_id) as agent:
        yield agent.start()


def seconds_to_end(agent: Agent) -> float:
    """Tell an agent to end and wait until it has; it may not have come so far as to heed signals in its own way."""
    assert agent.process is not None
    begin = time.monotonic()
    agent.process.terminate()
    assert agent.process.wait(PATIENCE_S) in {0, -signal.SIGTERM}, agent.logged()
    return time.monotonic() - begin
