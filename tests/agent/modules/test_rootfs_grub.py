"""`rootfs-image` and the real GRUB, which runs the documented script in QEMU."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.agent.modules.grub_machine import GrubMachine
from tests.agent.modules.tree import Tree

pytestmark = pytest.mark.long
NEW = os.urandom(200_000)


@pytest.fixture
def machine(tmp_path: Path) -> GrubMachine:
    return GrubMachine(tmp_path)


def _installed(machine: GrubMachine) -> Tree:
    tree = Tree(machine.root, "rootfs-image", machine.env)
    result = tree.download({"root.ext4": NEW})
    assert result.returncode == 0, result.stderr
    tree.ok("ArtifactInstall")
    return tree


def test_grub_tries_the_new_slot_and_stays_there_after_the_commit(machine: GrubMachine) -> None:
    assert machine.runs == 2
    tree = _installed(machine)
    machine.boot()
    assert machine.runs == 3
    assert machine.variables()["bootcount"] == "1"
    tree.ok("ArtifactVerifyReboot", "ArtifactCommit")

    for _ in range(3):
        machine.boot()
        assert machine.runs == 3
    assert machine.variables()["bootcount"] == "0"


def test_grub_goes_back_from_a_slot_that_was_not_committed_for_good(machine: GrubMachine) -> None:
    tree = _installed(machine)
    slots = []
    for _ in range(4):
        machine.boot()
        slots.append(machine.runs)

    assert slots == [3, 3, 2, 2]
    assert "the bootloader has fallen back" in tree.refused("ArtifactVerifyReboot")
    assert machine.variables()["upgrade_available"] == "0"


def test_grub_goes_back_when_the_new_slot_does_not_start(machine: GrubMachine) -> None:
    tree = _installed(machine)
    machine.break_slot(3)
    machine.boot()
    assert machine.runs == 2

    tree.ok("ArtifactRollback", "ArtifactVerifyRollbackReboot")
    machine.boot()
    assert machine.runs == 2


def test_grub_boots_the_old_slot_after_a_rollback_from_the_new_system(machine: GrubMachine) -> None:
    tree = _installed(machine)
    machine.boot()
    assert machine.runs == 3

    tree.ok("ArtifactRollback")
    machine.boot()

    assert machine.runs == 2
    tree.ok("ArtifactVerifyRollbackReboot")
