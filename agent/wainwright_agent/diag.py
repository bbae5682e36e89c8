"""One archive for support: what the device is, how it is configured, what happened, what is wrong. Without secrets.

    <name>/about.json      versions, machine, file systems       <name>/status.json      as `wain status -o json`
    <name>/config.json     settings in effect                    <name>/inventory.json   as `wain inventory -o json`
    <name>/checks.txt      as `wain test`                        <name>/files.txt        names, sizes and times
    <name>/journal/*       the journal's generations             <name>/logs/*           logs of deployments
    <name>/service.log     the service's log, from systemd       <name>/*.problem.txt    why one of these is missing

Every text is redacted (redaction.py). Half an archive is better than none: what cannot be had is noted, and left out.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from wainwright_agent import inventory
from wainwright_agent.boot import boot_id
from wainwright_agent.checks import Finding
from wainwright_agent.config import Config
from wainwright_agent.journal import CORRUPT, FILE, PREVIOUS
from wainwright_agent.redaction import Redactor, redacted_settings, secrets_of
from wainwright_common import __version__
from wainwright_common.errors import WainwrightError

LOGS = "logs"  # folder of the data folder
TEXT_MAX = 4 * 1024 * 1024  # bytes of one file, its end: what happened last is what is asked about
FILES_MAX = 200  # log files, the newest; deployments beyond them are history
LISTED_MAX = 2000  # lines of the listing
SERVICE = "wainwright-agent.service"
SERVICE_LINES = 5000  # of its log: weeks of an idle agent, or hours at level debug
JOURNALCTL_S = 30.0  # a journal on a slow card is slow to read, too
MODE = 0o600
PACKAGES = ("msgspec", "paho-mqtt", "requests", "urllib3", "cryptography", "backports.zstd")
VARIABLES = "WAINWRIGHT_"

Collector = Callable[[], Iterator[tuple[str, str]]]


class DiagError(WainwrightError):
    """The archive cannot be written."""


def write(
    folder: Path, config: Config, status: Mapping[str, Any], findings: list[Finding], env: Mapping[str, str]
) -> Path:
    """Write the archive into a folder and return its path; raises DiagError. Nobody but its owner may read it."""
    name = f"wainwright-diag-{_plain(str(status.get('device_id', 'device')))}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    path = folder / f"{name}.tar.gz"
    redactor = Redactor(secrets_of(config))
    try:
        # Made with its final mode, and never over a file (or a link) that somebody put there.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, MODE)
    except OSError as error:
        raise DiagError(f"{path}: cannot be written: {error.strerror}. Name another folder with --to.") from error
    try:
        with os.fdopen(descriptor, "wb") as file, tarfile.open(fileobj=file, mode="w:gz") as archive:
            for member, text in _contents(config, status, findings, env):
                _add(archive, f"{name}/{redactor.redact(member)}", redactor.redact(text))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise DiagError(f"{path}: cannot be written: {error.strerror}. Name another folder with --to.") from error
    except BaseException:
        path.unlink(missing_ok=True)
        raise
    return path


def _contents(
    config: Config, status: Mapping[str, Any], findings: list[Finding], env: Mapping[str, str]
) -> Iterator[tuple[str, str]]:
    collectors: dict[str, Collector] = {
        "about": lambda: _one("about.json", _json(_about(config))),
        "config": lambda: _one("config.json", _json(_settings(config, env))),
        "status": lambda: _one("status.json", _json(status)),
        "checks": lambda: _one("checks.txt", "".join(f"{_line(finding)}\n" for finding in findings)),
        "inventory": lambda: _one("inventory.json", _json(inventory.collect(config, status.get("provides", {})))),
        "journal": lambda: _journal(config.data_dir),
        "logs": lambda: _logs(config.data_dir / LOGS),
        "files": lambda: _one("files.txt", "\n".join(_listing(config))),
        "service-log": lambda: _one("service.log", _service_log()),
    }
    for name, collect in collectors.items():
        try:
            yield from list(collect())
        except (WainwrightError, OSError, subprocess.SubprocessError) as error:
            yield f"{name}.problem.txt", f"{error}\n"


def _one(name: str, text: str) -> Iterator[tuple[str, str]]:
    yield name, text


def _json(value: object) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n"


def _line(finding: Finding) -> str:
    return f"{'ok ' if finding.ok else 'NOT'} {finding.name}: {finding.text}. {finding.remedy}".rstrip()


def _about(config: Config) -> dict[str, Any]:
    file_systems = {}
    for folder in ("/", "/tmp", str(config.data_dir)):  # noqa: S108  asked how full it is, nothing more
        with contextlib.suppress(OSError):
            total, used, free = shutil.disk_usage(folder)
            file_systems[folder] = {"total_bytes": total, "used_bytes": used, "free_bytes": free}
    return {
        "agent_version": __version__,
        "python": sys.version,
        "packages": {package: _version(package) for package in PACKAGES},
        "program": str(Path(__file__).parent),
        "os": _lines("/etc/os-release"),
        "kernel": " ".join(platform.uname()),
        "taken_at": datetime.now(UTC).isoformat(),
        "uptime_s": round(time.clock_gettime(time.CLOCK_BOOTTIME)),
        "boot_id": boot_id(config.update.boot_id_file),
        "load": os.getloadavg(),
        "memory": _lines("/proc/meminfo")[:5],
        "file_systems": file_systems,
        "mounts": _lines("/proc/self/mounts"),
    }


def _lines(file: str) -> list[str]:
    return Path(file).read_text(encoding="utf-8", errors="replace").splitlines()


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"


def _settings(config: Config, env: Mapping[str, str]) -> dict[str, Any]:
    # Names only: a variable may be another program's, and anything.
    return redacted_settings(config) | {
        "set_by_environment": sorted(name for name in env if name.startswith(VARIABLES))
    }


def _journal(data_dir: Path) -> Iterator[tuple[str, str]]:
    """Return the generations as they are on disk; a damaged one is what support wants to see."""
    for name in (FILE, PREVIOUS, CORRUPT):
        if (data_dir / name).exists():
            yield f"journal/{name}", _read(data_dir / name)


def _logs(folder: Path) -> Iterator[tuple[str, str]]:
    files = [file for file in folder.rglob("*") if file.is_file() and not file.is_symlink()]
    for file in sorted(files, key=lambda one: one.stat().st_mtime, reverse=True)[:FILES_MAX]:
        yield f"{LOGS}/{file.relative_to(folder)}", _read(file)


def _listing(config: Config) -> Iterator[str]:
    folders = [config.data_dir, *config.update.modules, config.update.scripts, config.inventory.scripts]
    lines = 0
    for folder in folders:
        for file in (folder, *sorted(folder.rglob("*"))) if folder.is_dir() else ():
            found = file.lstat()
            changed = datetime.fromtimestamp(found.st_mtime, UTC)
            lines += 1
            if lines > LISTED_MAX:
                yield "... and more"
                return
            yield f"{found.st_mode:06o} {found.st_uid}:{found.st_gid} {found.st_size:>12} {changed:%FT%TZ} {file}"


def _service_log() -> str:
    command = ["journalctl", f"--unit={SERVICE}", f"--lines={SERVICE_LINES}", "--no-pager", "--output=short-iso"]
    done = subprocess.run(command, capture_output=True, timeout=JOURNALCTL_S, check=False)
    return (done.stdout or done.stderr)[-TEXT_MAX:].decode(errors="replace")


def _read(file: Path) -> str:
    with file.open("rb") as content:
        content.seek(0, os.SEEK_END)
        content.seek(max(0, content.tell() - TEXT_MAX))
        return content.read().decode(errors="replace")


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    content = text.encode(errors="replace")  # names of files need be no text
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.mtime = len(content), MODE, int(time.time())
    archive.addfile(member, io.BytesIO(content))


def _plain(name: str) -> str:
    """Return a name that any file system can hold: of other people's, too."""
    return "".join(one if one.isalnum() or one in "-_." else "-" for one in name)[:80]
