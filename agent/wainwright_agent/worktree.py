r"""The folder that an update module works in: what protocol v3 puts there, byte for byte.

    <data_dir>/modules/v3/payloads/0000/tree/
        version                                          "3\\n"
        current_artifact_name, current_artifact_group    value and "\\n"; empty when there is none
        current_device_type                              value and "\\n"
        header/artifact_name, artifact_group, payload_type    value, no line end
        header/header-info, type-info, meta-data         as they are in the artifact
        tmp/                                             the module's own
        stream-next, streams/<file>                      FIFOs, while the payload arrives
        files/<file>                                     where the module did not take the streams

It is built before the first call, survives reboots, and is removed after Cleanup.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from wainwright_agent import checkpoint
from wainwright_agent.mounts import remove_tree
from wainwright_agent.synced import sync_folder, write_synced

if TYPE_CHECKING:  # the reader's compression libraries are not for the idle agent
    from wainwright_common.artifact import Header

PLACE = Path("modules/v3/payloads/0000/tree")
PROTOCOL = "3"
FIFO_MODE = 0o600


class WorkTree:
    """The work tree below one data folder; all methods raise OSError."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.absolute()
        self.path = self.data_dir / PLACE

    def exists(self) -> bool:
        """Say whether there is a tree, whole or in part."""
        return self.path.is_dir()

    def build(self, header: Header, device_type: str, provides: Mapping[str, str]) -> None:
        """Make a new tree for an artifact, in place of any other, and wait until the medium has it."""
        self.remove()
        for folder in (*reversed(PLACE.parents), PLACE):  # each: `parents=True` would leave theirs to the umask
            (self.data_dir / folder).mkdir(mode=0o700, exist_ok=True)
        (self.path / "header").mkdir(mode=0o700)
        (self.path / "tmp").mkdir(mode=0o700)
        current = {
            "version": PROTOCOL,
            "current_artifact_name": provides.get("artifact_name", ""),
            "current_artifact_group": provides.get("artifact_group", ""),
            "current_device_type": device_type,
        }
        contents = {name: f"{value}\n".encode() if value else b"" for name, value in current.items()}
        contents |= {
            "header/artifact_name": header.name.encode(),
            "header/artifact_group": (header.group or "").encode(),
            "header/payload_type": (header.payload_type or "").encode(),
            "header/header-info": header.header_info,
            "header/type-info": header.type_info,
            "header/meta-data": header.meta_data,
        }
        for name, content in contents.items():
            write_synced(self.path / name, content)
        for folder in (self.path / "header", self.path, *self.path.parents[:4]):
            sync_folder(folder)

    def payload_type(self) -> str | None:
        """Return the payload type that the tree was built for; None when it was not built to the end."""
        try:
            return (self.path / "header" / "payload_type").read_text(encoding="utf-8") or None
        except FileNotFoundError:
            return None

    @property
    def stream_next(self) -> Path:
        """The FIFO that names the next stream."""
        return self.path / "stream-next"

    def make_stream_next(self) -> Path:
        """Make that FIFO."""
        return _make_fifo(self.stream_next)

    def make_stream(self, name: str) -> Path:
        """Make the FIFO of one payload file."""
        return _make_fifo(self._below("streams", name))

    def remove_streams(self) -> None:
        """Remove all FIFOs."""
        self.stream_next.unlink(missing_ok=True)
        remove_tree(self.path / "streams")

    def open_file(self, name: str) -> int:
        """Open a payload file for writing, as it is, or make an empty one; return its descriptor."""
        file = self._below("files", name)
        return os.open(file, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)

    def sync_files(self) -> None:
        """Wait until the medium has the names of the payload files."""
        if (self.path / "files").is_dir():
            sync_folder(self.path / "files")
        sync_folder(self.path)

    def discard_files(self) -> None:
        """Remove the payload files, and so give back their space; the rest stays for Cleanup."""
        remove_tree(self.path / "files")

    def remove(self) -> None:
        """Remove the tree, and what a download that was cut off has kept beside it."""
        remove_tree(checkpoint.place(self.path))  # first: without the tree it is worth nothing
        remove_tree(self.path)

    def _below(self, folder: str, name: str) -> Path:
        """Return the path of a payload file. The artifact's reader refuses bad names too; this is the fence."""
        if name in {"", ".", ".."} or "/" in name or "\0" in name:
            raise ValueError(f"{name!r} is not the name of a payload file")
        parent = self.path / folder
        parent.mkdir(mode=0o700, exist_ok=True)
        return parent / name


def _make_fifo(path: Path) -> Path:
    os.mkfifo(path, FIFO_MODE)
    return path
