"""A work tree for calling a module by hand, as the agent does, and as it does after a power cut."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

from wainwright_agent.config import OWN_MODULES

LIMIT_S = 60  # of one call


class Tree:
    """One work tree of one of the shipped modules."""

    def __init__(
        self, root: Path, module: str, env: Mapping[str, str], files: Mapping[str, bytes] | None = None
    ) -> None:
        self.module = OWN_MODULES / module
        self.path = root / "tree"
        self.env = {"WAINWRIGHT_PYTHON": sys.executable, **env}
        for folder in ("files", "tmp", "header"):
            (self.path / folder).mkdir(parents=True)
        for name, content in (files or {}).items():
            (self.path / "files" / name).write_bytes(content)

    def call(self, state: str, **env: str) -> subprocess.CompletedProcess[str]:
        """Call a state or ask a question."""
        return subprocess.run(
            [self.module, state, self.path],
            cwd=self.path,
            check=False,
            capture_output=True,
            text=True,
            env=os.environ | self.env | env,
            stdin=subprocess.DEVNULL,
            timeout=LIMIT_S,
        )

    def ok(self, *states: str) -> str:
        """Call states that must succeed; return what the last one said."""
        said = ""
        for state in states:
            result = self.call(state)
            assert result.returncode == 0, f"{state}: {result.stdout}{result.stderr}"
            said = result.stdout
        return said

    def refused(self, state: str, **env: str) -> str:
        """Call a state that must fail; return what it said about it."""
        result = self.call(state, **env)
        assert result.returncode == 1, f"{state}: {result.stdout}{result.stderr}"
        return result.stderr

    def download(self, files: Mapping[str, bytes], **sizes: int) -> subprocess.CompletedProcess[str]:
        """Give streams to DownloadWithFileSizes; `sizes` are announced in place of the true ones."""
        next_stream = self.path / "stream-next"
        streams = self.path / "streams"
        streams.mkdir()
        os.mkfifo(next_stream)
        for name in files:
            os.mkfifo(streams / name)

        def feed() -> None:
            with contextlib.suppress(BrokenPipeError):  # the module has seen enough
                for name, content in files.items():
                    next_stream.write_text(f"streams/{name} {sizes.get(name, len(content))}\n")
                    (streams / name).write_bytes(content)
                next_stream.write_text("")

        feeder = threading.Thread(target=feed, name="feeder")
        feeder.start()
        try:
            return self.call("DownloadWithFileSizes")
        finally:
            fifos = (next_stream, *streams.iterdir())
            while feeder.is_alive():  # it waits for a reader that has gone: be one, for a moment
                for fifo in fifos:
                    os.close(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK))
                feeder.join(0.01)
            for fifo in fifos:
                fifo.unlink()
            streams.rmdir()
