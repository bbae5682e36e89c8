"""The child that `wain install` starts ahead looks at the file, fetches it, and never outlives who has started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.support.wait import PATIENCE_S, wait_until
from wainwright_agent.download import Look, Said
from wainwright_agent.spare import Spare


def look(path: Path) -> bytes:
    return msgspec.json.encode(Look(source=str(path), parent=os.getpid()))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def test_a_child_says_what_is_wrong_with_a_file_and_can_be_asked_for_the_next(tmp_path: Path) -> None:
    rubbish = tmp_path / "rubbish"
    rubbish.write_bytes(b"not tar" * 200)

    with Spare() as spare:
        said = msgspec.json.decode(spare.ask(look(rubbish)), type=Said)
        child = spare.take()
        assert child is not None
        assert spare.take() is None
    child.communicate(timeout=PATIENCE_S)  # without a job, it ends when its input does

    assert child.returncode == 0
    assert said.unusable is not None
    assert said.unusable.is_refused
    assert str(rubbish) in said.unusable.text


def test_a_child_that_was_not_taken_is_gone_when_its_context_is_left() -> None:
    with Spare() as spare:
        pid = spare._popen.pid
        assert is_alive(pid)

    assert not is_alive(pid)


def test_a_child_that_dies_while_it_looks_is_an_error_with_its_last_words() -> None:
    last_words = r"has ended; its last words: \S*DecodeError: JSON is malformed"
    with Spare() as spare, pytest.raises(OSError, match=last_words):
        spare.ask(b"{no json")


@pytest.mark.parametrize("has_looked", [False, True])
def test_a_child_ends_with_who_has_started_it(tmp_path: Path, *, has_looked: bool) -> None:
    ask = f"spare.ask(msgspec.json.encode(Look(source={str(tmp_path / 'none')!r}, parent=os.getpid())))"
    program = (
        "import msgspec, os, time\n"
        "from wainwright_agent.download import Look\n"
        "from wainwright_agent.spare import Spare\n"
        f"spare = Spare()\n{ask if has_looked else ''}\n"
        "print(spare._popen.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert is_alive(pid)

        parent.send_signal(signal.SIGKILL)

        wait_until(lambda: not is_alive(pid), what="the child to end")
