"""`rootfs-image` and the real U-Boot, in QEMU: it reads what the module wrote, and runs the documented fallback.

U-Boot cannot write to the flash of QEMU 7.2 (its buffered writes time out), so it prints what it would save. Counting
is built into U-Boot where it is configured; Debian's for QEMU is not, so the fallback is called as that would.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.agent.modules.machine import Machine
from tests.agent.modules.tree import Tree
from tests.agent.update.lab import run
from tests.support.grub import PAGE

pytestmark = pytest.mark.long
UBOOT = "/usr/lib/u-boot/qemu_arm64/u-boot.bin"
FLASH_BYTES = 64 * 1024 * 1024  # of QEMU's machine "virt"; the environment is at its beginning
ENV_BYTES = 0x40000
NAMES = "mender_boot_part mender_boot_part_hex upgrade_available bootcount"
LIMIT = ("timeout", "60")  # seconds; U-Boot waits at a prompt for ever when a command is wrong


def test_uboot_boots_what_the_module_named_and_falls_back(tmp_path: Path) -> None:
    machine = Machine(tmp_path, "uboot")
    flash = tmp_path / "flash"
    flash.write_bytes(bytes(FLASH_BYTES))
    machine.fw_config.write_text(f"{flash} 0 {ENV_BYTES:#x}\n")
    found = re.search(r"^altbootcmd=(.*; saveenv; run bootcmd)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert found
    fallback = found[1].replace("saveenv", f"echo FELL BACK; printenv {NAMES}").replace("run bootcmd", "poweroff")
    (tmp_path / "flash.txt").write_text(
        "mender_boot_part=2\nmender_boot_part_hex=2\nupgrade_available=0\nbootcount=0\nbootdelay=0\n"
        f"bootcmd=echo BOOTS; printenv {NAMES}; run altbootcmd\naltbootcmd={fallback}\n"
    )
    run(
        "fw_setenv",
        "-c",
        str(machine.fw_config),
        *("-f", str(tmp_path / "flash.txt"), "-s", str(tmp_path / "flash.txt")),
    )
    tree = Tree(tmp_path, "rootfs-image", machine.env)
    assert tree.download({"root.ext4": b"new" * 1000}).returncode == 0
    tree.ok("ArtifactInstall")

    said = run(
        *(*LIMIT, "qemu-system-aarch64", "-M", "virt", "-cpu", "cortex-a53", "-m", "128", "-nographic", "-nic", "none"),
        *("-bios", UBOOT, "-drive", f"if=pflash,format=raw,index=1,file={flash}"),
    )

    boots, _, fell_back = said.partition("BOOTS")[2].partition("FELL BACK")
    assert boots.split() == ["mender_boot_part=3", "mender_boot_part_hex=3", "upgrade_available=1", "bootcount=0"]
    assert fell_back.split()[:4] == [
        "mender_boot_part=2",
        "mender_boot_part_hex=2",
        "upgrade_available=0",
        "bootcount=0",
    ]
