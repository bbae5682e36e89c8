"""What the kernel tells of the machine: read from the trees of other machines, and from this one."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from wainwright_agent import hardware


def tree(root: Path, **files: str) -> Path:
    """Make files of a folder; `__` in a name is a `/`, and a name that ends with one is a folder."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        if name.endswith("__"):
            path.mkdir(parents=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(f"{text}\n", encoding="ascii")
    return root


def test_disks_that_are_built_in_have_a_size(tmp_path: Path) -> None:
    sys = tree(
        tmp_path,
        block__mmcblk0__size="15269888",
        block__mmcblk0__removable="0",
        block__mmcblk0__device__="",
        block__sda__size="1000",
        block__sda__removable="1",
        block__sda__device__="",
        block__loop0__size="2000",
        block__nvme0n1__size="0",
        block__nvme0n1__device__="",
    )

    assert dict(hardware.disks(sys)) == {"disk_total_kB_mmcblk0": 7634944}


def test_the_device_of_the_root_is_named(tmp_path: Path) -> None:
    device = tmp_path.stat().st_dev
    numbers = f"{os.major(device)}:{os.minor(device)}"
    uevent = tmp_path / "dev/block" / numbers / "uevent"
    uevent.parent.mkdir(parents=True)

    assert hardware.root_device(tmp_path, tmp_path) == ""
    uevent.write_text("MAJOR=179\nMINOR=2\nDEVNAME=mmcblk0p2\nDEVTYPE=partition\n", encoding="ascii")
    assert hardware.root_device(tmp_path, tmp_path) == "/dev/mmcblk0p2"


def test_the_slot_is_what_rauc_calls_it(tmp_path: Path) -> None:
    proc = tree(tmp_path, cmdline="quiet root=/dev/sda2 rauc.slot=system1 panic=5")

    assert hardware.boot_slot(proc, {}) == "system1"


@pytest.mark.parametrize(("running", "slot"), [("slot-a", "a"), ("slot-b", "b"), ("other", "")])
def test_else_the_slot_is_that_of_the_module_rootfs_image(tmp_path: Path, running: str, slot: str) -> None:
    conf = tmp_path / "rootfs-image.conf"
    lines = ("# slots", f"slot_a={tmp_path}/slot-a", f"slot_b={tmp_path}/slot-b", "bootloader=uboot")
    conf.write_text("\n".join((*lines, f"root_mount={tmp_path}", "")), encoding="ascii")
    device = tmp_path.stat().st_dev
    env = {"WAINWRIGHT_ROOTFS_CONF": str(conf)}

    assert hardware.boot_slot(tmp_path, env, lambda node: device if node.name == running else 0) == slot


@pytest.mark.parametrize("text", ["", "slot_a=/nowhere/a\nslot_b=/nowhere/b\n", "running=echo /dev/sda2\n"])
def test_without_slots_that_can_be_told_there_is_none(tmp_path: Path, text: str) -> None:
    conf = tmp_path / "rootfs-image.conf"
    conf.write_text(text, encoding="ascii")

    assert hardware.boot_slot(tmp_path, {"WAINWRIGHT_ROOTFS_CONF": str(conf)}) == ""
    assert hardware.boot_slot(tmp_path, {"WAINWRIGHT_ROOTFS_CONF": str(tmp_path / "none")}) == ""


def test_interfaces_have_their_lasting_addresses(tmp_path: Path) -> None:
    name = next((name for _, name in socket.if_nameindex() if name != hardware.LOOPBACK), "")
    lines = [
        f"20010db8000000000000000000000002 02 40 00 80 {name}",
        f"20010db8000000000000000000000003 02 40 00 81 {name}",  # temporary
        f"20010db8000000000000000000000004 02 40 00 a0 {name}",  # deprecated
        f"fe800000000000000000000000000001 02 40 20 80 {name}",  # of the link alone
        "20010db8000000000000000000000009 09 40 00 80 gone0",
    ]
    proc = tree(tmp_path, net__if_inet6="\n".join(lines))

    found = dict(hardware.interfaces(tree(tmp_path, **{f"class__net__{name}__address": "02:42:ac:11:00:02"}), proc))

    assert name, "this machine has no network interface"
    assert name in found["network_interfaces"]
    assert found[f"mac_{name}"] == "02:42:ac:11:00:02"
    assert found[f"ipv6_{name}"] == "2001:db8::2"
    assert "lo" not in found["network_interfaces"]
    assert "ipv6_gone0" not in found


def test_what_is_told_of_this_machine_is_the_same_twice() -> None:
    first, second = ([*hardware.disks(), *hardware.interfaces(), hardware.boot_slot()] for _ in range(2))

    assert first == second
    assert (hardware.size_of(Path("/")) or 0) > 0
    assert hardware.size_of(Path("/nowhere")) is None
