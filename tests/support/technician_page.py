"""docs/technician.md: what a technician sees, from a real agent, controller, Mosquitto and artifacts.

To write it anew: python -m tests.support.technician_page

The page says which commands are run; they are run here, in the page's order, on one device. What differs from run to
run (times, ids, ports, folders, free space) is replaced by something that does not, so that a page is current or not.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Self

from tests.support.mosquitto import Mosquitto
from tests.support.transcripts import render, typed
from tests.support.wait import free_port, wait_until
from wainwright_agent.config import OWN_MODULES
from wainwright_agent.states import UpdateState
from wainwright_controller.demo.api import Api
from wainwright_controller.demo.processes import Processes
from wainwright_controller.demo.stage import environment, toml

PAGE = Path(__file__).parents[2] / "docs" / "technician.md"
BIN = Path(sys.executable).parent
DEVICE = "press-07"
PATIENCE_S = 60.0
NO_CONFIRMATION = (
    "#!/bin/sh\n# Waits for somebody who says that the press may stop.\n[ -e {folder}/go-on ] || exit 21\n"
)

_STEP = re.compile(rf"^[\w.-]+: (?:{'|'.join(map(re.escape, UpdateState))})\n", re.MULTILINE)
# fmt: off
VOLATILE: tuple[tuple[str, str], ...] = (
    (r"by-hand-\d{8}T\d{6}\.\d+",                             "by-hand-20261124T081500.000000"),
    (r"\d{8}T\d{6}Z",                                         "20261124T081500Z"),
    (r"\d{4}-\d\d-\d\d( \d\d:\d\d:\d\d UTC), [a-z ]+",        r"2026-11-24\1, synchronised"),
    (r"\d{4}-\d\d-\d\d",                                      "2026-11-24"),
    (r"\d\d:\d\d:\d\d(?:\.\d+Z?)?",                           "08:15:00"),
    (r"\d+ (?:s|min) ago +",                                  "8 s ago  "),
    (r"\d+ (?:s|min) ago",                                    "8 s ago"),
    (r"CHANGED +NOTE",                                        "CHANGED  NOTE"),
    (r"for \d+ s so far",                                     "for 20 s so far"),
    (r"in (about )?(?:2[6-9]|3[0-3]) min",                        r"in \g<1>30 min"),
    (r"[\d.]+ [kMGT]?B free",                                 "3.1 GB free"),
    (r"agent \d+\.\d+\.\d+\S*",                               "agent 0.1.0"),
)
# fmt: on


class Scene:
    """A device, its broker, its controller and a folder of artifacts; use it with `with`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = Mosquitto(folder / "broker")
        self.port = free_port()
        self.api = Api(f"http://127.0.0.1:{self.port}")
        (folder / "log").mkdir()
        self.processes = Processes(folder / "log")
        self.disk = folder / "opt"
        self.desk = folder / "desk"
        self._ids: dict[str, str] = {}

    def __enter__(self) -> Self:
        self.broker.start()
        for name in (self.disk / "panel" / "settings", self.desk, self.folder / "none"):
            name.mkdir(parents=True)
        config = self.folder / "controller.toml"
        settings = {
            "data_dir": str(self.folder / "controller"),
            "http": {"host": "127.0.0.1", "port": self.port},
            "broker": {"url": self.broker.url},
            "devices": {"auto_accept": True},
        }
        config.write_text(toml(settings), encoding="utf-8")
        argv = [str(BIN / "wainwright"), "serve", "--config", str(config)]
        self.processes.start("controller", argv, environment())
        wait_until(self.api.is_ready, PATIENCE_S, "the controller to be ready")
        self.start_agent()
        for number in (1, 2, 3):
            self._artifact(f"panel-{number}", "panel.txt")
        self._artifact("settings-1", "settings")  # where the device has a folder
        self._artifact("panel-4", "panel.txt", script=True)
        return self

    def __exit__(self, *_: object) -> None:
        self.processes.stop_all()
        self.broker.stop()

    @property
    def env(self) -> dict[str, str]:
        """What a technician's shell has: here the agent's settings too, which a device has in a file."""
        settings = {
            "DEVICE_ID": DEVICE,
            "DEVICE_TYPE": "press",
            "DATA_DIR": str(self.folder / "data"),
            "CONTROL_SOCKET": str(self.folder / "agent.sock"),
            "BROKER__URL": self.broker.url,
            "INVENTORY__SCRIPTS": str(self.folder / "none"),
            "UPDATE__MODULES": f'["{OWN_MODULES}"]',
            "UPDATE__SCRIPTS": str(self.folder / "none"),
            "UPDATE__SCRIPT_RETRY_INTERVAL_S": "0.2",
            "CONTROLLER": self.api.url,
        }
        path = f"{BIN}:{os.environ['PATH']}"
        ours = {f"WAINWRIGHT_{name}": value for name, value in settings.items()}
        return environment() | ours | {"PATH": path, "PYTHONUNBUFFERED": "1", "LC_ALL": "C.UTF-8"}

    def start_agent(self) -> None:
        """Start the service, and wait until it has the controller's answer."""
        self.processes.start("agent", [str(BIN / "wain"), "run"], self.env)
        wait_until(lambda: "last answer" in self._run("wain status")[0], PATIENCE_S, "the agent's first answer")

    def stop_agent(self) -> None:
        """Stop the service."""
        self.processes.stop("agent")

    def deploy(self) -> None:
        """Roll out the release that waits for somebody's word, and wait until it does."""
        self.api.upload(self.desk / "panel-4.mender")
        self._deployment = self.api.deploy(release="panel-4", devices=[DEVICE])["id"]
        self._ids[self._deployment] = "4f1c9a52-7d35-4c0e-9a51-0d2f6f1f3b52"
        wait_until(lambda: "waits, for" in self._run("wain status")[0], PATIENCE_S, "the script that asks")

    def confirm(self) -> None:
        """Say that the press may stop, and wait until the controller knows how it went."""
        (self.folder / "go-on").touch()
        wait_until(
            lambda: self.api.deployment(self._deployment)["status"] == "finished", PATIENCE_S, "the deployment's end"
        )
        wait_until(lambda: "untold" not in self._run("wain status")[0], PATIENCE_S, "the controller's word")

    def await_history(self) -> None:
        """Wait until the controller has heard what was installed by hand."""
        wait_until(
            lambda: "in place of" in self._run(f"wainwright device history {DEVICE}")[0], PATIENCE_S, "the history"
        )

    @property
    def meanwhile(self) -> Mapping[str, Callable[[], None]]:
        """What happens between two transcripts, by the words that the page has for it."""
        return {
            "a deployment begins": self.deploy,
            "somebody confirms": self.confirm,
            "the service stops": self.stop_agent,
            "the service starts": self.start_agent,
            "the controller has heard": self.await_history,
        }

    @property
    def kinds(self) -> Mapping[str, Callable[[str], str | None]]:
        """No other comments."""
        return {}

    def shown(self, command: str) -> str:
        """Return what a terminal shows when a command is typed; its exit code, too, if that is not 0."""
        return typed(command, *self._run(command))

    def constant(self, text: str) -> str:
        """Return a text without what differs from run to run."""
        text = _STEP.sub("", text)
        places = {
            str(self.folder / "data"): "/var/lib/wainwright",
            str(self.folder / "agent.sock"): "/run/wainwright/agent.sock",
            str(self.disk): "/opt",
            str(self.desk): "/root",
            f"127.0.0.1:{self.broker.port}": "broker.example:1883",
        }
        for real, told in places.items():
            text = text.replace(real, told)
        for real, told in self._ids.items():
            text = text.replace(real, told).replace(real[:8], told[:8])
        for pattern, told in VOLATILE:
            text = re.sub(pattern, told, text)
        return "".join(f"{line.rstrip()}\n" for line in text.splitlines())

    def _run(self, command: str) -> tuple[str, int]:
        words = command.replace("/opt/", f"{self.disk}/")
        done = subprocess.run(
            ["sh", "-c", words], cwd=self.desk, env=self.env, stdout=-1, stderr=-2, text=True, timeout=60, check=False
        )
        return done.stdout, done.returncode

    def _artifact(self, name: str, file: str, *, script: bool = False) -> None:
        work = self.folder / name
        work.mkdir()
        contents = {"dest_dir": f"{self.disk}/panel", "filename": file, file: f"{name}\n"}
        for part, content in contents.items():
            (work / part).write_text(content)
        options = [word for part in contents for word in ("-f", part)]
        if script:
            (work / "ArtifactInstall_Enter_00_ask").write_text(NO_CONFIRMATION.format(folder=self.folder))
            options += ["-s", "ArtifactInstall_Enter_00_ask"]
        out = str(self.desk / f"{name}.mender")
        command = [
            "mender-artifact",
            "write",
            "module-image",
            "-T",
            "single-file",
            "-n",
            name,
            "-t",
            "press",
            "-o",
            out,
        ]
        subprocess.run([*command, *options], cwd=work, check=True, capture_output=True)


def rendered(page: str, folder: Path) -> str:
    """Return the page with the transcripts of a run in a new folder."""
    with Scene(folder) as scene:
        return render(page, scene)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), Path(name)), encoding="utf-8")
