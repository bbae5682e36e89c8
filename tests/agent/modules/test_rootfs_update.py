"""The whole way of a root filesystem: the agent, a real artifact, a machine that reboots into one of two slots."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.agent.modules.machine import OLD, Machine
from tests.agent.update.lab import Lab, run, statuses
from wainwright_agent.config import OWN_MODULES
from wainwright_common.messages import Report

BOTH = pytest.mark.parametrize("bootloader", ["grub", "uboot"])
GRUB = pytest.mark.parametrize("bootloader", ["grub"])


@pytest.fixture
def machine(bootloader: str, lab: Lab, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(lab.root, bootloader)
    monkeypatch.setenv("WAINWRIGHT_ROOTFS_CONF", str(machine.conf))
    lab.on("HostReboot", f"{machine.firmware} && echo boot-$$ >{lab.boot_id}; touch {lab.root}/rebooting")
    return machine


def _install(lab: Lab, image: bytes, number: int) -> list[Report]:
    """Install an image as release `number`, through all reboots."""
    file = lab.root / "root.ext4"
    file.write_bytes(image)
    name = f"release-{number}"
    out = lab.root / f"{name}.mender"
    run("mender-artifact", "write", "rootfs-image", "-t", "lab", "-n", name, "-f", str(file), "-o", str(out))
    offer = lab.offer(out, name=name, deployment_id=f"d-{number}")
    return lab.update(offer, modules=(OWN_MODULES,))


@BOTH
def test_two_updates_lead_from_a_to_b_and_back_to_a(lab: Lab, machine: Machine) -> None:
    images = [os.urandom(200_000), os.urandom(150_000)]

    for number, image, slot in ((2, images[0], 3), (3, images[1], 2)):
        reports = _install(lab, image, number)
        assert statuses(reports)[-2:] == ["installing", "success"]
        assert "rebooting" in statuses(reports)
        assert machine.runs == slot
        assert machine.content(slot, len(image)) == image
        assert machine.variables()["upgrade_available"] == "0"

    assert machine.content(3, len(images[0])) == images[0]  # the way back from the second
    assert lab.state.provides["artifact_name"] == "release-3"


@BOTH
def test_a_system_that_does_not_start_ends_in_a_failure_and_the_old_system(lab: Lab, machine: Machine) -> None:
    machine.break_slot(3)

    reports = _install(lab, os.urandom(200_000), 2)

    assert statuses(reports)[-1] == "failure"
    assert reports[-1].error
    assert reports[-1].error.code == "verify-failed"
    assert "the bootloader has fallen back" in reports[-1].error.text
    assert reports[-1].inconsistent is not True
    assert machine.runs == 2
    assert machine.content(2, len(OLD)) == OLD
    assert machine.variables()["upgrade_available"] == "0"


@GRUB
def test_an_image_that_does_not_fit_changes_nothing(lab: Lab, machine: Machine) -> None:
    before = machine.variables()

    reports = _install(lab, bytes(machine.slots[3].stat().st_size + 1), 2)

    assert reports[-1].error
    assert "Make the image smaller" in reports[-1].error.text
    assert machine.content(3, len(OLD)) == OLD
    assert machine.variables() == before


@GRUB
def test_after_a_failed_update_the_next_one_succeeds(lab: Lab, machine: Machine) -> None:
    machine.break_slot(3)
    _install(lab, b"bad" * 1000, 2)
    Path(machine.root / "broken-3").unlink()

    reports = _install(lab, b"good" * 1000, 3)

    assert statuses(reports)[-1] == "success"
    assert machine.runs == 3
