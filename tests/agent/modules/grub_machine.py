"""A machine that boots with the real GRUB, in QEMU, from a disk with the script of docs/rootfs-image.md as it is there.

No kernel is started: the words `linux` and `initrd` are functions of GRUB's language here, which print what they are
given, and the machine is off when the script has come to its end.
"""

from __future__ import annotations

import re
import shutil
import struct
from pathlib import Path

from tests.agent.modules.machine import Machine
from tests.agent.update.lab import run
from tests.support.grub import grub_script

SECTOR = 512  # bytes
PARTITION_AT = 2048  # sectors
PARTITION_BYTES = 8 * 1024 * 1024
BIOS = Path("/usr/lib/grub/i386-pc")
BUILT_IN = (
    "biosdisk",
    "part_msdos",
    "ext2",
    "configfile",
    "normal",
    "loadenv",
    "serial",
    "terminal",
    "test",
    "echo",
    "reboot",
)
QEMU = ("qemu-system-x86_64", "-accel", "tcg", "-m", "64", "-no-reboot", "-nic", "none")
SERIAL_ONLY = ("-display", "none", "-monitor", "none", "-serial", "stdio")
LIMIT = ("timeout", "60")  # seconds; GRUB waits at a prompt for ever when its script is wrong
HEAD = """\
serial --unit=0 --speed=115200
terminal_output serial
function linux { echo "LINUX $2"; }
function initrd { echo "INITRD $1"; }
"""
TAIL = "\nreboot\n"  # which ends QEMU


class GrubMachine(Machine):
    """As Machine, but GRUB itself decides."""

    def __init__(self, root: Path) -> None:
        self._boot_folder = root / "boot"
        (self._boot_folder / "grub").mkdir(parents=True)
        (self._boot_folder / "grub/grub.cfg").write_text(HEAD + grub_script() + TAIL)
        core = ["grub-mkimage", "-O", "i386-pc", "-p", "(hd0,msdos1)/grub", "-o", str(root / "core.img")]
        run(*core, *BUILT_IN)
        super().__init__(root, "grub")

    def boot(self) -> None:
        """Start the machine anew, until a slot starts that is not broken."""
        for _ in range(5):
            slot = self._run_grub()
            if not (self.root / f"broken-{slot}").exists():
                (self.root / "running").write_text(f"{self.slots[slot]}\n")
                return
        raise AssertionError("GRUB chose a slot that does not start again and again")

    def _run_grub(self) -> int:
        """Run GRUB once, from a disk with our environment, and take back what it made of it."""
        disk, partition = self.root / "disk.img", self.root / "partition.img"
        shutil.copy(self.grubenv, self._boot_folder / "grub/grubenv")
        partition.write_bytes(bytes(PARTITION_BYTES))
        run("/sbin/mke2fs", "-q", "-t", "ext2", "-d", str(self._boot_folder), str(partition))
        disk.write_bytes(self._disk(partition.read_bytes()))
        said = run(*LIMIT, *QEMU, *SERIAL_ONLY, "-drive", f"file={disk},format=raw,if=virtio")
        partition.write_bytes(disk.read_bytes()[PARTITION_AT * SECTOR :])
        run("/sbin/debugfs", "-R", f"dump /grub/grubenv {self.grubenv}", str(partition))
        found = re.search(r"LINUX root=/dev/vda([23])\b", said)
        assert found, said
        assert f"INITRD (hd0,msdos{found[1]})/initrd.img" in said
        return int(found[1])

    def _disk(self, partition: bytes) -> bytes:
        """Return a disk with GRUB before its only partition (grub-setup's layout: boot.img, then core.img)."""
        entry = struct.pack("<B3xB3xII", 0x80, 0x83, PARTITION_AT, len(partition) // SECTOR)
        table = entry.ljust(64, b"\0") + b"\x55\xaa"
        first = (BIOS / "boot.img").read_bytes()[:440].ljust(446, b"\0") + table
        return (first + (self.root / "core.img").read_bytes()).ljust(PARTITION_AT * SECTOR, b"\0") + partition
