"""`wain status --watch`: a line for each change where nobody looks at a terminal, a picture where somebody does."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.agent.service.peers import Agent, Controller
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_agent.cli.watch import changes
from wainwright_common.messages import CheckIn

STOPPED: dict[str, Any] = {"device_id": "press-07", "agent": "stopped", "artifact_name": "panel-1"}
RUNNING = STOPPED | {"agent": "running", "link": {"connected": True, "broker": "mqtt://b"}}
DOWN = STOPPED | {"agent": "running", "link": {"connected": False, "broker": "mqtt://b", "error": "no route"}}
UPDATE = {"artifact_name": "panel-2", "deployment_id": "d-1", "attempt": 1}
TRYING = RUNNING | {"trying": UPDATE | {"state": "install"}}
ERROR = {"code": "install-failed", "text": "No room."}
FAILED = RUNNING | {"last": UPDATE | {"outcome": "failure", "error": ERROR, "rolled_back": True}}


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        ({}, STOPPED, ["press-07: the agent is stopped", "runs panel-1"]),
        (STOPPED, STOPPED, []),
        (STOPPED, RUNNING, ["press-07: the agent is running", "connected to mqtt://b"]),
        (RUNNING, DOWN, ["not connected: no route"]),
        (RUNNING, RUNNING | {"check_in": {"next_in_s": 5}}, []),
        (RUNNING, TRYING, ["panel-2, deployment d-1, attempt 1: install"]),
        (
            TRYING,
            FAILED,
            ["panel-2, deployment d-1, attempt 1: failure (install-failed: No room.), rolled back"],
        ),
        (RUNNING, RUNNING | {"artifact_name": "panel-2"}, ["runs panel-2"]),
    ],
)
def test_each_change_is_a_sentence_and_nothing_else_is(
    before: dict[str, Any], now: dict[str, Any], expected: list[str]
) -> None:
    assert list(changes(before, now)) == expected


@contextmanager
def watching(agent: Agent, stdout: int, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "wainwright_agent", "--config", str(agent.config), "status", "--watch", *options]
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_log_gets_a_line_for_each_change_and_ctrl_c_ends_it(agent: Agent, controller: Controller) -> None:
    read, write = os.pipe()
    with watching(agent, write) as process, os.fdopen(read) as lines:
        os.close(write)
        assert lines.readline().endswith(f"Z {agent.device_id}: the agent is stopped\n")
        assert lines.readline().endswith("Z runs unknown\n")
        agent.start()
        controller.wait_for(CheckIn)
        rest = [lines.readline().partition(" ")[2] for _ in range(2)]
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 130

    assert rest[0] == f"{agent.device_id}: the agent is running\n"
    assert rest[1].startswith(("connected to mqtt://127.0.0.1", "not connected: "))


def test_programs_get_a_document_for_each_change(agent: Agent, controller: Controller) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    read, write = os.pipe()
    with watching(agent, write, "-o", "json"), os.fdopen(read) as lines:
        os.close(write)
        assert json.loads(lines.readline())["agent"] == "running"
        agent.stop()
        assert json.loads(lines.readline())["agent"] == "stopped"


def test_a_terminal_gets_a_picture_that_is_drawn_over(agent: Agent) -> None:
    terminal, end = pty.openpty()
    shown = b""
    with watching(agent, end):
        os.close(end)

        def drawn_twice() -> bool:
            nonlocal shown
            shown += os.read(terminal, 4096)
            return shown.count(b"\x1b[H") > 1

        wait_until(drawn_twice, what="two pictures")
    os.close(terminal)

    assert shown.startswith(b"\x1b[2J\x1b[H" + agent.device_id.encode())
    assert b"stopped; this is its record. To start it: systemctl start\x1b[K" in shown
