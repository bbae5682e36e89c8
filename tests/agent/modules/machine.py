"""A machine with two slots: files for its disks, the real tools for its boot environment, a firmware that chooses.

The firmware of GRUB is the script that docs/rootfs-image.md gives, run by sh instead of GRUB (the few words that differ
are functions). That of U-Boot is a model of its boot counter (doc/README.bootcount of U-Boot).
"""

from __future__ import annotations

import textwrap
from pathlib import Path

from tests.agent.update.lab import run
from tests.support.grub import shell_script

SLOT_BYTES = 1024 * 1024
OLD = b"old system, slot A. " * 1000
MODEL_OF_UBOOT = """
if [ "$upgrade_available" = 1 ]; then
    bootcount=$((bootcount + 1))
    save_env bootcount
    if [ "$bootcount" -gt 1 ]; then
        if [ "$mender_boot_part" = 2 ]; then mender_boot_part=3; else mender_boot_part=2; fi
        upgrade_available=0
        bootcount=0
        save_env mender_boot_part upgrade_available bootcount
    fi
fi
boot
"""


class Machine:
    """Slots `root2` (A, which runs) and `root3` (B) below one folder."""

    def __init__(self, root: Path, bootloader: str) -> None:
        self.root = root
        self.bootloader = bootloader
        self.slots = {2: root / "root2", 3: root / "root3"}
        self.conf = root / "rootfs-image.conf"
        self.grubenv = root / "grubenv"
        self.fw_env = (root / "uboot.env", root / "uboot-redundant.env")
        self.fw_config = root / "fw_env.config"
        for slot in self.slots.values():
            slot.write_bytes(OLD.ljust(SLOT_BYTES, b"\0"))
        self._make_env()
        settings = {
            "slot_a": self.slots[2],
            "slot_b": self.slots[3],
            "bootloader": bootloader,
            "grubenv": self.grubenv,
            "fw_env_config": self.fw_config,
            "running": f"cat {root}/running",
        }
        self.conf.write_text("# a test's\n" + "".join(f"{key}={value}\n" for key, value in settings.items()))
        self.firmware = root / "firmware"
        self._make_firmware()
        self.boot()

    @property
    def env(self) -> dict[str, str]:
        """What the module's environment must have."""
        return {"WAINWRIGHT_ROOTFS_CONF": str(self.conf)}

    @property
    def runs(self) -> int:
        """The number of the slot that runs."""
        return int((self.root / "running").read_text().strip()[-1])

    def boot(self) -> None:
        """Start the machine anew."""
        run(str(self.firmware))

    def break_slot(self, number: int) -> None:
        """Have every start of a slot fail, as with a panic."""
        (self.root / f"broken-{number}").touch()

    def variables(self) -> dict[str, str]:
        """Return the bootloader's variables, as its own tool reads them."""
        if self.bootloader == "grub":
            text = run("grub-editenv", str(self.grubenv), "list")
        else:
            text = run("fw_printenv", "-c", str(self.fw_config))
        return dict(line.split("=", 1) for line in text.splitlines() if "=" in line)

    def set(self, **variables: str) -> None:
        """Set variables behind the module's back."""
        for key, value in variables.items():
            if self.bootloader == "grub":
                run("grub-editenv", str(self.grubenv), "set", f"{key}={value}")
            else:
                run("fw_setenv", "-c", str(self.fw_config), key, value)

    def content(self, number: int, length: int) -> bytes:
        """Return the first bytes of a slot."""
        return self.slots[number].read_bytes()[:length]

    def _make_env(self) -> None:
        first = {"mender_boot_part": "2", "upgrade_available": "0", "bootcount": "0", "console": "ttyS0"}
        if self.bootloader == "grub":
            run("grub-editenv", str(self.grubenv), "create")
            self.set(**first)
            return
        for file in self.fw_env:
            file.write_bytes(bytes(0x4000))
        self.fw_config.write_text("".join(f"{file} 0 0x4000\n" for file in self.fw_env))
        defaults = self.root / "defaults"
        defaults.write_text("".join(f"{key}={value}\n" for key, value in first.items()))
        for _ in self.fw_env:  # fw_setenv writes them in turn
            run("fw_setenv", "-c", str(self.fw_config), "-f", str(defaults), "-s", str(defaults))

    def _make_firmware(self) -> None:
        if self.bootloader == "grub":
            script = shell_script()
            load = f'eval "$(grub-editenv {self.grubenv} list)"'
            save = f'grub-editenv {self.grubenv} set "$1=$2"'
        else:
            script = MODEL_OF_UBOOT
            load = f'eval "$(fw_printenv -c {self.fw_config})"'
            save = f'fw_setenv -c {self.fw_config} "$1" "$2"'
        head = f"""\
            #!/bin/sh
            set -eu
            load_env() {{ {load}; }}
            save_one() {{ {save}; }}
            save_env() {{ for name; do eval "save_one $name \\"\\$$name\\""; done; }}
            boot() {{
                [ ! -e {self.root}/broken-$mender_boot_part ] || return 0  # a panic: the firmware starts again
                echo {self.root}/root$mender_boot_part >{self.root}/running
                exit 0
            }}
            while load_env; do
            """
        self.firmware.write_text(textwrap.dedent(head) + script + "\ndone\n")
        self.firmware.chmod(0o755)
