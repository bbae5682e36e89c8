"""The script that docs/rootfs-image.md gives to GRUB, run by sh: the few words that differ are functions."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "rootfs-image.md"
FIRST = {"mender_boot_part": "2", "upgrade_available": "0", "bootcount": "0"}


def grub_script() -> str:
    """Return the script of the documents."""
    found = re.search(r"```\n(load_env\n.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert found
    return found[1]


def shell_script() -> str:
    """Return the same for sh, where `load_env`, `save_env NAME...` and `boot` are functions of the caller's."""
    script = re.sub(r"\bset (\w+=)", r"\1", grub_script())
    return re.sub(r"^(linux|initrd) .*$", ":", script, flags=re.MULTILINE)


class GrubLoader:
    """A boot loader with a real environment of GRUB in a folder, the boot partition."""

    def __init__(self, boot: Path) -> None:
        self.grubenv = boot / "grubenv"
        self._edit("create")
        self._edit("set", *(f"{key}={value}" for key, value in FIRST.items()))
        self._program = f"""set -eu
            env={self.grubenv}
            load_env() {{ eval "$(grub-editenv "$env" list)"; }}
            save_env() {{ for name; do eval "grub-editenv \\"$env\\" set \\"$name=\\$$name\\""; done; }}
            boot() {{ echo "$mender_boot_part"; }}
            {shell_script()}"""

    def choose(self) -> int:
        """Do what GRUB does at power-on, and return the number of the partition that it would boot."""
        done = subprocess.run(["sh", "-c", self._program], capture_output=True, text=True, check=True)
        return int(done.stdout)

    def variables(self) -> dict[str, str]:
        """Return the environment."""
        return dict(line.split("=", 1) for line in self._edit("list").splitlines() if "=" in line)

    def _edit(self, *command: str) -> str:
        done = subprocess.run(["grub-editenv", str(self.grubenv), *command], capture_output=True, text=True, check=True)
        return done.stdout
