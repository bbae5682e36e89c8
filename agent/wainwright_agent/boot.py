"""Which boot this is: the kernel's random id, new after each start of the machine."""

from __future__ import annotations

from pathlib import Path

KERNEL = Path("/proc/sys/kernel/random/boot_id")  # random(4)
LENGTH_MAX = 64  # characters: the protocol's bound of an id; the kernel's has 36
UNKNOWN = "unknown"


def boot_id(file: Path = KERNEL) -> str:
    """Return the id of the running boot; `unknown` when the file cannot be read or is empty."""
    try:
        return file.read_text(encoding="utf-8").strip()[:LENGTH_MAX] or UNKNOWN
    except (OSError, UnicodeDecodeError):
        return UNKNOWN
