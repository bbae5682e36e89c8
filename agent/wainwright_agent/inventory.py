"""What the device tells of itself: a few facts known to the agent, and what the inventory scripts print.

A script is an executable `wainwright-inventory-*` or `mender-inventory-*`; it prints `key=value` lines, and a repeated
key makes a list. Scripts run in the order of their names. One that fails is skipped with a warning: half an inventory
is better than none. What a script prints goes before what the agent knows.
"""

from __future__ import annotations

import logging
import os
import platform
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import msgspec

from wainwright_agent import hardware, programs
from wainwright_agent.config import Config
from wainwright_common import __version__
from wainwright_common.messages import PAYLOAD_MAX, Attribute, Attributes
from wainwright_common.texts import encodable

MENDER_SCRIPTS = Path("/usr/share/mender/inventory")
PATTERNS = ("wainwright-inventory-*", "mender-inventory-*")
ATTRIBUTES_MAX = 512  # of the protocol
BYTES_MAX = PAYLOAD_MAX - 1024  # leaves room for the message around the attributes

log = logging.getLogger(__name__)


def collect(config: Config, provides: Mapping[str, str]) -> Attributes:
    """Return all attributes; takes as long as the scripts take."""
    attributes = own(config, provides)
    for script in scripts((config.inventory.scripts, MENDER_SCRIPTS)):
        try:
            attributes.update(programs.parse(programs.run(script, config.inventory.script_timeout_s)))
        except programs.ProgramError as error:
            log.warning("inventory script skipped: %s", error)
    return fitting(attributes)


def own(config: Config, provides: Mapping[str, str]) -> Attributes:
    """Return what the agent knows without any script."""
    attributes: Attributes = {
        **provides,
        "agent_version": __version__,
        "device_type": config.device_type,
        "hostname": platform.node(),
        "kernel": f"{platform.system()} {platform.release()}",
        "machine": platform.machine(),
        "os": _first(_lines(Path("/etc/os-release"), "="), "PRETTY_NAME").strip('"'),
        "cpu_model": _first(_lines(Path("/proc/cpuinfo"), ":"), "model name", "Model", "Hardware", "Processor"),
        "cpu_count": os.cpu_count() or "",
        "root_device": hardware.root_device(),
        "boot_slot": hardware.boot_slot(),
        "data_total_kB": hardware.size_of(config.data_dir) or "",
        "python_version": platform.python_version(),
        "update_modules": sorted(update_modules(config.update.modules)),
    }
    if memory := _first(_lines(Path("/proc/meminfo"), ":"), "MemTotal"):
        attributes["mem_total_kB"] = int(memory.split()[0])
    attributes |= dict(hardware.disks()) | dict(hardware.interfaces())
    return {key: value for key, value in attributes.items() if value != ""}


def scripts(folders: Iterable[Path]) -> list[Path]:
    """Return the inventory scripts of the folders, sorted by name; of two with one name the first folder's."""
    found: dict[str, Path] = {}
    for folder in folders:
        for pattern in PATTERNS:
            for file in folder.glob(pattern):
                if file.is_file() and os.access(file, os.X_OK):
                    found.setdefault(file.name, file)
    return [found[name] for name in sorted(found)]


def update_modules(folders: Iterable[Path]) -> set[str]:
    """Return the names of the update modules that are installed."""
    return {
        file.name
        for folder in folders
        if folder.is_dir()
        for file in folder.iterdir()
        if file.is_file() and os.access(file, os.X_OK)
    }


def fitting(attributes: Attributes) -> Attributes:
    """Return the attributes that a message can carry; the others are left out with a warning."""
    kept: Attributes = {}
    room = BYTES_MAX
    for key, value in sorted(attributes.items()):
        try:
            one = msgspec.convert({encodable(key): _encodable(value)}, Attributes)
        except msgspec.ValidationError as error:
            log.warning("inventory attribute %.80r left out: %s", key, error)
            continue
        room -= len(msgspec.json.encode(one))
        if room < 0 or len(kept) == ATTRIBUTES_MAX:
            log.warning("inventory attributes from %.80r on left out: there are too many", key)
            break
        kept |= one
    return kept


def _encodable(value: Attribute) -> Attribute:
    """Return a value as a message can carry it: the names of files and devices in it may be no text."""
    if isinstance(value, list):
        return [encodable(one) for one in value]
    return encodable(value) if isinstance(value, str) else value


def _lines(file: Path, separator: str) -> Iterator[tuple[str, str]]:
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return
    for line in text.splitlines():
        key, found, value = line.partition(separator)
        if found:
            yield key.strip(), value.strip()


def _first(lines: Iterator[tuple[str, str]], *keys: str) -> str:
    found = dict(lines)
    return next((found[key] for key in keys if found.get(key)), "")
