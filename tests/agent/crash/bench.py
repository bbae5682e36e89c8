"""A device in a folder that can be cut off anywhere: its disk, its module, its reboot, its controller's memory.

    LAB/disk/data         the agent's data folder          LAB/disk/app/panel     the software: `old` or `new`
    LAB/calls             what was called, for ever        LAB/controller.json    what the controller has committed
    LAB/reports           what was published, for ever     LAB/boot_id, LAB/bin, LAB/modules, LAB/scripts, LAB/source

The module writes like one that is to survive power cuts: aside, sync, rename, sync. Each of its effects is a point.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.agent.crash.points import ASK, GO
from wainwright_agent.config import Config, Update

OLD, NEW = b"the old software\n" * 50, b"the new software\n" * 60
POINT = """
point() { { echo "$$ $*" >LAB/ask; read -r answer; } <LAB/go; } # opens `go` first: see points.py
"""
MODULE = """#!/bin/sh
set -e
state=$1
tree=$2
target=LAB/disk/app/panel
PATH=LAB/bin:$PATH
echo "$state" >>LAB/calls
put() { # $1 in place of $2, whole or not at all
    point "$state writes"
    cp "$1" "$2.new"
    sync "$2.new"
    point "$state renames"
    mv "$2.new" "$2"
    sync "$(dirname "$2")"
}
point "$state begins"
if [ -f "LAB/answers/$state" ]; then cat "LAB/answers/$state"; fi
case $state in
ArtifactInstall)
    put $target "$tree/tmp/old"
    put "$tree/files/panel" $target
    ;;
ArtifactRollback)
    if [ -f "$tree/tmp/old" ]; then put "$tree/tmp/old" $target; fi
    ;;
esac
if [ -f "LAB/fails/$state" ]; then point "$state fails"; exit 1; fi
case $state in
ArtifactReboot | ArtifactRollbackReboot) reboot ;;
esac
point "$state ends"
"""
REBOOT = """#!/bin/sh
point reboot
"""
SYNC = """#!/bin/sh
# Tells the model of the disk; the real disk has no power cut in front of it.
for path; do
    case $path in
    LAB/disk/*) point "sync ${path#LAB/disk/}"; point "synced $path" ;;
    esac
done
"""
SCRIPT = """#!/bin/sh
echo "$(basename "$0")" >>LAB/calls
point "$(basename "$0") begins"
point "$(basename "$0") ends"
"""
SCRIPTS = tuple(
    f"{step}_{place}_00"
    for step in (
        "ArtifactInstall",
        "ArtifactReboot",
        "ArtifactCommit",
        "ArtifactRollback",
        "ArtifactRollbackReboot",
        "ArtifactFailure",
    )
    for place in ("Enter", "Leave", "Error")
)
OWN_SCRIPTS = tuple(f"Download_{place}_00" for place in ("Enter", "Leave", "Error"))


@dataclass(frozen=True)
class Way:
    """One way that an update can go, when nothing cuts it off."""

    name: str
    ends: str
    """`new`, `old`, or `mixed`: installed in part, without a way back."""
    reboot: str = "No"
    rollback: str = "Yes"
    fails: tuple[str, ...] = ()
    """States in which the module fails."""
    scripts: bool = False
    module: str = "panel"

    @property
    def may_be_mixed(self) -> bool:
        """Whether an interruption can leave the device inconsistent: nothing can be undone."""
        return self.rollback == "No"


# fmt: off
WAYS = {way.name: way for way in (
    Way("success",              "new"),
    Way("success-rebooted",     "new",   reboot="Automatic"),
    Way("success-own-reboot",   "new",   reboot="Yes"),
    Way("install-fails",        "old",   fails=("ArtifactInstall",)),
    Way("verify-fails",         "old",   reboot="Automatic", fails=("ArtifactVerifyReboot",)),
    Way("verify-fails-own",     "old",   reboot="Yes",       fails=("ArtifactVerifyReboot",)),
    Way("commit-fails",         "old",   fails=("ArtifactCommit",)),
    Way("no-way-back",          "mixed", rollback="No",      fails=("ArtifactInstall",)),
    Way("no-rollback",          "new",   rollback="No"),
    Way("scripts",              "new",   reboot="Automatic", scripts=True),
    Way("scripts-back",         "old",   reboot="Automatic", scripts=True, fails=("ArtifactVerifyReboot",)),
    Way("single-file",          "new",   module="single-file"),
)}
# fmt: on


@dataclass
class Bench:
    """The folder of one device."""

    root: Path
    way: Way
    boots: int = field(default=0)

    @property
    def disk(self) -> Path:
        """What a power cut may harm."""
        return self.root / "disk"

    @property
    def data(self) -> Path:
        """The agent's data folder."""
        return self.disk / "data"

    @property
    def target(self) -> Path:
        """The software."""
        return self.disk / "app" / "panel"

    def build(self, modules: Path) -> None:
        """Make the device as it was delivered; `modules` are those that come with the agent."""
        for folder in ("disk/data", "disk/app", "bin", "modules", "scripts", "answers", "fails"):
            (self.root / folder).mkdir(parents=True)
        self.target.write_bytes(OLD)
        if self.way.module == "panel":
            self.program("modules/panel", MODULE)
        else:
            shipped = (modules / self.way.module).read_text(encoding="utf-8")
            (self.root / "modules" / self.way.module).write_text(
                shipped.replace("set -eu\n", f"set -eu\nPATH={self.root}/bin:$PATH\n", 1), encoding="utf-8"
            )
            (self.root / "modules" / self.way.module).chmod(0o755)
        self.program("bin/reboot", REBOOT)
        self.program("bin/sync", SYNC)
        if self.way.scripts:
            for name in OWN_SCRIPTS:
                self.program(f"scripts/{name}", SCRIPT)
        (self.root / "answers/NeedsArtifactReboot").write_text(self.way.reboot)
        (self.root / "answers/SupportsRollback").write_text(self.way.rollback)
        for state in self.way.fails:
            (self.root / "fails" / state).touch()
        self.boot()

    def boot(self) -> None:
        """Be another boot from now on."""
        self.boots += 1
        (self.root / "boot_id").write_text(f"boot-{self.boots}\n")

    def fifos(self) -> None:
        """Make the way to the conductor anew: whoever still waits at the one before is never answered."""
        for name in (ASK, GO):  # never without one: who writes to a name that is not there makes a file
            os.mkfifo(self.root / f"{name}.new")
            (self.root / f"{name}.new").replace(self.root / name)

    def config(self) -> Config:
        """Return the agent's settings."""
        settings: dict[str, Any] = {
            "modules": (self.root / "modules",),
            "scripts": self.root / "scripts",
            "reboot_command": (str(self.root / "bin/reboot"),),
            "boot_id_file": self.root / "boot_id",
            "module_timeout_s": 60.0,
            "progress_interval_s": 3600.0,
        }
        return Config(device_type="lab", data_dir=self.data, update=Update(**settings))

    def keep(self, image: Path) -> int:
        """Copy the device aside; return what `put_back` needs."""
        shutil.rmtree(image, ignore_errors=True)
        shutil.copytree(self.root, image, symlinks=True, ignore=shutil.ignore_patterns(ASK, GO))
        return self.boots

    def put_back(self, image: Path, boots: int) -> None:
        """Make the device what it was."""
        shutil.rmtree(self.root)
        shutil.copytree(image, self.root, symlinks=True)
        self.boots = boots

    @property
    def calls(self) -> list[str]:
        """What was called, in this order."""
        log = self.root / "calls"
        return log.read_text().split() if log.exists() else []

    def program(self, name: str, text: str) -> None:
        """Write a program of the device."""
        file = self.root / name
        head, _, rest = text.partition("\n")
        file.write_text((head + "\n" + POINT + rest).replace("LAB", str(self.root)), encoding="utf-8")
        file.chmod(0o755)
