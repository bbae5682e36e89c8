"""What `wainwright artifact create` makes is installed by the agent, with the module of its name, and rolled back."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.agent.modules.machine import Machine
from tests.agent.update.lab import Lab, statuses
from wainwright_agent.config import OWN_MODULES
from wainwright_common.messages import Report
from wainwright_controller.cli.main import wainwright

FAILS = "ArtifactCommit_Enter_00"


def _install(lab: Lab, kind: str, *arguments: object) -> list[Report]:
    out = lab.root / "made.mender"
    options = ["-n", "release-2", "-t", "lab", "-o", str(out)]
    done = CliRunner().invoke(wainwright, ["artifact", "create", kind, *options, *map(str, arguments)])
    assert done.exit_code == 0, done.stderr
    return lab.update(lab.offer(out), modules=(OWN_MODULES,))


@pytest.fixture
def failing_script(lab: Lab) -> Path:
    """A state script that makes an update fail once all is installed."""
    script = lab.root / FAILS
    script.write_text("#!/bin/sh\nexit 1\n")
    return script


def test_a_single_file_is_installed_with_its_mode(lab: Lab) -> None:
    file, dest = lab.root / "panel.sh", lab.root / "opt"
    file.write_text("new")
    file.chmod(0o750)

    reports = _install(lab, "single-file", file, "--dest-dir", dest, "--filename", "panel")

    assert statuses(reports)[-1] == "success"
    assert (dest / "panel").read_text() == "new"
    assert (dest / "panel").stat().st_mode & 0o7777 == 0o750
    assert lab.state.provides["rootfs-image.single-file.version"] == "release-2"


def test_a_single_file_is_rolled_back(lab: Lab, failing_script: Path) -> None:
    file, dest = lab.root / "panel", lab.root / "opt"
    file.write_text("new")
    dest.mkdir()
    (dest / "panel").write_text("old")

    reports = _install(lab, "single-file", file, "--dest-dir", dest, "-s", failing_script)

    assert statuses(reports)[-1] == "failure"
    assert (dest / "panel").read_text() == "old"


def _build(lab: Lab) -> Path:
    build = lab.root / "build"
    (build / "bin").mkdir(parents=True)
    (build / "bin" / "panel").write_text("new")
    (build / "bin" / "panel").chmod(0o755)
    (build / "current").symlink_to("bin/panel")
    return build


def test_a_directory_replaces_the_one_that_was_there(lab: Lab) -> None:
    dest = lab.root / "app"
    dest.mkdir()
    (dest / "old").write_text("old")

    reports = _install(lab, "directory", _build(lab), "--dest-dir", dest)

    assert statuses(reports)[-1] == "success"
    assert sorted(str(p.relative_to(dest)) for p in dest.rglob("*")) == ["bin", "bin/panel", "current"]
    assert (dest / "current").readlink() == Path("bin/panel")
    assert (dest / "current").stat().st_mode & 0o777 == 0o755
    assert lab.state.provides["rootfs-image.directory.version"] == "release-2"


def test_a_directory_is_rolled_back(lab: Lab, failing_script: Path) -> None:
    dest = lab.root / "app"
    dest.mkdir()
    (dest / "old").write_text("old")

    reports = _install(lab, "directory", _build(lab), "--dest-dir", dest, "-s", failing_script)

    assert statuses(reports)[-1] == "failure"
    assert [(p.name, p.read_text()) for p in dest.iterdir()] == [("old", "old")]


def test_a_rootfs_image_is_booted_and_committed(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    machine = Machine(lab.root, "grub")
    monkeypatch.setenv("WAINWRIGHT_ROOTFS_CONF", str(machine.conf))
    lab.on("HostReboot", f"{machine.firmware} && echo boot-$$ >{lab.boot_id}; touch {lab.root}/rebooting")
    image = os.urandom(200_000)
    (lab.root / "root.ext4").write_bytes(image)

    reports = _install(lab, "rootfs-image", "-f", lab.root / "root.ext4")

    assert statuses(reports)[-1] == "success"
    assert machine.runs == 3
    assert machine.content(3, len(image)) == image
    assert machine.variables()["upgrade_available"] == "0"
    assert lab.state.provides["rootfs-image.version"] == "release-2"
    assert len(lab.state.provides["rootfs-image.checksum"]) == 64
