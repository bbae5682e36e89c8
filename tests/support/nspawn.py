"""A machine with two root slots and a boot loader: `systemd-nspawn` boots what the loader chooses; needs root.

The slots are images on loop devices, which the guest sees as its partitions /dev/vda2 and /dev/vda3, and one of which
is its root. Two folders are partitions that both systems share: the agent's data, and GRUB's environment. A guest that
reboots ends its container with status 133, one that cannot start with another; whichever, the loader chooses again, by
the script that the documents give to GRUB. The network is the host's.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from pathlib import Path
from typing import Self

from tests.support.container import leader_of, remove_what_is_left
from tests.support.debian import SLOT, run
from tests.support.grub import GrubLoader
from tests.support.wait import wait_until

PARTITIONS = {2: "A", 3: "B"}  # the loader's number, and our name
BOOTS_MAX = 12  # starts of one guest: no test needs more than six, so this one goes in circles
BOOT_S = 60.0  # it takes two seconds on a machine that does nothing else
STOP_S = 30.0
# The root is mounted for this container alone, and so until its end, whatever ends it.
START = 'mount -t ext4 "$1" "$2"; shift 2; exec systemd-nspawn "$@"'


class Guest:
    """One device; use it with `with`. `boots` are the slots that were started, in order."""

    def __init__(self, image: Path, folder: Path, serial: str) -> None:
        """Make a machine below `folder` that has an image in slot A, nothing in slot B, and a serial number."""
        folder.mkdir(parents=True)
        self.boots: list[str] = []
        self.log = folder / "console.log"
        self._folder = folder
        self._name = f"wain-{serial}-{os.getpid()}"
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._load, name="loader")
        self._devices: dict[str, str] = {}
        self._is_wanted = True
        self._was_cut = False
        for name in ("data", "boot", "root"):
            (folder / name).mkdir()
        (folder / "data").chmod(0o700)
        (folder / "boot/serial").write_text(serial)
        self.loader = GrubLoader(folder / "boot")
        run("cp", "--sparse=always", str(image), str(folder / "A.img"))
        run("truncate", "--size", SLOT, str(folder / "B.img"))

    def __enter__(self) -> Self:
        try:
            for slot in PARTITIONS.values():
                self._devices[slot] = run("losetup", "--find", "--show", str(self._folder / f"{slot}.img")).strip()
            self._thread.start()
            wait_until(self.is_up, BOOT_S, "the guest to be up")
        except BaseException as error:
            if self._leader():
                error.add_note(self.run("systemctl", "--failed", "status", "--no-pager", "--lines=30").stdout)
            error.add_note(self.console()[-2000:])
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
        if self._thread.is_alive():
            self._thread.join(STOP_S)
        for device in self._devices.values():
            run("losetup", "--detach", device)
        remove_what_is_left(self._name)

    @property
    def slot(self) -> str:
        """The slot that runs."""
        return self.boots[-1]

    @property
    def committed_slot(self) -> str | None:
        """The slot that is for good; None while one is on trial."""
        variables = self.loader.variables()
        return None if variables["upgrade_available"] == "1" else PARTITIONS[int(variables["mender_boot_part"])]

    def slot_bytes(self, slot: str, length: int) -> bytes:
        """Return the first bytes of a slot, which should not be running."""
        with (self._folder / f"{slot}.img").open("rb") as file:
            return file.read(length)

    def console(self) -> str:
        """Return what the containers have said."""
        return self.log.read_text(errors="replace") if self.log.exists() else "no console yet"

    def run(self, *command: str, limit_s: float = 60.0) -> subprocess.CompletedProcess[str]:
        """Run a command in the guest, as root; raises AssertionError while there is none."""
        leader = self._leader()
        assert leader, "the guest is not running"
        entered = ["nsenter", "--target", str(leader), "--all", *command]
        return subprocess.run(entered, capture_output=True, text=True, timeout=limit_s, check=False)

    def do(self, *command: str) -> str:
        """Run a command that has to succeed, and return its output."""
        done = self.run(*command)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stdout}{done.stderr}"
        return done.stdout

    def show(self, *properties: str) -> dict[str, str]:
        """Return properties of the agent's service, as `systemctl show` has them."""
        shown = self.do("systemctl", "show", "wainwright-agent", *(f"--property={name}" for name in properties))
        return dict(line.split("=", 1) for line in shown.splitlines())

    def has(self, path: str) -> bool:
        """Say whether a guest runs and has a file."""
        try:
            return self.run("test", "-e", path, limit_s=10.0).returncode == 0
        except (AssertionError, subprocess.TimeoutExpired):
            return False  # it is just rebooting: who enters a guest that ends may be left waiting there

    def is_up(self) -> bool:
        """Say whether the guest runs and all its services have started."""
        return bool(self._leader()) and self.run("systemctl", "is-system-running").stdout.strip() == "running"

    def cut_power(self) -> None:
        """End the guest without a word to it; the loader chooses again."""
        leader = self._leader()
        assert leader, "the guest is not running"
        self._was_cut = True
        os.kill(leader, signal.SIGKILL)  # with it go all processes of its namespace; with nspawn they would not

    def _load(self) -> None:
        """Start what the loader chooses until the guest is switched off."""
        while self._is_wanted and len(self.boots) < BOOTS_MAX:
            self.boots.append(PARTITIONS[self.loader.choose()])
            binds = {self._devices[slot]: f"/dev/vda{number}" for number, slot in PARTITIONS.items()}
            binds |= {str(self._folder / "data"): "/var/lib/wainwright", str(self._folder / "boot"): "/boot/grub"}
            root = str(self._folder / "root")
            command = ["unshare", "--mount", "sh", "-euc", START, "start", self._devices[self.slot], root]
            command += ["--quiet", "--register=no", "--keep-unit", "--console=read-only", "--boot"]
            command += ["--machine", self._name, "--directory", root]
            command += [f"--bind={source}:{target}" for source, target in binds.items()]
            with self.log.open("ab") as log:
                self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
                if self._process.wait() == 0 and not self._was_cut:
                    return
                self._was_cut = False

    def _leader(self) -> int | None:
        """Return the process that is the guest's first; None while there is none."""
        return leader_of(self._process)
