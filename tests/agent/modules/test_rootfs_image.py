"""`rootfs-image`, state by state: real boot environments, plain files and a loop device as slots."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.modules.machine import OLD, SLOT_BYTES, Machine
from tests.agent.modules.tree import Tree
from tests.agent.update.lab import run
from tests.support.grub import grub_script

NEW = os.urandom(300_000)


@pytest.fixture(params=["grub", "uboot"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    return Machine(tmp_path, request.param)


@pytest.fixture
def grub(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "grub")


@pytest.fixture
def uboot(tmp_path: Path) -> Machine:
    return Machine(tmp_path, "uboot")


def _tree(machine: Machine) -> Tree:
    return Tree(machine.root, "rootfs-image", machine.env)


def _downloaded(machine: Machine) -> Tree:
    tree = _tree(machine)
    result = tree.download({"root.ext4": NEW})
    assert result.returncode == 0, result.stderr
    return tree


def _boot_choice(machine: Machine) -> tuple[str, ...]:
    variables = machine.variables()
    names = ("mender_boot_part", "mender_boot_part_hex", "upgrade_available", "bootcount")
    return tuple(variables.get(name, "") for name in names)


def test_the_questions_are_answered_without_any_configuration(tmp_path: Path) -> None:
    tree = Tree(tmp_path, "rootfs-image", {"WAINWRIGHT_ROOTFS_CONF": "/nonexistent"})

    assert tree.ok("ProvidePayloadFileSizes") == "Yes\n"
    assert tree.ok("NeedsArtifactReboot") == "Automatic\n"
    assert tree.ok("SupportsRollback") == "Yes\n"
    assert tree.ok("ArtifactFailure", "Cleanup", "SupportsAugmentedArtifacts") == ""
    assert "write the two slots and the bootloader into it" in tree.refused("ArtifactInstall")
    assert "DownloadWithFileSizes" in tree.refused("Download")


def test_an_image_goes_to_the_slot_that_does_not_run_and_is_tried_and_made_permanent(machine: Machine) -> None:
    before = machine.variables()
    tree = _downloaded(machine)
    assert machine.content(3, len(NEW)) == NEW
    assert machine.content(2, len(OLD)) == OLD
    assert machine.variables() == before

    tree.ok("ArtifactInstall")
    assert _boot_choice(machine) == ("3", "3", "1", "0")
    machine.boot()
    assert machine.runs == 3
    tree.ok("ArtifactVerifyReboot", "ArtifactCommit")
    assert _boot_choice(machine) == ("3", "3", "0", "0")
    assert machine.variables()["console"] == "ttyS0"


def test_it_installs_from_b_to_a(grub: Machine) -> None:
    grub.set(mender_boot_part="3")
    grub.boot()
    tree = _downloaded(grub)

    assert grub.content(2, len(NEW)) == NEW
    tree.ok("ArtifactInstall")
    assert _boot_choice(grub) == ("2", "2", "1", "0")


def test_what_is_there_already_is_not_written_again(grub: Machine) -> None:
    _downloaded(grub)
    (grub.root / "tree").rename(grub.root / "earlier")

    assert f"{len(NEW)} bytes were there already" in _tree(grub).download({"root.ext4": NEW}).stdout


def test_a_new_system_that_does_not_start_is_found_out_and_rolled_back(machine: Machine) -> None:
    tree = _downloaded(machine)
    tree.ok("ArtifactInstall")
    machine.break_slot(3)
    machine.boot()
    assert machine.runs == 2

    assert "the bootloader has fallen back" in tree.refused("ArtifactVerifyReboot")
    assert "cannot be made permanent" in tree.refused("ArtifactCommit")
    tree.ok("ArtifactRollback", "ArtifactVerifyRollbackReboot", "ArtifactFailure", "Cleanup")
    assert _boot_choice(machine) == ("2", "2", "0", "0")


@pytest.mark.parametrize("after", ["install", "reboot", "commit"])
def test_a_rollback_leads_back_from_everywhere_and_may_be_repeated(machine: Machine, after: str) -> None:
    tree = _downloaded(machine)
    tree.ok("ArtifactInstall")
    if after != "install":
        machine.boot()
    if after == "commit":
        tree.ok("ArtifactVerifyReboot", "ArtifactCommit")

    tree.ok("ArtifactRollback", "ArtifactRollback")
    assert _boot_choice(machine) == ("2", "2", "0", "0")
    if after != "install":
        assert "slot b runs, not the former slot a" in tree.refused("ArtifactVerifyRollbackReboot")
    machine.boot()
    tree.ok("ArtifactVerifyRollbackReboot", "ArtifactVerifyRollbackReboot", "ArtifactFailure", "Cleanup")
    assert machine.content(2, len(OLD)) == OLD


def test_a_trial_that_loses_power_again_and_again_falls_back(grub: Machine) -> None:
    tree = _downloaded(grub)
    tree.ok("ArtifactInstall")
    grub.boot()
    for _ in range(3):  # power cuts
        grub.boot()

    assert grub.runs == 2
    tree.refused("ArtifactVerifyReboot")


def test_a_rollback_after_a_power_cut_before_the_switch_touches_nothing(grub: Machine) -> None:
    tree = _downloaded(grub)
    before = grub.variables()

    tree.ok("ArtifactRollback", "ArtifactVerifyRollbackReboot")

    assert grub.variables() == before


def test_an_image_larger_than_the_slot_is_refused_before_anything_is_written(grub: Machine) -> None:
    result = _tree(grub).download({"root.ext4": b"x"}, **{"root.ext4": SLOT_BYTES + 1})

    assert result.returncode == 1
    assert f"The image has {SLOT_BYTES + 1} bytes, the slot {grub.slots[3]} has {SLOT_BYTES}." in result.stderr
    assert grub.content(3, len(OLD)) == OLD


def test_a_payload_of_two_files_is_refused(grub: Machine) -> None:
    result = _tree(grub).download({"root.ext4": NEW, "second": b"x"})

    assert result.returncode == 1
    assert "more than one file" in result.stderr


def test_variables_that_were_changed_by_hand_are_noticed_before_anything_is_written(machine: Machine) -> None:
    machine.set(mender_boot_part="3")

    result = _tree(machine).download({"root.ext4": NEW})

    assert result.returncode == 1
    assert "slot a runs, for which mender_boot_part is 2, but it is '3'" in result.stderr
    assert machine.content(3, len(OLD)) == OLD


def test_the_way_back_of_a_system_on_trial_is_not_overwritten(grub: Machine) -> None:
    grub.set(upgrade_available="1")

    result = _tree(grub).download({"root.ext4": NEW})

    assert result.returncode == 1
    assert "is itself on trial" in result.stderr
    assert grub.content(3, len(OLD)) == OLD


def test_the_switch_is_refused_when_the_variables_changed_since_the_download(grub: Machine) -> None:
    tree = _downloaded(grub)
    grub.set(mender_boot_part="3")

    assert "reboot, or set it to what runs" in tree.refused("ArtifactInstall")


def test_variables_that_were_lost_during_the_reboot_are_noticed_and_set_right_by_the_rollback(grub: Machine) -> None:
    tree = _downloaded(grub)
    tree.ok("ArtifactInstall")
    grub.boot()
    grub.set(mender_boot_part="2", upgrade_available="0")

    assert "it would not boot it again" in tree.refused("ArtifactVerifyReboot")
    grub.set(mender_boot_part="")
    tree.ok("ArtifactRollback")
    assert _boot_choice(grub) == ("2", "2", "0", "0")


def test_a_switch_without_a_finished_download_is_refused(grub: Machine) -> None:
    assert "Download has not come to its end" in _tree(grub).refused("ArtifactInstall")


def test_a_missing_canary_means_that_uboot_reads_another_environment(uboot: Machine) -> None:
    uboot.set(mender_check_saveenv_canary="1")
    assert "mender_saveenv_canary is not 1" in _tree(uboot).download({"root.ext4": NEW}).stderr

    uboot.set(mender_saveenv_canary="1")
    (uboot.root / "tree").rename(uboot.root / "earlier")
    assert _tree(uboot).download({"root.ext4": NEW}).returncode == 0


def test_an_environment_that_uboot_tools_cannot_read_is_not_taken_for_a_good_one(uboot: Machine) -> None:
    for file in uboot.fw_env:
        file.write_bytes(b"\xff" * 0x4000)

    result = _tree(uboot).download({"root.ext4": NEW})

    assert result.returncode == 1
    assert uboot.content(3, len(OLD)) == OLD


@pytest.mark.parametrize("copy", [0, 1])
def test_a_half_written_copy_of_the_redundant_environment_does_no_harm(uboot: Machine, copy: int) -> None:
    tree = _downloaded(uboot)
    tree.ok("ArtifactInstall")
    written = uboot.fw_env[copy].read_bytes()
    uboot.fw_env[copy].write_bytes(written[:100] + b"\xff" * 50 + written[150:])
    uboot.boot()

    # Either copy is whole: the one says that the switch was made, the other that it was not.
    assert uboot.runs in {2, 3}
    tree.ok("ArtifactRollback")
    uboot.boot()
    tree.ok("ArtifactVerifyRollbackReboot")


@pytest.mark.parametrize("cut", ["before", "after"])
@pytest.mark.parametrize("state", ["ArtifactInstall", "ArtifactCommit", "ArtifactRollback"])
def test_a_power_cut_at_a_write_of_the_environment_leads_back_to_the_old_system(
    uboot: Machine, state: str, cut: str
) -> None:
    tree = _downloaded(uboot)
    if state != "ArtifactInstall":
        tree.ok("ArtifactInstall")
        uboot.boot()
    if state == "ArtifactCommit":
        tree.ok("ArtifactVerifyReboot")
    _cut_power_at_fw_setenv(uboot, cut)
    assert tree.call(state).returncode == -9
    _repair_fw_setenv(uboot)
    uboot.boot()

    # What the agent does after an interruption of any of these states.
    tree.ok("ArtifactRollback")
    uboot.boot()
    tree.ok("ArtifactVerifyRollbackReboot", "ArtifactFailure", "Cleanup")

    assert uboot.runs == 2
    assert _boot_choice(uboot) == ("2", "2", "0", "0")


def _cut_power_at_fw_setenv(machine: Machine, when: str) -> None:
    """Have the module killed before or after the program that it calls has written."""
    wrapper = machine.root / "fw_setenv"
    write = 'fw_setenv "$@"\n' if when == "after" else ""
    wrapper.write_text(f"#!/bin/sh\n{write}kill -9 $PPID\n")
    wrapper.chmod(0o755)
    machine.conf.write_text(f"{machine.conf.read_text()}fw_setenv={wrapper}\n")


def _repair_fw_setenv(machine: Machine) -> None:
    machine.conf.write_text(machine.conf.read_text().rpartition("fw_setenv=")[0])


def test_without_grub_editenv_the_block_is_written_in_place(grub: Machine) -> None:
    tools = _tools_without(grub.root, "grub-editenv")
    inode = grub.grubenv.stat().st_ino
    tree = _downloaded(grub)

    result = tree.call("ArtifactInstall", PATH=str(tools))

    assert result.returncode == 0, result.stderr
    assert grub.grubenv.stat().st_ino == inode
    assert len(grub.grubenv.read_bytes()) == 1024
    assert _boot_choice(grub) == ("3", "3", "1", "0")
    assert grub.variables()["console"] == "ttyS0"
    assert sorted(grub.variables()) == sorted(
        ["console", "mender_boot_part", "mender_boot_part_hex", "upgrade_available", "bootcount"]
    )


def test_a_full_environment_of_grub_is_left_as_it_is(grub: Machine) -> None:
    tools = _tools_without(grub.root, "grub-editenv")
    room = grub.grubenv.read_bytes().count(b"#") - 10  # no more than these are left
    grub.set(filler="x" * (room - 20))
    tree = _downloaded(grub)
    before = grub.grubenv.read_bytes()

    assert "has no room" in tree.refused("ArtifactInstall", PATH=str(tools))
    assert "cannot write" in tree.refused("ArtifactInstall")  # nor for grub-editenv
    assert grub.grubenv.read_bytes() == before


def test_a_file_that_is_no_environment_of_grub_is_refused(grub: Machine) -> None:
    grub.grubenv.write_bytes(b"\0" * 1024)

    assert "is not an environment of GRUB" in _tree(grub).download({"root.ext4": NEW}).stderr


def test_a_new_system_without_configuration_uses_the_former_ones(grub: Machine) -> None:
    tree = _downloaded(grub)
    tree.ok("ArtifactInstall")
    grub.boot()
    grub.conf.unlink()

    tree.ok("ArtifactVerifyReboot", "ArtifactCommit")

    assert _boot_choice(grub)[2] == "0"


def test_names_of_variables_can_be_chosen(grub: Machine) -> None:
    names = "var_boot_part=boot_slot\nvar_upgrade_available=trial\nvar_bootcount=boots\n"
    grub.conf.write_text(grub.conf.read_text() + names + "boot_a=A\nboot_b=B\n")
    grub.set(boot_slot="A", trial="0")

    _downloaded(grub).ok("ArtifactInstall")

    variables = grub.variables()
    assert (variables["boot_slot"], variables["trial"], variables["boots"]) == ("B", "1", "0")
    assert "boot_slot_hex" not in variables


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("slot_c=/dev/sda4", "line 8: unknown setting slot_c; known: slot_a"),
        ("slot_a", "line 8: 'slot_a' is not key=value"),
        ("slot_a=/dev/absent", "slot_a is '/dev/absent', which is not there"),
        ("bootloader=lilo", "bootloader is 'lilo'; it must be grub or uboot"),
        ("boot_a=3", "must be set and differ"),
        ("running=echo /dev/null", "is neither on"),
        ("running=false", "the command that tells the running slot failed: false"),
        ("grubenv=/absent", "there is no /absent"),
        ("$(touch /tmp/x)=1", "unknown setting"),
    ],
)
def test_a_wrong_setting_is_refused_and_named(grub: Machine, line: str, words: str) -> None:
    grub.conf.write_text(grub.conf.read_text() + line + "\n")

    assert words in _tree(grub).download({"root.ext4": NEW}).stderr
    assert grub.content(3, len(OLD)) == OLD


def test_the_script_of_grub_in_the_documents_is_one(tmp_path: Path) -> None:
    (tmp_path / "grub.cfg").write_text(grub_script())

    run("grub-script-check", str(tmp_path / "grub.cfg"))


@pytest.fixture
def loop_root(grub: Machine) -> Iterator[tuple[Path, Path]]:
    """Slot A as a mounted block device: the device and where it is mounted."""
    if os.geteuid() != 0 or not Path("/dev/loop-control").exists():
        pytest.skip("needs root and loop devices: a real block device that is mounted")
    grub.slots[2].write_bytes(b"")
    os.truncate(grub.slots[2], SLOT_BYTES)
    run("/sbin/mke2fs", "-q", str(grub.slots[2]))
    point = grub.root / "mnt"
    point.mkdir()
    device = run("losetup", "--find", "--show", str(grub.slots[2])).strip()
    try:
        run("mount", device, str(point))
        try:
            yield Path(device), point
        finally:
            run("umount", str(point))
    finally:
        run("losetup", "--detach", device)


def test_the_running_slot_is_known_by_the_device_that_is_mounted(grub: Machine, loop_root: tuple[Path, Path]) -> None:
    device, point = loop_root
    lines = [line for line in grub.conf.read_text().splitlines() if not line.startswith("running=")]
    lines += [f"slot_a={device}", f"root_mount={point}", "boot_a=2"]
    grub.conf.write_text("\n".join(lines))

    _downloaded(grub).ok("ArtifactInstall")

    assert _boot_choice(grub)[0] == "3"


def test_a_slot_that_is_mounted_is_not_written(grub: Machine, loop_root: tuple[Path, Path]) -> None:
    device, _ = loop_root
    grub.conf.write_text(grub.conf.read_text() + f"slot_b={device}\nboot_b=3\n")

    result = _tree(grub).download({"root.ext4": NEW})

    assert result.returncode == 1
    assert f"{device} is in use" in result.stderr


def _tools_without(root: Path, name: str) -> Path:
    """Return a folder of links to all programs of PATH but one."""
    folder = root / "tools"
    folder.mkdir()
    for place in ("/usr/sbin", "/usr/bin", "/sbin", "/bin"):
        for program in Path(place).iterdir():
            link = folder / program.name
            if program.name != name and not link.is_symlink():
                link.symlink_to(program)
    assert subprocess.run(["sh", "-c", f"command -v {name}"], env={"PATH": str(folder)}, check=False).returncode != 0
    return folder
