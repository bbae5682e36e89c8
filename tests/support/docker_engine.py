"""A Docker engine of a test's own: the real dockerd, with what it has in one folder, and images that are made here.

Containers have no network, so that nothing of the host's is changed. Needs root, and Docker's compose plugin.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path
from typing import Self

from tests.support.wait import wait_until

START_S = 60.0  # it takes one second on a machine that does nothing else
STOP_S = 60.0
BUSYBOX = Path("/bin/busybox")  # a static one: all that an image needs


def require_docker() -> None:
    """Raise AssertionError, and say what is missing, where no engine can run."""
    assert os.geteuid() == 0, "dockerd needs root: run `sudo make test-long` on a machine of your own"
    for program in ("dockerd", "docker"):
        assert shutil.which(program), f"{program} is not installed: `make test-long` installs it"
    assert BUSYBOX.exists(), "busybox-static is not installed: `make test-long` installs it"
    done = subprocess.run(["docker", "compose", "version"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, "Docker has no compose plugin: run tests/support/install-compose"


class Engine:
    """Use it with `with`; `env` is what a client needs to find it."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="wain-docker-"))  # short: sockets are in it
        self.env = {"DOCKER_HOST": f"unix://{self._folder}/docker.sock"}
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        folder = self._folder
        places = ["--exec-root", f"{folder}/exec", "--data-root", f"{folder}/data", "--pidfile", f"{folder}/pid"]
        options = ["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=vfs"]
        # What it mounts is so for it and its containers alone.
        command = ["unshare", "--mount", "dockerd", *options, *places, "--host", self.env["DOCKER_HOST"]]
        with (folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_until(self._answers, START_S, "the engine to answer")
        except BaseException as error:
            error.add_note((folder / "log").read_text(errors="replace")[-2000:])
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process
        self._process.terminate()  # it ends its containers
        self._process.wait(STOP_S)
        shutil.rmtree(self._folder)
        for left in Path("/sys/fs/cgroup").glob("*/docker"):
            with contextlib.suppress(OSError):  # somebody else's, and in use
                left.rmdir()

    def docker(self, *command: str, stdin: bytes = b"") -> str:
        """Run a command of the client that has to succeed; returns its output."""
        done = subprocess.run(
            ["docker", *command], env=os.environ | self.env, input=stdin, capture_output=True, check=False
        )
        assert done.returncode == 0, f"docker {' '.join(command)}: {done.stderr.decode()}"
        return done.stdout.decode().strip()

    def save_image(self, name: str, version: int) -> bytes:
        """Return an image with a file /version in it, as `docker image save` writes it; the engine forgets it."""
        packed = BytesIO()
        with tarfile.open(fileobj=packed, mode="w") as root:
            root.add(BUSYBOX.resolve(), "bin/busybox")
            text = f"{version}\n".encode()
            member = tarfile.TarInfo("version")
            member.size = len(text)
            root.addfile(member, BytesIO(text))
        self.docker("import", "-", name, stdin=packed.getvalue())
        saved = self._folder / "saved.tar"
        self.docker("image", "save", "--output", str(saved), name)
        self.docker("image", "rm", name)
        return saved.read_bytes()

    def remove_all(self) -> None:
        """Leave the engine without containers and images."""
        for what, remove in ((("container", "ls", "--all"), ("container", "rm")), (("image", "ls"), ("image", "rm"))):
            for one in self.docker(*what, "--quiet").split():
                self.docker(*remove, "--force", one)

    def _answers(self) -> bool:
        assert self._process
        assert self._process.poll() is None, "dockerd has ended"
        done = subprocess.run(["docker", "version"], env=os.environ | self.env, capture_output=True, check=False)
        return done.returncode == 0
