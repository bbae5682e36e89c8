"""Devices with two root slots, their controller, and releases of whole root filesystems for them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.debian import ROOT, edit_image, install_version, make_image, run
from tests.support.nspawn import Guest
from tests.support.system import System

TYPE = "guest"
CONFIG = """
device_type = "{type}"
[broker]
url = "{url}"
prefix = "{prefix}"
reconnect_first_s = 0.5
reconnect_max_s = 2
[update]
verify_keys = ["/etc/wainwright/release.pem"]
"""
SLOTS = "slot_a=/dev/vda2\nslot_b=/dev/vda3\nbootloader=grub\n"
# What tells two devices with one image apart is not in the image.
IDENTITY = "#!/bin/sh\necho guest=$(cat /boot/grub/serial)\n"
NEWER = "99.0"  # the version of the agent in new roots


@dataclass
class Roots:
    """The images of one system: `first` with the agent as it is, `new` with one of a later version."""

    system: System
    folder: Path
    first: Path
    new: Path

    @classmethod
    def build(cls, system: System, debian: Path, folder: Path) -> Roots:
        """Configure a Debian for a system, and make the two images of it."""
        root = folder / "root"
        run("cp", "-a", str(debian), str(root))
        text = CONFIG.format(type=TYPE, url=system.stage.broker_url, prefix=system.stage.prefix)
        _write(root / "etc/wainwright/agent.toml", text)
        _write(root / "etc/wainwright/release.pem", system.stage.public_key.read_text())
        _write(root / "etc/wainwright/rootfs-image.conf", SLOTS)
        _write(root / "usr/lib/wainwright/identity", IDENTITY)
        trial = (ROOT / "systemd/wainwright-agent.trial.conf").read_text(encoding="utf-8")
        _write(root / "etc/systemd/system/wainwright-agent.service.d/trial.conf", trial)
        first = make_image(root, folder / "first.img")
        install_version(root, NEWER)
        new = make_image(root, folder / "new.img")
        shutil.rmtree(root)
        return cls(system, folder, first, new)

    def release(self, name: str, change: str = "", **scripts: str) -> bytes:
        """Upload the new image, after a shell script has changed it, with state scripts; returns how it begins."""
        image, artifact = self.folder / f"{name}.img", self.folder / f"{name}.mender"
        run("cp", "--sparse=always", str(self.new), str(image))
        edit_image(image, f"echo {name} >etc/image-version\n{change}")
        options = ["-t", TYPE, "-n", name, "-f", str(image), "-k", str(self.system.stage.private_key), "--no-progress"]
        for state, text in scripts.items():
            script = self.folder / f"{state}_00"
            _write(script, f"#!/bin/sh\n{text}\n")
            options += ["-s", str(script)]
        run("mender-artifact", "write", "rootfs-image", *options, "-o", str(artifact))
        self.system.api.upload(artifact)
        with image.open("rb") as file:
            begin = file.read(4096)
        image.unlink()
        artifact.unlink()
        return begin

    @contextmanager
    def guest(self, serial: str) -> Iterator[Guest]:
        """Run a device with the first image until the end of the block; its id is `device_id(serial)`."""
        folder = self.folder / serial
        try:
            with Guest(self.first, folder, serial) as guest:
                self.system.wait_for_devices([device_id(serial)])
                yield guest
        finally:
            shutil.rmtree(folder)  # two Debians

    def agent_version(self, serial: str) -> str:
        """Return which version of the agent the controller has heard last from a device."""
        version: str = self.system.api.devices()[device_id(serial)]["agent_version"]
        return version


def device_id(serial: str) -> str:
    """Return the id that IDENTITY gives a device."""
    return f"guest:{serial}"


def status(guest: Guest) -> dict[str, Any]:
    """Return what `wain status` says in a guest."""
    said: dict[str, Any] = json.loads(guest.do("wain", "status", "-o", "json"))
    return said


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")
    file.chmod(0o755 if text.startswith("#!") else 0o644)
