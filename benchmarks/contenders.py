"""Who installs: for each, what is made ready before a run, what is run, and where the payload must be afterwards."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.costs import Command
from benchmarks.device import wain
from benchmarks.install_lab import COMPRESSIONS, DEVICE_TYPE, Lab
from wainwright_agent.config import OWN_MODULES
from wainwright_common.artifact import ArtifactSpec, PayloadSource, write_module_image
from wainwright_controller.demo.stage import toml

ROOTFS = "rootfs-image"


@dataclass(frozen=True)
class Case:
    """What is installed, and from where."""

    source: str
    """`file` or `http`."""
    compression: str

    @property
    def suffix(self) -> str:
        """What names of compressed files end with."""
        return COMPRESSIONS[self.compression]

    def __str__(self) -> str:
        return f"{self.source}, {self.compression}"


@dataclass(frozen=True)
class Contender:
    """One way to install. `make` makes ready and returns the command."""

    name: str
    does: str
    kind: str
    """`slot`: an image into a slot; `file`: one file, replaced whole."""
    make: Callable[[Lab, Case], Command]

    def target(self, lab: Lab) -> Path:
        """Return where the payload must be afterwards."""
        return lab.slot if self.kind == "slot" else lab.folder / "app" / "image"


def _source(lab: Lab, case: Case, file: str) -> str:
    path = lab.folder / file
    return lab.url(path) if case.source == "http" else str(path)


def _command(lab: Lab, argv: list[str], **env: str) -> Command:
    return Command(argv, env, lab.folder, lab.folder / "output")


def _fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


def _wain(kind: str, modules: Callable[[Lab], Path]) -> Callable[[Lab, Case], Command]:
    def make(lab: Lab, case: Case) -> Command:
        folder = _fresh(lab.folder / "wain")
        settings = {
            "device_id": "lab",
            "device_type": DEVICE_TYPE,
            "data_dir": str(folder / "data"),
            "control_socket": str(folder / "agent.sock"),
            "update": {"modules": [str(modules(lab))]},
        }
        (folder / "agent.toml").write_text(toml(settings), encoding="utf-8")
        env = {"BENCHMARK_SLOT": str(lab.slot)}
        if kind == ROOTFS:
            env["WAINWRIGHT_ROOTFS_CONF"] = str(_rootfs(lab, folder))
        command = [wain(), "--config", str(folder / "agent.toml"), "install"]
        return _command(lab, [*command, _source(lab, case, f"{kind}{case.suffix}.mender")], **env)

    return make


def _rootfs(lab: Lab, folder: Path) -> Path:
    """Write what the module for root file systems wants: two slots, a boot environment. Returns its configuration."""
    grubenv, conf = folder / "grubenv", folder / "rootfs-image.conf"
    other = folder / "running-slot"
    other.touch()
    subprocess.run(["grub-editenv", str(grubenv), "create"], check=True)
    subprocess.run(["grub-editenv", str(grubenv), "set", "mender_boot_part=1", "upgrade_available=0"], check=True)
    lines = {"slot_a": other, "slot_b": lab.slot, "boot_a": 1, "boot_b": 2, "bootloader": "grub", "grubenv": grubenv}
    text = "".join(f"{key}={value}\n" for key, value in lines.items()) + f"running=echo {other}\n"
    conf.write_text(text, encoding="utf-8")
    return conf


def write_rootfs_artifacts(lab: Lab) -> None:
    """Write artifacts for the module rootfs-image; the stock tool's need a file that is a file system."""
    for compression, suffix in lab.compressions.items():
        spec = ArtifactSpec(
            name="after",
            device_types=(DEVICE_TYPE,),
            payload_type=ROOTFS,
            files=(PayloadSource.from_path(lab.image),),
            compression=compression,
        )
        with (lab.folder / f"{ROOTFS}{suffix}.mender").open("wb") as out:
            write_module_image(out, spec)


def _mender(kind: str) -> Callable[[Lab, Case], Command]:
    def make(lab: Lab, case: Case) -> Command:
        folder = _fresh(lab.folder / "mender")
        (folder / "mender.conf").write_text('{"ServerURL": "https://127.0.0.1:1"}', encoding="utf-8")
        (folder / "data").mkdir()
        (folder / "data" / "device_type").write_text(f"device_type={DEVICE_TYPE}\n", encoding="utf-8")
        places = ["--config", str(folder / "mender.conf"), "--fallback-config", "/nonexistent"]
        mender = ["mender", *places, "--data", str(folder / "data"), "--no-syslog", "--log-level", "error", "install"]
        return _command(lab, [*mender, _source(lab, case, f"{kind}{case.suffix}.mender")], BENCHMARK_SLOT=str(lab.slot))

    return make


def _swupdate(lab: Lab, case: Case) -> Command:
    source = _source(lab, case, f"image{case.suffix}.swu")
    how = ["-d", f"-u {source}"] if case.source == "http" else ["-i", source]
    return _command(lab, ["swupdate", "-H", f"{DEVICE_TYPE}:1.0", "-k", str(lab.certificate), *how])


def _limit(lab: Lab, case: Case) -> Command:
    """No tool at all: fetch, expand, hash and write by the best programs there are, each a process of its own."""
    source = _source(lab, case, f"image{case.suffix}")
    fetch = f"curl -sS '{source}'" if case.source == "http" else f"cat '{source}'"
    expand = " | gzip -dc" if case.compression == "gzip" else ""
    script = (
        "rm -f fifo; mkfifo fifo; openssl dgst -sha256 fifo & "
        f"{fetch}{expand} | tee fifo | dd of='{lab.slot}' bs=1M iflag=fullblock conv=notrunc,fsync 2>/dev/null; wait"
    )
    return _command(lab, ["bash", "-c", script])


CONTENDERS = (
    Contender("limit", "curl or cat | (gzip -dc) | tee >(openssl dgst -sha256) | dd conv=fsync", "slot", _limit),
    Contender("mender", "mender install, a module that gives the stream to dd conv=fsync", "slot", _mender("slot")),
    Contender("swupdate", "swupdate -i or -d, handler raw, installed-directly, image signed", "slot", _swupdate),
    Contender("wain", "wain install, the very module that mender runs", "slot", _wain("slot", lambda lab: lab.modules)),
    Contender("wain own", "wain install, our module rootfs-image", "slot", _wain(ROOTFS, lambda _: OWN_MODULES)),
    Contender("mender", "mender install, Debian's module single-file", "file", _mender("single-file")),
    Contender("wain", "wain install, the very module", "file", _wain("single-file", lambda lab: lab.modules)),
    Contender("wain own", "wain install, our module single-file", "file", _wain("single-file", lambda _: OWN_MODULES)),
)
