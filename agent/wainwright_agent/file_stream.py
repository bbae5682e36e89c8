"""An artifact that is a file of this device, as a stream of the bytes that were announced."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from urllib.parse import unquote_to_bytes, urlsplit

from wainwright_agent.failure import UpdateError
from wainwright_common.codes import Code
from wainwright_common.messages import Artifact

CHUNK = 1024 * 1024  # bytes
OUT_OF_SIGHT = (  # whoever asked for the update has looked at the file
    "If it is there, the service may not look there, as into /tmp, /root and /home with wainwright-agent.strict.conf: "
    "put it below /srv."
)


class FileStream:
    """Reads the file of a `file:` URI, with the methods of HttpStream; raises UpdateError (download-failed)."""

    def __init__(self, artifact: Artifact, on_bytes: Callable[[int], None]) -> None:
        self._artifact = artifact
        self._on_bytes = on_bytes
        self._path = os.fsdecode(unquote_to_bytes(urlsplit(artifact.uri).path))
        self.offset = 0
        try:
            self._file = open(self._path, "rb")  # noqa: PTH123, SIM115  closed by `close`
        except OSError as error:
            hint = f" {OUT_OF_SIGHT}" if error.errno in {errno.ENOENT, errno.EACCES} else ""
            text = f"{self._path}: cannot be read: {error.strerror}.{hint}"
            raise UpdateError(Code.DOWNLOAD_FAILED, text) from error

    def read(self, n: int) -> bytes:
        """Return up to `n` of the next bytes; none at the end."""
        try:
            data = self._file.read(n)
        except OSError as error:
            text = f"{self._path}: cannot be read: {error.strerror}."
            raise UpdateError(Code.DOWNLOAD_FAILED, text) from error
        self.offset += len(data)
        if self.offset > self._artifact.size or (not data and self.offset < self._artifact.size):
            text = f"{self._path}: has {self.offset} bytes, not {self._artifact.size} as before: it was changed."
            raise UpdateError(Code.DOWNLOAD_FAILED, text)
        self._on_bytes(self.offset)
        return data

    def check_digest(self) -> None:
        """Read what is left. There is no digest of the file: the manifest in it says what is right."""
        while self.read(CHUNK):
            pass

    def close(self) -> None:
        """Close the file."""
        self._file.close()
