"""A disk that forgets at a power cut what nobody waited for, in the worst way that POSIX allows.

A file's content is safe once the file was synced, a name once its folder was. `Medium` is told of each sync, and keeps
what was safe at that moment; `lose` then makes the disk look as it may after a cut:

    lost    of what was not synced there is nothing, neither contents nor names: new ones are gone, removed ones back
    torn    all names are there, but of contents that were not synced only half
"""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import NamedTuple


class Entry(NamedTuple):
    """A name in a folder: what it stands for, and its mode."""

    inode: int
    mode: int


class Medium:
    """The disk below one folder. Inodes are kept open, so that no number is given away while it is remembered here."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._contents: dict[int, bytes] = {}
        self._folders: dict[int, dict[str, Entry]] = {}
        self._kept: dict[int, int] = {}
        self.sync_all()

    def sync_all(self) -> None:
        """Take everything for safe."""
        for folder, _, files in os.walk(self._root):
            self.synced(Path(folder))
            for file in files:
                self.synced(Path(folder) / file)

    def synced(self, path: Path) -> None:
        """Take the content of a file, or the names in a folder, for safe."""
        facts = path.lstat()
        self._keep(path, facts)
        if stat.S_ISREG(facts.st_mode):
            self._contents[facts.st_ino] = path.read_bytes()
        elif stat.S_ISDIR(facts.st_mode):
            names: dict[str, Entry] = {}
            for entry in os.scandir(path):
                about = entry.stat(follow_symlinks=False)
                self._keep(Path(entry.path), about)
                names[entry.name] = Entry(about.st_ino, about.st_mode)
            self._folders[facts.st_ino] = names

    def lose(self, *, torn: bool) -> None:
        """Make the disk what it is after a power cut, and go on from there."""
        if torn:
            self._tear()
        else:
            after = self._root.with_name(self._root.name + ".after")
            self._rebuild(self._root.stat().st_ino, after)
            shutil.rmtree(self._root)
            after.rename(self._root)
        self.close()
        self._contents.clear()
        self._folders.clear()
        self.sync_all()

    def close(self) -> None:
        """Let the inodes go."""
        for fd in self._kept.values():
            os.close(fd)
        self._kept.clear()

    def _keep(self, path: Path, facts: os.stat_result) -> None:
        if facts.st_ino not in self._kept and not stat.S_ISFIFO(facts.st_mode):
            self._kept[facts.st_ino] = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)

    def _rebuild(self, inode: int, at: Path) -> None:
        at.mkdir()
        for name, entry in self._folders.get(inode, {}).items():
            new = at / name
            if stat.S_ISDIR(entry.mode):
                self._rebuild(entry.inode, new)
            elif stat.S_ISFIFO(entry.mode):
                os.mkfifo(new)
            else:
                new.write_bytes(self._contents.get(entry.inode, b""))
                new.chmod(stat.S_IMODE(entry.mode))

    def _tear(self) -> None:
        for folder, _, files in os.walk(self._root):
            for file in (Path(folder) / name for name in files):
                facts = file.lstat()
                if stat.S_ISREG(facts.st_mode) and self._contents.get(facts.st_ino) != file.read_bytes():
                    os.truncate(file, facts.st_size // 2)
