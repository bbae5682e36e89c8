"""`rauc`: the real RAUC service on a bus of its own, its GRUB backend with the real grub-editenv, files as slots."""

from __future__ import annotations

import os
import socket
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.modules.tree import Tree
from tests.agent.update.lab import run
from tests.support.wait import PATIENCE_S, wait_until

IMAGE = os.urandom(300_000)
SLOT_BYTES = 1024 * 1024


class Rauc:
    """A device with RAUC: slots A (which runs) and B below one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.bus = f"unix:path={root}/bus"
        self.grubenv = root / "grubenv"
        self.slots = {"A": root / "a.img", "B": root / "b.img"}
        self.env = {"DBUS_SESSION_BUS_ADDRESS": self.bus, "DBUS_STARTER_BUS_TYPE": "session"}
        self.broken: set[str] = set()
        self.runs = "A"
        self._service: subprocess.Popen[bytes] | None = None
        for slot in self.slots.values():
            slot.write_bytes(bytes(SLOT_BYTES))
        run("grub-editenv", str(self.grubenv), "create")
        run("grub-editenv", str(self.grubenv), "set", "ORDER=A B", "A_OK=1", "A_TRY=0", "B_OK=1", "B_TRY=0")
        self._configure()
        self._daemon = subprocess.Popen(
            ["dbus-daemon", "--session", "--nofork", f"--address={self.bus}"], stderr=subprocess.DEVNULL
        )
        wait_until(self._has_bus, what="the bus")

    def bundle(self, compatible: str = "lab") -> bytes:
        """Return a signed bundle with IMAGE."""
        content = self.root / "content"
        content.mkdir(exist_ok=True)
        (content / "root.img").write_bytes(IMAGE)
        (content / "manifest.raucm").write_text(
            f"[update]\ncompatible={compatible}\nversion=2\n[bundle]\nformat=plain\n[image.rootfs]\nfilename=root.img\n"
        )
        out = self.root / f"{compatible}.raucb"
        keys = [f"--cert={self.root}/cert.pem", f"--key={self.root}/key.pem"]
        run("rauc", *keys, "bundle", str(content), str(out))
        return out.read_bytes()

    def variables(self) -> dict[str, str]:
        """Return the bootloader's variables."""
        return dict(line.split("=", 1) for line in run("grub-editenv", str(self.grubenv), "list").splitlines())

    def boot(self) -> None:
        """Start the device anew: boot as the GRUB script in RAUC's manual does, then start its service."""
        self.stop()
        while True:
            variables = self.variables()
            good = [
                n for n in variables["ORDER"].split() if variables[f"{n}_OK"] == "1" and variables[f"{n}_TRY"] != "1"
            ]
            self.runs = good[0]
            if self.runs not in self.broken:
                break
            run("grub-editenv", str(self.grubenv), "set", f"{self.runs}_TRY=1")
        run("grub-editenv", str(self.grubenv), "set", f"{self.runs}_TRY=1")
        self._service = subprocess.Popen(
            ["rauc", f"--conf={self.root}/system.conf", f"--override-boot-slot={self.runs}", "service"],
            env=os.environ | self.env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        wait_until(self._answers, what="the RAUC service")
        run_rauc = ["rauc", "status", "mark-good", "booted"]
        if self.runs == "A":  # a system that was committed long ago
            subprocess.run(run_rauc, env=os.environ | self.env, check=True, capture_output=True)

    def stop(self) -> None:
        """End the service."""
        if self._service is not None:
            self._service.terminate()
            self._service.wait(PATIENCE_S)
            self._service = None

    def close(self) -> None:
        """End all that runs."""
        self.stop()
        self._daemon.terminate()
        self._daemon.wait(PATIENCE_S)

    def _has_bus(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:  # its file is there before anybody listens
            return client.connect_ex(str(self.root / "bus")) == 0

    def _answers(self) -> bool:
        status = subprocess.run(["rauc", "status"], env=os.environ | self.env, check=False, capture_output=True)
        return status.returncode == 0

    def _configure(self) -> None:
        root = self.root
        request = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        run(*request, "-keyout", f"{root}/key.pem", "-out", f"{root}/cert.pem", "-subj", "/CN=lab", "-days", "2")
        (root / "system.conf").write_text(
            textwrap.dedent(f"""\
                [system]
                compatible=lab
                bootloader=grub
                grubenv={self.grubenv}
                statusfile={root}/status.raucs
                mountprefix={root}/mnt
                bundle-formats=+plain
                [keyring]
                path={root}/cert.pem
                [slot.rootfs.0]
                device={self.slots["A"]}
                type=raw
                bootname=A
                [slot.rootfs.1]
                device={self.slots["B"]}
                type=raw
                bootname=B
                """)
        )


@pytest.fixture
def rauc(tmp_path: Path) -> Iterator[Rauc]:
    device = Rauc(tmp_path)
    try:
        device.boot()
        yield device
    finally:
        device.close()


def _tree(rauc: Rauc, bundle: bytes) -> Tree:
    return Tree(rauc.root, "rauc", rauc.env, {"update.raucb": bundle})


def test_a_bundle_is_written_tried_and_committed(rauc: Rauc) -> None:
    tree = _tree(rauc, rauc.bundle())
    assert tree.ok("NeedsArtifactReboot") == "Automatic\n"
    assert tree.ok("SupportsRollback") == "Yes\n"

    tree.ok("ArtifactInstall")
    assert rauc.slots["B"].read_bytes()[: len(IMAGE)] == IMAGE
    assert rauc.variables()["ORDER"].split()[0] == "B"
    assert "runs as before" in tree.refused("ArtifactCommit")
    rauc.boot()
    assert rauc.runs == "B"
    tree.ok("ArtifactVerifyReboot", "ArtifactCommit", "Cleanup")

    assert rauc.variables()["B_OK"] == "1"
    assert rauc.variables()["B_TRY"] == "0"


def test_a_system_that_does_not_start_is_found_out_and_rolled_back(rauc: Rauc) -> None:
    tree = _tree(rauc, rauc.bundle())
    tree.ok("ArtifactInstall")
    rauc.broken.add("B")
    rauc.boot()
    assert rauc.runs == "A"

    assert "the bootloader has fallen back" in tree.refused("ArtifactVerifyReboot")
    tree.ok("ArtifactRollback", "ArtifactRollback", "ArtifactVerifyRollbackReboot", "ArtifactFailure", "Cleanup")

    assert rauc.variables()["ORDER"].split()[0] == "A"


def test_a_new_system_that_is_not_committed_is_left_by_a_rollback(rauc: Rauc) -> None:
    tree = _tree(rauc, rauc.bundle())
    tree.ok("ArtifactInstall")
    rauc.boot()

    tree.ok("ArtifactRollback")
    assert "slot rootfs.1 (B) runs, not the former slot rootfs.0" in tree.refused("ArtifactVerifyRollbackReboot")
    rauc.boot()

    assert rauc.runs == "A"
    tree.ok("ArtifactVerifyRollbackReboot")


@pytest.mark.parametrize("fault", ["damaged", "for another device"])
def test_a_bundle_that_rauc_refuses_changes_nothing_and_rauc_says_why(rauc: Rauc, fault: str) -> None:
    bundle = rauc.bundle()[:200] if fault == "damaged" else rauc.bundle("other")
    tree = _tree(rauc, bundle)

    said = tree.refused("ArtifactInstall")
    assert ("Invalid bundle format" if fault == "damaged" else "Compatible mismatch") in said
    tree.ok("ArtifactRollback", "ArtifactVerifyRollbackReboot", "Cleanup")
    assert rauc.variables()["ORDER"].split()[0] == "A"
    assert rauc.slots["B"].read_bytes() == bytes(SLOT_BYTES)


def test_a_service_that_does_not_answer_and_a_payload_that_is_no_bundle_are_named(rauc: Rauc) -> None:
    tree = _tree(rauc, b"x")
    rauc.stop()
    assert "does the RAUC service run?" in tree.refused("ArtifactInstall")
    assert "there is no program no-rauc" in tree.refused("ArtifactInstall", WAINWRIGHT_RAUC="no-rauc -d")

    (tree.path / "files/second").touch()
    assert "must be one file" in tree.refused("ArtifactInstall")
    tree.ok("ArtifactRollback", "ArtifactVerifyRollbackReboot", "ArtifactFailure", "Cleanup")
