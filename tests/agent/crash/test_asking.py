"""Who asks the conductor can only take an answer of its own: a stolen one looks like an agent that hangs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.agent.crash.bench import WAYS, Bench
from tests.agent.crash.points import ASK, GO
from tests.support.wait import wait_until

ROOT = Path(__file__).parents[3]
OF_THE_AGENT = """
import sys
from pathlib import Path
from tests.agent.crash.points import Points
Points(Path(sys.argv[1]), Path(sys.argv[1]) / "disk", tell_syncs=False).at("mkdir data")
"""


@pytest.mark.parametrize("asker", ["agent", "module"])
def test_who_asks_has_opened_the_way_of_the_answer_before(tmp_path: Path, asker: str) -> None:
    bench = Bench(tmp_path, WAYS["success"])
    (tmp_path / "bin").mkdir()
    bench.program("bin/asks", "#!/bin/sh\npoint ends\n")
    bench.fifos()
    go = os.open(tmp_path / GO, os.O_RDWR | os.O_CLOEXEC)
    argv = {"agent": [sys.executable, "-c", OF_THE_AGENT, str(tmp_path)], "module": [str(tmp_path / "bin/asks")]}[asker]
    process = subprocess.Popen(argv, cwd=ROOT)
    try:  # nobody reads what it asks, so it cannot have asked yet
        wait_until(lambda: _has_open(process.pid, tmp_path / GO), what="`go` to be opened before anything is asked")
        ask = os.open(tmp_path / ASK, os.O_RDONLY | os.O_CLOEXEC)
        bench.fifos()  # those of the next agent
        assert os.read(ask, 100).startswith(f"{process.pid} ".encode())
        os.close(ask)
        os.write(go, b"go\n")  # its own answer still reaches it
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(go)


def _has_open(pid: int, file: Path) -> bool:
    return any(_is_same(fd, file) for fd in Path(f"/proc/{pid}/fd").iterdir())


def _is_same(descriptor: Path, file: Path) -> bool:
    try:
        return descriptor.samefile(file)
    except OSError:  # no file, or closed meanwhile
        return False
