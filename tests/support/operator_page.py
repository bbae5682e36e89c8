"""docs/operator-session.md: a rollout as an operator sees it, on terminals, with a fleet of 200 simulated devices.

To write it anew: python -m tests.support.operator_page

The page says which commands are run; they are run here, in the page's order, each on a terminal of its own, against a
real controller, a real broker and the fleet. Beside what tests/support/transcripts.py has, its comments are:

    <!-- screen: COMMAND -->    a command that goes on, on a terminal that stays there for the following three
    <!-- frame: MOMENT -->      what that terminal shows when something is to be seen on it, by MOMENTS
    <!-- leave: MOMENT -->      then Ctrl+C, and what is left on the screen
    <!-- end: MOMENT -->        what is left on the screen when the command has ended by itself

Times and ids are replaced. How many devices stand where in a frame differs from run to run: `form` says what does not.
"""

from __future__ import annotations

import itertools
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Self

from tests.support.mosquitto import Mosquitto
from tests.support.terminal import CTRL_C, Terminal
from tests.support.transcripts import render, typed
from tests.support.wait import free_port, wait_until
from wainwright_controller.demo.api import Api
from wainwright_controller.demo.processes import Processes
from wainwright_controller.demo.stage import environment, toml

PAGE = Path(__file__).parents[2] / "docs" / "operator-session.md"
BIN = Path(sys.executable).parent
PATIENCE_S = 60.0
DEVICES = 200
COLUMNS, ROWS = 96, 24
LONG = 200  # rows, for what is printed and not drawn
TOLD_OF_A_LOG = 5000  # characters of each program's, when the scene fails

# The scenery, as the page has it for those who want to play it themselves.
FAULT = """\
{"fault": {"where": "provides.rootfs-image.version = \\"os-4\\"",
           "text": "panel: /dev/dri/card0: No such file or directory"}}
"""
FLEET = """\
wainwright simulate --devices 200 --id-prefix gw- --type gateway --release panel-1 --download \\
    --provides rootfs-image.version=os-4,os-5,os-5,os-5,os-5,os-5,os-5,os-5
"""
ARTIFACTS = """\
wainwright artifact create module-image -T single-file -n panel-2 -t gateway \\
    -f panel.txt -m fault.json -o panel-2.mender
wainwright artifact create module-image -T single-file -n panel-2 -t gateway \\
    -f panel.txt -d rootfs-image.version:os-4 -o panel-2-for-os-4.mender
"""
FASTER = ["--download-time", "0.5", "--install-time", "0.3", "--connect-rate", "400"]  # seconds; devices a second

MOMENTS: Mapping[str, Callable[[str], bool]] = {
    "the first devices are under way": lambda screen: screen.count("  gw-") > 2,
    "the first devices are done": lambda screen: "awaiting-promotion" in screen,
    "some of the others have failed": lambda screen: " failed: " in screen and screen.count("  gw-") > 10,
    "too many have failed": lambda screen: "paused: " in screen and "under way" not in screen,
}
"""What can be seen on the screen of a command that goes on, by the words that the page has for it."""

_IDS = re.compile(r"\b[0-9a-f]{8}(?:(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})?\b")
_TAILS = "-7d35-4c0e-9a51-0d2f6f1f3b52"
_TOLD = ("4f1c9a52", "b82e07d1", "93ac5f60", "1de84b37", "c7059e2b", "60d1f3a8")
# fmt: off
VOLATILE: tuple[tuple[str, str | Callable[[re.Match[str]], str]], ...] = (
    (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?Z",  "2026-11-24T09:00:00Z"),
    (r"\b\d+ (?:s|min) ago(?!  )",                  "8 s ago"),
    (r"\b\d+ (?:s|min) ago(?=  )",                  lambda found: "8 s ago".ljust(len(found[0]))),  # in a column
    (r"\btook \d+ (?:s|min)",                       "took 48 s"),
)
_FORMS: tuple[tuple[str, str], ...] = (
    (r"(?m)^  gw-\d+  .*(?:downloading|installing).*\n",   ""),    # a row of a device under way
    (r"(?m)^  and \d+ devices? more under way\n",          ""),
    (r"\s+\(gw-\d+(?:,\s+gw-\d+)*(?:\s+and\s+\d+\s+more)?\)",  " (gw-1)"),  # broken where the line is full
    (r"[━×─]+",                                            "━"),  # noqa: RUF001  the signs of bars.py
    (r"(?m)^\S+Z \w+ (?:phase \d of \d: )?\d+ of \d+ finished.*\n", ""),   # in a log, by tenths
    (r"\d+",                                               "1"),
    (r"(?m) +",                                            " "),
)
# fmt: on


class Scene:
    """A fleet, its broker, its controller, and an operator's folder; use it with `with`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.broker = Mosquitto(folder / "broker")
        self.port = free_port()
        self.api = Api(f"http://127.0.0.1:{self.port}")
        (folder / "log").mkdir()
        self.processes = Processes(folder / "log")
        self.desk = folder / "desk"
        self._ids: dict[str, str] = {}
        self._new_ids = iter(_TOLD)
        self._terminal: Terminal | None = None
        self._command = ""

    def __enter__(self) -> Self:
        self.broker.start()
        self.desk.mkdir()
        config = self.folder / "controller.toml"
        settings = {
            "data_dir": str(self.folder / "controller"),
            "http": {"host": "127.0.0.1", "port": self.port},
            "broker": {"url": self.broker.url},
            "devices": {"auto_accept": True},
        }
        config.write_text(toml(settings), encoding="utf-8")
        self.processes.start("controller", [*_words("wainwright serve --config"), str(config)], environment())
        wait_until(self.api.is_ready, PATIENCE_S, "the controller to be ready")
        self.processes.start("fleet", [*_words(FLEET), "--broker", self.broker.url, *FASTER], environment())
        (self.desk / "panel.txt").write_text("release 2\n", encoding="utf-8")
        (self.desk / "fault.json").write_text(FAULT, encoding="utf-8")
        for command in ARTIFACTS.replace("\\\n", "").splitlines():
            subprocess.run(_words(command), cwd=self.desk, env=self.env, check=True, capture_output=True)
        wait_until(self._is_complete, PATIENCE_S, "the fleet")
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._close()
        self.processes.stop_all()
        self.broker.stop()
        if error is not None:
            for log in sorted((self.folder / "log").iterdir()):
                print(f"{log.name} ended with:\n{log.read_text(encoding='utf-8')[-TOLD_OF_A_LOG:]}")

    @property
    def env(self) -> dict[str, str]:
        """What an operator's shell has."""
        ours = {"PATH": f"{BIN}:{os.environ['PATH']}", "WAINWRIGHT_CONTROLLER": self.api.url}
        return environment() | ours | {"TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}

    @property
    def meanwhile(self) -> Mapping[str, Callable[[], None]]:
        """Nothing happens beside what the operator does."""
        return {}

    @property
    def kinds(self) -> Mapping[str, Callable[[str], str | None]]:
        """What is done with a command that goes on."""
        return {"screen": self.start, "frame": self.frame, "leave": self.leave, "end": self.end}

    def shown(self, command: str) -> str:
        """Return what a terminal shows when a command is typed; its exit code, too, if that is not 0."""
        with Terminal(["sh", "-c", command], self.env, self.desk, COLUMNS, LONG) as terminal:
            code = terminal.end()
            return typed(command, terminal.screen, code)

    def start(self, command: str) -> None:
        """Start a command that goes on."""
        self._close()
        self._command = command
        self._terminal = Terminal(["sh", "-c", f"exec {command}"], self.env, self.desk, COLUMNS, ROWS)

    def frame(self, moment: str) -> str:
        """Return what the terminal shows at a moment; the first time below the command that was typed."""
        screen = self._running.see(MOMENTS[moment], moment)
        above, self._command = f"$ {self._command}\n" if self._command else "", ""
        return above + screen

    def leave(self, moment: str) -> str:
        """Press Ctrl+C at a moment; returns what is left on the screen, and the exit code."""
        self._running.see(MOMENTS[moment], moment)
        self._running.press(CTRL_C)
        return self.end(moment)

    def end(self, _moment: str) -> str:
        """Wait for the command's end; returns what is left on the screen, and the exit code."""
        code = self._running.end()
        above, self._command = f"$ {self._command}\n" if self._command else "", ""
        # What the terminal shows for Ctrl+C itself stands where the cursor was.
        screen = self._running.screen.replace("^C", "")
        self._close()
        return f"{above}{screen}" + (f"$ echo $?\n{code}\n" if code else "")

    def constant(self, text: str) -> str:
        """Return a text without times and ids."""
        text = _IDS.sub(self._told, text)
        for pattern, told in VOLATILE:
            text = re.sub(pattern, told, text)
        return text

    def _told(self, found: re.Match[str]) -> str:
        """Return the id that stands for another, in the order in which they were seen first."""
        if found[0][:8] not in self._ids:
            self._ids[found[0][:8]] = next(self._new_ids)
        told = self._ids[found[0][:8]]
        return told if len(found[0]) == len(told) else f"{told}{_TAILS}"

    @property
    def _running(self) -> Terminal:
        assert self._terminal is not None, "no command goes on: begin with a `screen`"
        return self._terminal

    def _close(self) -> None:
        if self._terminal is not None:
            self._terminal.close()
        self._terminal = None

    def _is_complete(self) -> bool:
        devices = self.api.devices().values()
        return sum(device["online"] and "last_check_in_at" in device for device in devices) == DEVICES


def rendered(page: str, folder: Path) -> str:
    """Return the page with the transcripts of a run in a new folder."""
    with Scene(folder) as scene:
        return render(page, scene)


def form(page: str) -> Iterator[str]:
    """Yield the lines of a page without what differs from run to run: which devices, how many stand where, how far."""
    for pattern, told in _FORMS:
        page = re.sub(pattern, told, page)
    return (line for line, _ in itertools.groupby(page.splitlines()))


def _words(command: str) -> list[str]:
    """Return the words of a command of `wainwright`, which is this one."""
    program, *words = shlex.split(command.replace("\\\n", ""))
    return [str(BIN / program), *words]


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        PAGE.write_text(rendered(PAGE.read_text(encoding="utf-8"), Path(name)), encoding="utf-8")
