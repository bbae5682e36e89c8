"""`wainwright demo` as a person runs it: it ends well, it can be stopped, and it leaves nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.wait import wait_until

DEMO = [sys.executable, "-m", "wainwright_controller", "demo", "--devices", "4"]
PATIENCE_S = 180.0  # a demo takes some twenty seconds on a machine that does nothing else
INTERRUPTED = 130


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder for temporary files with a short name: a UNIX socket's path has at most 107 bytes."""
    folder = Path(tempfile.mkdtemp(prefix="wd-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def processes_in(folder: Path) -> list[psutil.Process]:
    """Return the running processes whose command names the folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and any(str(folder) in word for word in process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


@pytest.fixture
def running(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A demo that has come as far as a fleet of accepted devices."""
    env = os.environ | {"TMPDIR": str(folder)}
    with subprocess.Popen(
        DEMO, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=env, text=True, start_new_session=True
    ) as demo:
        assert demo.stdout is not None
        told = []
        for line in demo.stdout:
            told.append(line)
            if "are accepted" in line:
                break
        else:
            raise AssertionError("the demo ended before its devices were accepted:\n" + "".join(told))
        assert len(processes_in(folder)) >= 6  # a controller, its broker, four agents
        yield demo
        demo.kill()


@pytest.mark.parametrize("options", [[], ["--secure"]], ids=["plain", "secure"])
def test_the_demo_ends_as_it_should_and_leaves_nothing_behind(folder: Path, options: list[str]) -> None:
    env = os.environ | {"TMPDIR": str(folder)}
    done = subprocess.run([*DEMO, *options], capture_output=True, env=env, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert ("a token lets 4 devices have a certificate" in done.stdout) == bool(options)
    assert "did not start, went back" in done.stdout
    assert ", came back" in done.stdout
    assert "Everything ended as it should" in done.stdout
    assert "\x1b" not in done.stdout
    wait_until(lambda: processes_in(folder) == [], PATIENCE_S, "all processes to end")
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_demo_that_is_interrupted_ends_every_process_and_removes_its_folder(
    running: subprocess.Popen[str], folder: Path, number: signal.Signals
) -> None:
    running.send_signal(number)
    running.communicate(timeout=PATIENCE_S)
    assert running.returncode == INTERRUPTED
    wait_until(lambda: processes_in(folder) == [], PATIENCE_S, "all processes to end")
    assert list(folder.iterdir()) == []


def test_a_demo_that_is_killed_takes_every_process_along(running: subprocess.Popen[str], folder: Path) -> None:
    running.kill()
    running.communicate(timeout=PATIENCE_S)
    wait_until(lambda: processes_in(folder) == [], PATIENCE_S, "all processes to end")


def test_a_demo_says_how_many_devices_it_can_have() -> None:
    done = subprocess.run([*DEMO[:-1], "3"], capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2
    assert "4<=x<=100" in done.stderr
