"""A device in a folder: a logging update module, artifacts by the real mender-artifact, a web server, a way to reboot.

The module is one of the community's kind: a shell script in the modules folder. It logs its calls, and sources
`on/<State>` if there is one, so that a test can make any state do anything.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from msgspec import UNSET, UnsetType

from tests.agent.update.web import Web
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_agent.actions import Limits
from wainwright_agent.config import Config, Update
from wainwright_agent.journal import Journal, State
from wainwright_agent.update import Updater
from wainwright_common.messages import Ack, Action, Artifact, Offer, Report, Verdict
from wainwright_common.statuses import DeviceStatus

MODULE = """#!/bin/sh
lab=%s
state=$1
tree=$2
echo "$1" >>$lab/calls
if [ -f "$lab/answers/$1" ]; then cat "$lab/answers/$1"; fi
if [ -f "$lab/on/$1" ]; then . "$lab/on/$1"; fi
exit 0
"""
# What a module does that takes all its streams.
TAKE_STREAMS = """
mkdir -p $lab/taken
while line=$(cat stream-next) && [ -n "$line" ]; do
    echo "$line" >>$lab/lines
    cat "${line%% *}" >"$lab/taken/$(basename "${line%% *}")"
done
"""
QUICK = Limits(
    reboot_command_s=60.0, reboot_wait_s=60.0, link_s=60.0, journal_retry_s=0.05, grace_s=0.3
)  # seconds; a test that waits for one of these sets its own


class Lab:
    """One device, below one folder."""

    def __init__(self, root: Path, web: Web) -> None:
        self.root = root
        self.web = web
        self.data = root / "data"
        self.modules = root / "modules"
        self.boot_id = root / "boot_id"
        self.device_type = "lab"
        for folder in (self.modules, root / "on", root / "answers", self.data):
            folder.mkdir()
        self.boot_id.write_text("boot-1\n")
        self.install_module("probe")
        reboot = root / "reboot"
        reboot.write_text(f"#!/bin/sh\necho HostReboot >>{root}/calls\n. {root}/on/HostReboot\n")
        reboot.chmod(0o755)
        self.on("HostReboot", f"echo boot-$$ >{self.boot_id}; touch {root}/rebooting")

    def config(self, **update: object) -> Config:
        settings: dict[str, Any] = {
            "modules": (self.modules,),
            "reboot_command": (str(self.root / "reboot"),),
            "boot_id_file": self.boot_id,
            "module_timeout_s": 30.0,
            "progress_interval_s": 0.1,
        }
        return Config(device_type=self.device_type, data_dir=self.data, update=Update(**(settings | update)))

    def install_module(self, name: str) -> Path:
        module = self.modules / name
        module.write_text(MODULE % self.root)
        module.chmod(0o755)
        return module

    def on(self, state: str, script: str) -> None:
        """Have the module do something in a state."""
        (self.root / "on" / state).write_text(script + "\n")

    def answer(self, **answers: str) -> None:
        """Have the module answer questions."""
        for question, answer in answers.items():
            (self.root / "answers" / question).write_text(answer)

    @property
    def calls(self) -> list[str]:
        log = self.root / "calls"
        return log.read_text().split() if log.exists() else []

    def text(self, name: str) -> str:
        """What the module wrote to a file of the lab."""
        return (self.root / name).read_text()

    def artifact(
        self, name: str = "release-2", *, files: dict[str, bytes] | None = None, args: Sequence[str] = ()
    ) -> Path:
        """Write an artifact with the real tool; `args` go to it as they are."""
        source = self.root / "source"
        shutil.rmtree(source, ignore_errors=True)
        source.mkdir()
        options: list[str] = []
        for file, content in ({"app.bin": b"new software\n"} if files is None else files).items():
            (source / file).write_bytes(content)
            options += ["-f", str(source / file)]
        if "-T" not in args:
            options += ["-T", "probe"]
        if "-t" not in args:
            options += ["-t", "lab"]
        out = self.root / f"{name}.mender"
        run("mender-artifact", "write", "module-image", "-n", name, "-o", str(out), *options, *args)
        return out

    def offer(
        self,
        artifact: Path | bytes,
        *,
        name: str = "release-2",
        deployment_id: str = "d-1",
        attempt: int = 1,
        **facts: object,
    ) -> Offer:
        """Put an artifact on the web server and offer it."""
        blob = artifact if isinstance(artifact, bytes) else artifact.read_bytes()
        digest = hashlib.sha256(blob).hexdigest()
        self.web.files["/" + digest] = blob
        settings: dict[str, Any] = {
            "id": "a-1",
            "name": name,
            "size": len(blob),
            "sha256": digest,
            "uri": self.web.url + "/" + digest,
            "expires": datetime.now(UTC) + timedelta(hours=1),
        }
        return Offer(
            deployment_id=deployment_id, attempt=attempt, action=Action.INSTALL, artifact=Artifact(**(settings | facts))
        )

    @contextmanager
    def agent(self, *, acknowledge: bool = True, limits: Limits = QUICK, **update: object) -> Iterator[Agent]:
        """Run an agent's updater; leaving the context stops it."""
        agent = Agent(self.config(**update), acknowledge=acknowledge, limits=limits)
        agent.start()
        try:
            yield agent
        finally:
            agent.stop()

    def update(self, offer: Offer, *, limits: Limits = QUICK, **update: Any) -> list[Report]:  # noqa: ANN401  as Update has
        """Run an update to its end, through as many reboots as it asks for; return the reports that were published."""
        marker = self.root / "rebooting"
        reports: list[Report] = []
        offered = False
        while True:
            with self.agent(limits=limits, **update) as agent:
                if not offered or agent.updater.needs_link:
                    assert agent.updater.offer(offer)
                    offered = True
                wait_until(lambda a=agent: a.is_idle() or marker.exists(), what="the end of the update, or a reboot")  # type: ignore[misc]
            reports += agent.reports
            if not marker.exists():
                return reports
            marker.unlink()

    @property
    def state(self) -> State:
        return Journal.read(self.data)

    @property
    def tree(self) -> Path:
        return self.data / "modules/v3/payloads/0000/tree"


class Agent:
    """An Updater in a thread, with somebody who acknowledges."""

    def __init__(self, config: Config, *, acknowledge: bool, limits: Limits) -> None:
        self.reports: list[Report] = []
        self.acknowledge = acknowledge
        self.on_report: Callable[[Report], None] = lambda _: None
        self.journal = Journal.open(config.data_dir)
        self.updater = Updater(config, self.journal, publish=self._published, limits=limits)
        self._thread = threading.Thread(target=self.updater.run, name="updater")

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self.updater.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()
        self.journal.close()

    def is_idle(self) -> bool:
        assert self._thread.is_alive()
        return self.journal.state.update is None

    def wait_idle(self) -> None:
        wait_until(self.is_idle, what="the end of the update")

    def verdict(self, report: Report, verdict: Verdict, status: DeviceStatus | UnsetType = UNSET) -> None:
        self.updater.verdict(
            Ack(
                deployment_id=report.deployment_id,
                attempt=report.attempt,
                seq=report.seq,
                verdict=verdict,
                status=status,
            )
        )

    def _published(self, report: Report) -> None:
        self.reports.append(report)
        self.on_report(report)
        if self.acknowledge:
            self.verdict(report, Verdict.ACCEPTED)


def statuses(reports: Sequence[Report]) -> list[str]:
    """The statuses that a controller sees, without repetitions."""
    seen: list[str] = []
    for report in reports:
        if seen[-1:] != [report.status]:
            seen.append(str(report.status))
    return seen


def run(*argv: str) -> str:
    """Run a tool and return what it said; fails the test when it fails."""
    result = subprocess.run(argv, check=False, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    assert result.returncode == 0, f"{argv}: {result.stdout}{result.stderr}"
    return result.stdout


def runs(pid: int) -> bool:
    """Say whether a process is there and not just waiting to be reaped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
