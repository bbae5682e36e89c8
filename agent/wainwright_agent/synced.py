"""Writing what must survive a power cut."""

from __future__ import annotations

import os
from pathlib import Path


def write_synced(file: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file and wait until the medium has it; raises OSError."""
    fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)
    try:
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(fd, rest) :]
        os.fsync(fd)
    finally:
        os.close(fd)


def sync_folder(folder: Path) -> None:
    """Wait until the medium has the names in a folder; raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
