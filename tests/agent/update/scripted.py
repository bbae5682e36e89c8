"""A lab whose artifact and root file system have a state script for every occasion; and a process of drivers.

Scripts and module write what they are called to `calls`; `on/<name>` makes any of them do anything.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import msgspec

from tests.agent.update.lab import Lab
from tests.support.wait import PATIENCE_S
from wainwright_common.messages import Offer, Report

ROOT = Path(__file__).parents[3]
RUNS_MAX = 4  # of the agent in one test

# A script finds its lab by itself, so that one artifact serves all labs: it is in LAB/data/scripts or LAB/own-scripts.
SCRIPT = """#!/bin/sh
lab=$(dirname "$0")/..
[ -d "$lab/on" ] || lab=$lab/..
state=$(basename "$0")
echo "$state" >>"$lab/calls"
if [ -f "$lab/on/$state" ]; then . "$lab/on/$state"; fi
exit 0
"""
# fmt: off
SHORT = {
    "Idle_Enter_00": "idE", "Idle_Leave_00": "idL",
    "Sync_Enter_00": "syE", "Sync_Leave_00": "syL", "Sync_Error_00": "syX",
    "Download_Enter_00": "dE", "Download_Leave_00": "dL", "Download_Error_00": "dX",
    "ProvidePayloadFileSizes": "ps", "Download": "D", "DownloadWithFileSizes": "Dz",
    "ArtifactInstall_Enter_00": "iE", "ArtifactInstall": "I", "ArtifactInstall_Leave_00": "iL",
    "ArtifactInstall_Error_00": "iX",
    "ArtifactReboot_Enter_00": "rE", "ArtifactReboot": "R", "ArtifactVerifyReboot": "VR",
    "ArtifactReboot_Leave_00": "rL", "ArtifactReboot_Error_00": "rX",
    "ArtifactCommit_Enter_00": "cE", "ArtifactCommit": "C", "ArtifactCommit_Leave_00": "cL",
    "ArtifactCommit_Error_00": "cX",
    "ArtifactRollback_Enter_00": "bE", "ArtifactRollback": "B", "ArtifactRollback_Leave_00": "bL",
    "ArtifactRollback_Error_00": "bX",
    "ArtifactRollbackReboot_Enter_00": "brE", "ArtifactRollbackReboot": "BR", "ArtifactVerifyRollbackReboot": "VBR",
    "ArtifactRollbackReboot_Leave_00": "brL", "ArtifactRollbackReboot_Error_00": "brX",
    "ArtifactFailure_Enter_00": "fE", "ArtifactFailure": "F", "ArtifactFailure_Leave_00": "fL",
    "ArtifactFailure_Error_00": "fX",
    "Cleanup": "CU", "HostReboot": "HR",
    "NeedsArtifactReboot": "NeedsArtifactReboot", "SupportsRollback": "SupportsRollback",
}
# fmt: on
LONG = {short: name for name, short in SHORT.items()}
ASKED_ONLY = {"NeedsArtifactReboot", "SupportsRollback"}
SCRIPTS = [name for name in SHORT if name.endswith("_00")]
OWN = ("Idle", "Sync", "Download")


def script_arguments(folder: Path) -> list[str]:
    """Write the artifact's scripts into a folder; return the options of mender-artifact that take them."""
    folder.mkdir(exist_ok=True)
    options = []
    for name in SCRIPTS:
        if not name.startswith(OWN):
            (folder / name).write_text(SCRIPT)
            options += ["-s", str(folder / name)]
    return options


def install_own_scripts(lab: Lab) -> Path:
    """Give the device its own scripts; return their folder."""
    folder = lab.root / "own-scripts"
    folder.mkdir()
    for name in SCRIPTS:
        if name.startswith(OWN):
            (folder / name).write_text(SCRIPT)
            (folder / name).chmod(0o755)
    return folder


def short_calls(lab: Lab) -> str:
    """What was called, in the words of the matrix; without the questions about reboot and rollback."""
    return " ".join(SHORT[call] for call in lab.calls if call not in ASKED_ONLY)


class Drivers:
    """One process that runs drivers, one after another."""

    def __init__(self) -> None:
        argv = [sys.executable, "-m", "tests.support.updater_driver"]
        self._process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def run(self, lab: Lab, offer: Offer, **update: object) -> int:
        """Run drivers until one ends by itself; return how many were killed before. Fails when it ends badly."""
        (lab.root / "config.json").write_bytes(msgspec.json.encode(lab.config(**update), enc_hook=str))
        (lab.root / "offer.json").write_bytes(msgspec.json.encode(offer))
        for killed in range(RUNS_MAX):
            status = self._run_once(lab.root)
            if status == 0:
                return killed
            assert status == -9, f"the driver ended with {status}"
        raise AssertionError(f"the driver was killed {RUNS_MAX} times")

    def _run_once(self, root: Path) -> int:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{root}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.wait(PATIENCE_S)
        self._process.stdout.close()


def reports(lab: Lab) -> list[Report]:
    """What the drivers have published."""
    return [msgspec.json.decode(line, type=Report) for line in (lab.root / "reports").read_bytes().splitlines()]
