"""Power cuts, in small: a real process is killed with -9 in the middle of a step, and another one goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest

from tests.agent.update.lab import TAKE_STREAMS, Lab, runs, statuses
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_agent import groups
from wainwright_agent.boot import boot_id
from wainwright_agent.journal import Journal
from wainwright_common.messages import Report

ROOT = Path(__file__).parents[3]
# Kills the agent the first time, and then stays, as a module does whose agent has died.
DIE_AND_STAY = """
if [ ! -e $lab/died ]; then
    touch $lab/died
    echo $$ >$lab/orphan
    %s
    kill -9 $(cat $lab/driver.pid)
    sleep 60
fi
"""
D = ["ProvidePayloadFileSizes", "Download"]
I = ["ArtifactInstall", "NeedsArtifactReboot", "SupportsRollback"]  # noqa: E741  as in test_paths
R, VR, C = ["ArtifactReboot"], ["ArtifactVerifyReboot"], ["ArtifactCommit"]
B, BR = ["ArtifactRollback"], ["ArtifactRollbackReboot", "ArtifactVerifyRollbackReboot"]
END = ["ArtifactFailure", "Cleanup"]


def _drive(lab: Lab) -> int:
    """Run the driver to its end; its status."""
    (lab.root / "config.json").write_bytes(msgspec.json.encode(lab.config(), enc_hook=str))
    argv = [sys.executable, "-m", "tests.support.updater_driver", str(lab.root)]
    return subprocess.run(argv, check=False, cwd=ROOT, timeout=2 * PATIENCE_S).returncode


def _reports(lab: Lab) -> list[Report]:
    return [msgspec.json.decode(line, type=Report) for line in (lab.root / "reports").read_bytes().splitlines()]


@dataclass(frozen=True)
class Row:
    """Where the power goes, whether the device reboots, and what comes of it."""

    state: str
    calls: list[str]
    outcome: str
    code: str | None = None
    also_fails: str = ""
    reboot: str = "No"


# fmt: off
ROWS = [
    Row("Download", [*D, "Cleanup", *D, *I, *C, "Cleanup"], "success"),
    Row("ProvidePayloadFileSizes", [*D[:1], "Cleanup", *D, *I, *C, "Cleanup"], "success"),
    Row("ArtifactInstall", D + I[:1] + I[1:] + B + END, "failure", "rebooted"),
    Row("ArtifactInstall", D + I[:1] + I[1:] + B + BR + END, "failure", "rebooted", reboot="Yes"),
    Row("NeedsArtifactReboot", D + I[:2] + I[1:] + B + END, "failure", "rebooted"),
    Row("SupportsRollback", D + I + I[1:] + B + END, "failure", "rebooted"),
    Row("ArtifactReboot", D + I + R + VR + C + ["Cleanup"], "success", reboot="Yes"),
    Row("ArtifactVerifyReboot", D + I + R + VR + B + BR + END, "failure", "rebooted", reboot="Yes"),
    Row("ArtifactCommit", D + I + C + B + END, "failure", "rebooted"),
    Row("ArtifactRollback", D + I + B + B + END, "failure", "install-failed", also_fails="ArtifactInstall"),
    Row("ArtifactRollbackReboot", D + I + B + BR + END, "failure", "install-failed", also_fails="ArtifactInstall",
        reboot="Yes"),
    Row("ArtifactVerifyRollbackReboot", D + I + B + BR + BR[1:] + END, "failure", "install-failed",
        also_fails="ArtifactInstall", reboot="Yes"),
    Row("ArtifactFailure", D + I + B + END[:1] + END, "failure", "install-failed", also_fails="ArtifactInstall"),
    Row("Cleanup", D + I + C + ["Cleanup", "Cleanup"], "success"),
    Row("Cleanup", D + I + B + END + ["Cleanup"], "failure", "install-failed", also_fails="ArtifactInstall"),
]
# fmt: on


KILLED_ONLY = {"Download", "ArtifactInstall", "ArtifactReboot", "ArtifactCommit", "ArtifactRollbackReboot"}


@pytest.mark.parametrize(
    ("row", "rebooted"),
    [(row, True) for row in ROWS] + [(row, False) for row in ROWS if row.state in KILLED_ONLY],
    ids=lambda value: f"{value.state} {value.reboot} {value.outcome}" if isinstance(value, Row) else str(value),
)
def test_after_a_kill_the_update_ends_as_the_table_says(lab: Lab, row: Row, *, rebooted: bool) -> None:
    lab.answer(NeedsArtifactReboot=row.reboot, SupportsRollback="Yes")
    if row.also_fails:
        lab.on(row.also_fails, "exit 1")
    lab.on(row.state, DIE_AND_STAY % (f"echo boot-2 >{lab.boot_id}" if rebooted else ""))
    (lab.root / "offer.json").write_bytes(msgspec.json.encode(lab.offer(lab.artifact())))

    assert _drive(lab) == -9
    orphan = int(lab.text("orphan"))
    assert runs(orphan) or row.state in D  # there the child ends its module when the agent dies
    assert _drive(lab) == 0

    assert not runs(orphan)
    assert lab.calls == row.calls
    reports = _reports(lab)
    assert statuses(reports)[-1] == row.outcome
    outcomes = {report for report in reports if report.status in {"success", "failure"}}
    assert len(outcomes) == 1
    expected = "interrupted" if row.code == "rebooted" and not rebooted else row.code
    assert (reports[-1].error.code if reports[-1].error else None) == expected
    _assert_numbers(reports)
    state = lab.state
    assert state.update is None
    assert state.outbox == ()
    assert (state.provides["artifact_name"] == "release-2") is (row.outcome == "success")
    assert not lab.tree.exists()


def _assert_numbers(reports: list[Report]) -> None:
    """No number may stand for two different reports."""
    by_number: dict[int, Report] = {}
    for report in reports:
        assert by_number.setdefault(report.seq, report) == report


def test_a_download_cut_off_in_the_middle_of_a_stream_is_started_again(lab: Lab) -> None:
    lab.on(
        "Download",
        "if [ ! -e $lab/died ]; then f=$(cat stream-next); exec 5<$f; fi\n" + DIE_AND_STAY % "" + TAKE_STREAMS,
    )
    content = bytes(range(256)) * 4096
    (lab.root / "offer.json").write_bytes(msgspec.json.encode(lab.offer(lab.artifact(files={"big": content}))))
    assert _drive(lab) == -9
    assert Journal.read(lab.data).update is not None
    assert _drive(lab) == 0
    assert (lab.root / "taken" / "big").read_bytes() == content
    assert lab.state.provides["artifact_name"] == "release-2"


def test_the_child_of_a_killed_agent_ends_by_itself_and_takes_its_module_along(lab: Lab) -> None:
    lab.on("Download", "echo $PPID >$lab/child\n" + DIE_AND_STAY % "")
    (lab.root / "offer.json").write_bytes(msgspec.json.encode(lab.offer(lab.artifact())))
    assert _drive(lab) == -9
    wait_until(lambda: not runs(int(lab.text("child"))))
    wait_until(lambda: not runs(int(lab.text("orphan"))))


def test_records_of_other_processes_are_cleared_and_their_processes_left_alone(tmp_path: Path) -> None:
    groups.end_leftovers(tmp_path / "none")
    mine = os.getpid()
    for name, content in {
        str(mine): "other-boot 1",
        "1": "",
        "text": "x",
        str(mine + 1): f"{boot_id()} 1",
    }.items():
        (tmp_path / name).write_text(content)
    groups.end_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_leftover_whose_leader_has_gone_is_ended(tmp_path: Path) -> None:
    shell = subprocess.Popen(
        ["sh", "-c", f"sleep 60 & echo $! >{tmp_path}/pid; read -r _"], stdin=subprocess.PIPE, start_new_session=True
    )
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text())
    records = tmp_path / "records"
    groups.write_record(records / str(shell.pid), shell.pid)
    assert shell.stdin
    shell.stdin.close()
    shell.wait()
    sleeper = int((tmp_path / "pid").read_text())
    assert runs(sleeper)
    groups.end_leftovers(records)
    assert not runs(sleeper)
