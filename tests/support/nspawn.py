"""A Debian guest with systemd, two root slots and a boot loader, in a container: `systemd-nspawn` as root.

A guest that reboots ends its container with status 133; the loader here then starts the slot to be tried, once, or else
the slot that is committed, as GRUB or U-Boot would. The two slots are folders; what a device keeps on partitions of its
own (the agent's data, the loader's variables) is mounted into whichever runs. The network is the host's.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Self

from tests.support.wait import wait_until

ROOT = Path(__file__).parents[2]
MODULE = Path(__file__).parent / "guest" / "ab-slot"
SUITE, PYTHON = "bookworm", "3.11"  # Debian 12, and its Python
PACKAGES = "systemd-sysv,dbus,python3,python3-venv,ca-certificates"
LEFT_OUT = ("/usr/share/man/*", "/usr/share/doc/*", "/usr/share/locale/*")
REBOOTED = 133  # status of systemd-nspawn when its guest has rebooted
BOOT_S = 30.0  # it takes one second on a machine that does nothing else
STOP_S = 30.0
# Installing as a package does it: with /proc, but without a service manager that runs.
CHROOT = """
mount -t proc proc "$1/proc"
exec chroot "$1" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \\
    PIP_NO_INDEX=1 PIP_FIND_LINKS=/source/wheels PIP_DISABLE_PIP_VERSION_CHECK=1 sh -euc "$2"
"""
HEALTHY = "#!/bin/sh\nexit 0\n"


def require_machine() -> None:
    """Raise AssertionError, and say what is missing, where no guest can run."""
    assert os.geteuid() == 0, "systemd-nspawn needs root: run `sudo make test-long` on a machine of your own"
    for program in ("systemd-nspawn", "mmdebstrap", "nsenter", "unshare"):
        found = shutil.which(program)
        assert found, f"{program} is not installed: apt-get install systemd-container mmdebstrap util-linux"


def build_root(folder: Path, cache: Path) -> Path:
    """Return a root with the agent installed from its wheel, as docs/install.md has it; keeps Debian in `cache`."""
    base = cache / f"{SUITE}.tar"
    if not base.exists():
        part = base.with_suffix(".part.tar")
        options = [f"--dpkgopt=path-exclude={path}" for path in LEFT_OUT]
        _run("mmdebstrap", "--variant=minbase", f"--include={PACKAGES}", *options, SUITE, str(part))
        part.rename(base)
    root = folder / "root"
    root.mkdir()
    _run("tar", "-xf", str(base), "-C", str(root))
    source = root / "source"
    shutil.copytree(ROOT / "systemd", source / "systemd")
    _fetch_wheels(source / "wheels")
    steps = re.search(r"test_systemd.py -->\n```sh\n(.*?)```", (ROOT / "docs/install.md").read_text(), re.DOTALL)
    assert steps
    _run("unshare", "--mount", "sh", "-euc", CHROOT, "chroot", str(root), f"cd /source\n{steps[1]}")
    shutil.rmtree(source)
    (root / "etc/machine-id").unlink(missing_ok=True)  # each guest makes its own
    modules = root / "etc/wainwright/modules/v3"
    modules.mkdir(parents=True)
    shutil.copy(MODULE, modules)
    health = root / "usr/local/bin/health"
    health.write_text(HEALTHY)
    health.chmod(0o755)
    return root


def _fetch_wheels(folder: Path) -> None:
    """Build our wheel, and fetch what it needs for the guest's Python, which may not be ours."""
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    _run(*pip, "wheel", "--no-deps", "--wheel-dir", str(folder), str(ROOT))
    [ours] = folder.glob("wainwright-*.whl")
    target = ("--only-binary=:all:", "--python-version", PYTHON)
    _run(*pip, "download", *target, "--dest", str(folder), str(ours))


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)[:200]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"


def _remove_what_is_left(name: str) -> None:
    """Remove the empty folders that a container leaves where the host has no systemd of its own."""
    with contextlib.suppress(OSError):
        (Path("/run/systemd/nspawn/propagate") / name).rmdir()
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        hierarchy = controllers.removeprefix("name=") or "unified"  # where both kinds are; else it is the folder itself
        mounted = Path("/sys/fs/cgroup", hierarchy)
        mounted = (mounted if mounted.is_dir() else mounted.parent) / group.lstrip("/")
        for left in ("payload", "supervisor"):
            for folder, _, _ in os.walk(mounted / left, topdown=False):
                with contextlib.suppress(OSError):  # it is somebody else's, and in use
                    Path(folder).rmdir()


class Guest:
    """One device; use it with `with`. `boots` are the slots that were started, in order."""

    def __init__(self, root: Path, folder: Path, config: str, files: dict[str, bytes]) -> None:
        """Make both slots of a root, with the agent's configuration and files below /etc/wainwright."""
        self.boots: list[str] = []
        self.log = folder / "console.log"
        self._folder = folder
        self._name = f"wain-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._loader = threading.Thread(target=self._load, name="loader")
        self._is_wanted = True
        self._was_cut = False
        for shared in ("data", "slots"):
            (folder / shared).mkdir()
        (folder / "data").chmod(0o700)
        for slot in "AB":
            _run("cp", "-a", str(root), str(folder / slot))
            (folder / slot / "etc/slot").write_text(f"{slot}\n")
            for name, content in (files | {"agent.toml": config.encode()}).items():
                (folder / slot / "etc/wainwright" / name).write_bytes(content)
            for place in ("boot/slots", "slots/other"):
                (folder / slot / place).mkdir(parents=True)
        (folder / "slots/slot").write_text("A\n")

    def __enter__(self) -> Self:
        self._loader.start()
        try:
            wait_until(self.is_up, BOOT_S, "the guest to be up")
        except BaseException as error:
            if self._leader():
                error.add_note(self.run("systemctl", "--failed", "status", "--no-pager", "--lines=30").stdout)
            error.add_note(self.log.read_text(errors="replace")[-2000:] if self.log.exists() else "no console yet")
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._is_wanted = False
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()  # nspawn asks the guest to power off
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.cut_power()
        self._loader.join(STOP_S)
        _remove_what_is_left(self._name)

    @property
    def slot(self) -> str:
        """The slot that runs."""
        return self.boots[-1]

    @property
    def committed_slot(self) -> str:
        """The slot that the loader starts when there is nothing to try."""
        return (self._folder / "slots/slot").read_text().strip()

    def file(self, path: str) -> str:
        """Return the content of a file of the slot that runs."""
        return (self._folder / self.slot / path).read_text()

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest, as root; raises AssertionError while there is none."""
        leader = self._leader()
        assert leader, "the guest is not running"
        entered = ["nsenter", "--target", str(leader), "--all", *command]
        return subprocess.run(entered, capture_output=True, text=True, timeout=60, check=False)

    def do(self, *command: str) -> str:
        """Run a command that has to succeed, and return its output."""
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def show(self, *properties: str) -> dict[str, str]:
        """Return properties of the agent's service, as `systemctl show` has them."""
        shown = self.do("systemctl", "show", "wainwright-agent", *(f"--property={name}" for name in properties))
        return dict(line.split("=", 1) for line in shown.splitlines())

    def is_up(self) -> bool:
        """Say whether the guest runs and all its services have started."""
        return bool(self._leader()) and self.run("systemctl", "is-system-running").stdout.strip() == "running"

    def cut_power(self) -> None:
        """End the guest without a word to it; the loader starts a slot again."""
        leader = self._leader()
        assert leader, "the guest is not running"
        self._was_cut = True
        os.kill(leader, signal.SIGKILL)  # with it go all processes of its namespace; with nspawn they would not

    def _load(self) -> None:
        """Be the boot loader: start slots for as long as guests reboot."""
        while self._is_wanted:
            slot = self._choose()
            self.boots.append(slot)
            other = "AB".replace(slot, "")
            binds = {"data": "/var/lib/wainwright", "slots": "/boot/slots", other: "/slots/other"}
            options = [f"--bind={self._folder / source}:{target}" for source, target in binds.items()]
            command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--console=read-only", "--boot"]
            command += ["--machine", self._name, "--directory", str(self._folder / slot), *options]
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                if self._process.wait() != REBOOTED and not self._was_cut:
                    return
                self._was_cut = False

    def _choose(self) -> str:
        attempt = self._folder / "slots/try"
        if attempt.exists():
            slot = attempt.read_text().strip()
            attempt.unlink()
            return slot
        return self.committed_slot

    def _leader(self) -> int | None:
        """Return the process that is the guest's first; None while there is none."""
        if self._process is None or self._process.poll() is not None:
            return None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        try:
            for child in children.read_text().split():
                status = Path(f"/proc/{child}/status").read_text()
                if re.search(r"^NSpid:\s+\d+\s+1$", status, re.MULTILINE) and "systemd" in status.splitlines()[0]:
                    return int(child)
        except OSError:
            pass  # it has just ended
        return None
