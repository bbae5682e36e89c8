"""What a thread of the agent decodes, msgspec looked at before there were threads: else it may crash the process."""

from __future__ import annotations

from pathlib import Path

from tests.agent.service.peers import Agent, Controller
from tests.agent.update.lab import run
from wainwright_common.messages import CheckIn

# Run by every Python process at its start: notes which thread has msgspec look at which type for the first time.
SPY = """
import os
import sys
import threading


def note(frame, event, _argument):
    if event == "call" and frame.f_code.co_name == "get_class_annotations":
        with open({notes!r}, "a") as notes:
            print(os.getpid(), threading.current_thread().name, frame.f_locals["obj"].__name__, file=notes)


threading.setprofile(note)
sys.setprofile(note)
"""


def test_no_thread_of_the_agent_is_the_first_to_decode_a_type(
    tmp_path: Path, agent: Agent, controller: Controller
) -> None:
    notes = tmp_path / "notes"
    (tmp_path / "spy").mkdir()
    (tmp_path / "spy/sitecustomize.py").write_text(SPY.format(notes=str(notes)), encoding="utf-8")
    (tmp_path / "modules").mkdir()
    (tmp_path / "modules/probe").symlink_to("/bin/true")
    (tmp_path / "app").write_text("new software", encoding="utf-8")
    artifact = str(tmp_path / "panel-2.mender")
    words = ["-n", "panel-2", "-t", "press", "-T", "probe", "-f", str(tmp_path / "app"), "-o", artifact]
    run("mender-artifact", "write", "module-image", *words)

    agent.start(env={"PYTHONPATH": str(tmp_path / "spy")})
    controller.wait_for(CheckIn)
    done = agent.wain("install", artifact, timeout_s=60)

    assert done.returncode == 0, done.stderr
    seen = [line.split() for line in notes.read_text(encoding="utf-8").splitlines()]
    assert {"Reply", "Said"} <= {name for _, _, name in seen}, "the spy sees nothing"
    assert [line for line in seen if line[1] != "MainThread"] == []
