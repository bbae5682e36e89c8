"""Updates by hand: the commands, with the service and without it, by what they print and how they exit."""

from __future__ import annotations

import logging
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import pytest
from msgspec import UNSET

from tests.agent.service.peers import Agent, Controller, new_device_id, no_deployment, offer_of, offered
from tests.agent.update.lab import run, runs
from tests.agent.update.web import Web
from tests.support.mosquitto import Mosquitto
from tests.support.wait import free_port, wait_until
from wainwright_agent import by_hand, cli, technician
from wainwright_agent.cli.parser import STOPS
from wainwright_agent.config import load
from wainwright_agent.events import Asked
from wainwright_agent.journal import Journal, State
from wainwright_agent.states import UpdateState
from wainwright_agent.update import Updater
from wainwright_common.messages import CheckIn, LogLines, Report

MODULE = """#!/bin/sh
lab=%s
echo "$1" >>$lab/calls
if [ -f "$lab/on/$1" ]; then . "$lab/on/$1"; fi
exit 0
"""
FAIL = "echo the disk is worn out >&2; exit 1"
BEFORE = ["ProvidePayloadFileSizes", "Download", "ArtifactInstall", "NeedsArtifactReboot", "SupportsRollback"]


class Device(Agent):
    """A device with an update module that can do anything, whose reboots are a file."""

    def __init__(self, folder: Path, url: str) -> None:
        self.boot_id = folder / "boot-id"
        self.boot_id.write_text("boot-1\n")
        settings = {"update.boot_id_file": str(self.boot_id), "update.reboot_command": [str(folder / "reboot")]}
        super().__init__(folder, url, new_device_id(), **settings)
        (folder / "modules").mkdir()
        (folder / "on").mkdir()
        for program, text in (("modules/probe", MODULE), ("reboot", "#!/bin/sh\necho HostReboot >>%s/calls\n")):
            (folder / program).write_text(text % folder)
            (folder / program).chmod(0o755)

    def on(self, **scripts: str) -> None:
        for state, script in scripts.items():
            (self.folder / "on" / state).write_text(script + "\n")

    def artifact(self, name: str = "panel-2") -> str:
        (self.folder / "app").write_text("new software")
        out = str(self.folder / f"{name}.mender")
        options = ["-n", name, "-t", "press", "-T", "probe", "-f", str(self.folder / "app"), "-o", out]
        run("mender-artifact", "write", "module-image", *options)
        return out

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().split()

    def exits(self, *arguments: str) -> tuple[int, str]:
        """Run a command, in this process for its time's sake; return its exit code and what it printed, errors last."""
        root = logging.getLogger()
        before = root.handlers[:], root.level
        with redirect_stdout(StringIO()) as output, redirect_stderr(StringIO()) as errors:
            try:
                code = cli.main(["--config", str(self.config), *arguments])
            finally:
                root.handlers[:], root.level = before
        return code, output.getvalue() + errors.getvalue()

    def begin(self, *arguments: str, output: int = subprocess.PIPE) -> subprocess.Popen[str]:
        """Start a command in a process of its own."""
        command = [sys.executable, "-m", "wainwright_agent", "--config", str(self.config), *arguments]
        return subprocess.Popen(command, stdout=output, stderr=output, text=True)

    def let_go(self, words: str) -> None:
        """Make the file `go` once the service has logged this."""
        try:
            wait_until(lambda: words in self.logged(), 60)
        finally:
            (self.folder / "go").touch()

    def state(self) -> State:
        return Journal.read(self.data_dir)


@pytest.fixture
def lonely(tmp_path: Path) -> Device:
    """A device without a service, and without a broker."""
    return Device(tmp_path, f"mqtt://127.0.0.1:{free_port()}")


@pytest.fixture
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


def test_a_file_is_installed_for_good_when_its_module_cannot_roll_back(lonely: Device) -> None:
    code, text = lonely.exits("install", lonely.artifact())

    assert (code, text.splitlines()[0]) == (0, "Installed panel-2.")
    assert lonely.calls == [*BEFORE, "ArtifactCommit", "Cleanup"]
    assert lonely.exits("show-artifact") == (0, "panel-2\n")
    assert lonely.state().outbox == ()
    assert "panel-2   success   by hand" in lonely.exits("status")[1]


def test_an_update_that_can_be_undone_waits_for_commit(lonely: Device) -> None:
    lonely.on(SupportsRollback="echo Yes")
    code, text = lonely.exits("install", lonely.artifact())
    assert code == 0
    assert (
        "panel-2 is installed, but not yet for good.\n  To keep it: wain commit\n  To go back: wain rollback\n" in text
    )
    status = lonely.exits("status")[1]
    assert "held before commit   by hand" in status
    assert "  to do      To keep it: wain commit. To go back: wain rollback\n" in status
    assert lonely.exits("show-artifact") == (0, "unknown\n")

    code, text = lonely.exits("install", lonely.artifact("panel-3"))
    assert code == 4
    assert text == "error: The update to panel-2 is not finished. To keep it: wain commit. To go back: wain rollback\n"
    code, text = lonely.exits("commit")
    assert (code, text.splitlines()[0]) == (0, "Installed panel-2.")
    assert lonely.calls == [*BEFORE, "ArtifactCommit", "Cleanup"]
    for command in ("commit", "resume"):
        code, text = lonely.exits(command)
        assert code == 5
        assert "No update is being tried; panel-2 is installed. To install: wain install FILE" in text
    code, text = lonely.exits("rollback")
    assert code == 5
    assert "There is nothing to roll back: panel-2 is committed, and what ran before is not kept." in text
    assert "install its artifact: wain install FILE" in text


def test_an_update_that_waits_can_be_rolled_back(lonely: Device) -> None:
    lonely.on(SupportsRollback="echo Yes")
    lonely.exits("install", lonely.artifact())
    code, text = lonely.exits("rollback")

    assert (code, text.splitlines()[0]) == (0, "Rolled back from panel-2. The device runs unknown.")
    assert lonely.calls == [*BEFORE, "ArtifactRollback", "ArtifactFailure", "Cleanup"]
    assert "commit" not in text
    last = lonely.state().last
    assert last is not None
    assert last.rolled_back
    assert "panel-2   rolled back, as was asked for   by hand" in lonely.exits("status")[1]


def test_an_update_that_fails_is_rolled_back_and_says_why(lonely: Device) -> None:
    lonely.on(SupportsRollback="echo Yes", ArtifactInstall=FAIL)
    code, text = lonely.exits("install", lonely.artifact())

    assert code == 1
    assert "error: panel-2 was not installed: The update module probe ended with status 1 in ArtifactInstall." in text
    assert "Its last words: the disk is worn out" in text
    assert text.endswith("\nThe device runs unknown. What was done, step by step: wain logs\n")
    assert "  to do      see what was done: wain logs\n" in lonely.exits("status")[1]
    last = lonely.state().last
    assert last is not None
    assert (last.rolled_back, last.inconsistent) == (True, False)


def test_the_device_is_never_restarted_and_goes_on_after_somebody_has(lonely: Device) -> None:
    lonely.on(SupportsRollback="echo Yes", NeedsArtifactReboot="echo Automatic")
    code, text = lonely.exits("install", "--reboot-exit-code", lonely.artifact())
    assert code == 6
    assert "panel-2: the device must be restarted now. After that: wain resume" in text
    assert lonely.exits("commit") == (6, "error: The device must be restarted first. After that: wain resume\n")
    assert "needs a reboot   by hand" in lonely.exits("status")[1]

    lonely.boot_id.write_text("boot-2\n")
    code, text = lonely.exits("commit")
    assert (code, text.splitlines()[0]) == (0, "Installed panel-2.")
    assert lonely.calls == [*BEFORE, "ArtifactVerifyReboot", "ArtifactCommit", "Cleanup"]


def test_a_rollback_that_needs_a_reboot_waits_for_it_too(lonely: Device) -> None:
    lonely.on(SupportsRollback="echo Yes", NeedsArtifactReboot="echo Yes")
    assert lonely.exits("install", lonely.artifact())[0] == 0
    code, text = lonely.exits("rollback")
    assert code == 6
    assert "must be restarted" in text

    lonely.boot_id.write_text("boot-2\n")
    code, text = lonely.exits("resume")
    assert (code, text.splitlines()[0]) == (0, "Rolled back from panel-2. The device runs unknown.")
    assert lonely.calls == [
        *BEFORE,
        "ArtifactRollback",
        "ArtifactVerifyRollbackReboot",
        "ArtifactFailure",
        "Cleanup",
    ]


def test_an_update_stops_where_it_is_told_to_and_goes_on_when_told(lonely: Device) -> None:
    stops = ["--stop-before", "ArtifactInstall_Enter", "--stop-before", "Cleanup"]
    code, text = lonely.exits("install", *stops, lonely.artifact())
    assert code == 0
    assert "panel-2: stopped before install. To go on: wain resume" in text
    assert lonely.calls == BEFORE[:2]
    assert lonely.exits("commit")[0] == 4
    assert "stopped before cleanup" in lonely.exits("resume")[1]
    assert lonely.exits("rollback")[0] == 4
    assert lonely.exits("resume")[1].startswith("Installed panel-2.")


def test_an_install_that_was_killed_is_ended_by_resume_as_a_deployments_is(lonely: Device) -> None:
    lonely.on(SupportsRollback="echo Yes", ArtifactInstall="touch $lab/there; sleep 60")
    command = [sys.executable, "-m", "wainwright_agent", "--config", str(lonely.config), "install", lonely.artifact()]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait_until((lonely.folder / "there").exists)
    process.kill()
    process.wait()

    code, text = lonely.exits("resume")
    assert code == 1
    assert "The agent was restarted during the step install" in text
    assert lonely.calls[-3:] == ["ArtifactRollback", "ArtifactFailure", "Cleanup"]


@pytest.mark.parametrize("connection", [pty.openpty, os.pipe])
def test_a_connection_that_is_gone_does_not_end_an_install(
    lonely: Device, connection: Callable[[], tuple[int, int]]
) -> None:
    lonely.on(ArtifactInstall="touch $lab/there; while [ ! -e $lab/go ]; do sleep 0.02; done")
    ours, its = connection()
    process = lonely.begin("install", lonely.artifact(), output=its)
    try:
        os.close(its)
        wait_until((lonely.folder / "there").exists, 60)
        os.close(ours)
        process.send_signal(signal.SIGHUP)
        (lonely.folder / "go").touch()
        assert process.wait(60) == 0
    finally:
        (lonely.folder / "go").touch()
        process.kill()
        process.wait()
    assert lonely.calls == [*BEFORE, "ArtifactCommit", "Cleanup"]
    assert lonely.exits("show-artifact") == (0, "panel-2\n")


def test_a_full_disk_that_takes_no_word_does_not_end_an_install(lonely: Device) -> None:
    with (
        Path("/dev/full").open("w") as full,
        lonely.begin("install", lonely.artifact(), output=full.fileno()) as process,
    ):
        assert process.wait(60) == 0
    assert lonely.calls == [*BEFORE, "ArtifactCommit", "Cleanup"]
    assert lonely.exits("show-artifact") == (0, "panel-2\n")


def test_a_command_that_is_told_to_end_ends_its_module_first(lonely: Device) -> None:
    stay = "echo $$ >$lab/new && mv $lab/new $lab/$1.pid; sleep 60"
    lonely.on(SupportsRollback="echo Yes", ArtifactInstall=stay, ArtifactRollback=stay)
    for command, call in (["install", lonely.artifact()], "ArtifactInstall"), (["resume"], "ArtifactRollback"):
        pid = lonely.folder / f"{call}.pid"
        with lonely.begin(*command) as process:
            wait_until(pid.exists, 60, call)
            process.terminate()
            _, text = process.communicate(timeout=60)
        assert process.returncode == 130
        assert text.endswith("The update stops. To go on: wain resume\n")
        assert not runs(int(pid.read_text()))
    update = lonely.state().update
    assert update is not None
    assert update.state is UpdateState.ROLLBACK


def test_a_file_that_the_service_does_not_see_is_to_be_put_where_it_does(lonely: Device) -> None:
    file = str(lonely.folder / "hidden.mender")
    with Journal.open(lonely.data_dir) as journal:
        updater = Updater(load(lonely.config, {}), journal, publish=lambda _: None)
        thread = threading.Thread(target=updater.run)
        thread.start()
        try:
            wish = {"uri": f"file://{file}", "name": "panel-2", "size": 1, "version": ""}
            assert technician.carry_out(updater, journal.state, Asked("install", wish, is_owner=True))["accepted"]
            wait_until(lambda: journal.state.update is None, 60, "the end")
        finally:
            updater.stop()
            thread.join(60)
    last = lonely.state().last
    assert last is not None
    assert last.error is not None
    assert last.error.text == (
        f"{file}: cannot be read: No such file or directory. If it is there, the service may not look there, as into "
        "/tmp, /root and /home with wainwright-agent.strict.conf: put it below /srv."
    )


def test_a_journal_that_cannot_be_written_is_told_to_whoever_waits_until_it_can(lonely: Device) -> None:
    lonely.on(ArtifactInstall="mkdir $lab/data/journal.json.new")  # where the journal's next state is to be written
    command = [sys.executable, "-m", "wainwright_agent", "--config", str(lonely.config), "install", lonely.artifact()]
    said = lonely.folder / "said"
    with said.open("wb") as errors:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=errors)
    try:
        told = f"panel-2 waits: {lonely.data_dir}/journal.json: cannot be written"
        wait_until(lambda: told in said.read_text(), what="the reason")
        (lonely.data_dir / "journal.json.new").rmdir()
        assert process.wait(60) == 1
    finally:
        process.kill()
        process.wait()
    assert "journal-failed" in lonely.exits("status")[1]


def test_a_link_is_installed_like_a_file(lonely: Device, web: Web) -> None:
    web.files["/panel.mender"] = Path(lonely.artifact()).read_bytes()
    code, text = lonely.exits("install", web.url + "/panel.mender")
    assert (code, text.splitlines()[0]) == (0, "Installed panel-2.")
    code, text = lonely.exits("install", web.url + "/none?signature=abc")
    assert code == 1
    assert "404" in text
    assert "signature" not in text


def test_a_file_whose_name_is_not_text_is_installed_like_others(lonely: Device) -> None:
    name = os.fsdecode(b"\xff 100%.mender")
    Path(lonely.artifact()).rename(lonely.folder / name)

    code, text = lonely.exits("install", str(lonely.folder / f"no {name}"))
    assert code == 1
    assert "/no ? 100%.mender: cannot be read: No such file or directory." in text

    code, text = lonely.exits("install", str(lonely.folder / name))
    assert (code, text.splitlines()[0]) == (0, "Installed panel-2.")


@pytest.mark.parametrize(
    ("content", "code", "expected"),
    [(None, 1, "cannot be read: No such file or directory"), (b"not tar" * 200, 4, "is not an artifact")],
)
def test_what_is_no_artifact_is_refused(lonely: Device, content: bytes | None, code: int, expected: str) -> None:
    file = lonely.folder / "x.mender"
    if content is not None:
        file.write_bytes(content)
    assert lonely.exits("install", str(file))[0] == code
    assert expected in lonely.exits("install", str(file))[1]


def test_an_artifact_for_another_device_is_not_installed(lonely: Device) -> None:
    text = lonely.config.read_text().replace('device_type = "press"', 'device_type = "lathe"')
    lonely.config.write_text(text)
    code, text = lonely.exits("install", lonely.artifact())
    assert code == 1
    assert "device_type" in text or "device type" in text


def test_the_service_carries_it_out_and_the_controller_sees_what_is_installed_then(
    controller_of: tuple[Device, Controller],
) -> None:
    device, controller = controller_of
    device.on(SupportsRollback="echo Yes")
    device.start()
    controller.wait_for(CheckIn)
    assert device.exits("install", device.artifact())[0] == 0

    controller.reply = no_deployment  # so that nothing that runs is wanted: but this update is nobody's
    device.exits("check-in")
    running = controller.all(CheckIn)[-1].running
    assert running is not UNSET
    assert running.deployment_id.startswith("by-hand-")
    controller.reply = lambda check_in: offered(check_in, offer_of("http://127.0.0.1:1/x", b"x"))
    assert "another is under way" in device.exits("check-in")[1]
    assert device.stop() == 0
    device.start()  # the update still waits
    controller.reply = lambda _: None
    wait_until(lambda: device.status()["agent"] == "running")
    assert device.status()["trying"]["held"] == "commit"

    count = len(controller.all(CheckIn))
    code, text = device.exits("commit")
    assert (code, text.splitlines()[0]) == (0, "Installed panel-2.")
    wait_until(lambda: controller.all(CheckIn)[-1].provides["artifact_name"] == "panel-2")
    assert len(controller.all(CheckIn)) > count
    assert controller.all(CheckIn)[-1].by_hand is True
    assert controller.all(CheckIn)[0].by_hand is UNSET
    assert controller.all(Report) == []
    assert controller.all(LogLines) == []
    assert list((device.data_dir / "logs").glob("0001-by-hand-*-1.jsonl"))


def test_a_rollback_that_comes_while_the_update_is_committed_says_that_it_was_too_late(lonely: Device) -> None:
    hold = "touch $lab/commits; while [ ! -e $lab/go ]; do sleep 0.02; done"
    lonely.on(SupportsRollback="echo Yes", ArtifactCommit=hold)
    with lonely.start():
        wait_until(lambda: lonely.status()["agent"] == "running", what="the agent to answer")
        assert lonely.exits("install", lonely.artifact())[0] == 0
        with lonely.begin("commit") as commit:
            wait_until((lonely.folder / "commits").exists, 60)
            go_on = threading.Timer(0, lonely.let_go, ["A technician has asked for the rollback"])
            go_on.start()
            code, text = lonely.exits("rollback")
            assert commit.communicate(timeout=60)[0].startswith("Installed panel-2.")
            go_on.join()
    assert (commit.returncode, code) == (0, 1)
    assert "error: Not rolled back: panel-2 was committed meanwhile, and what ran before is not kept." in text


@pytest.fixture
def controller_of(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[tuple[Device, Controller]]:
    """A device with a service, and its controller."""
    with Device(tmp_path, mosquitto.url) as device, Controller(mosquitto.port, device.device_id) as controller:
        yield device, controller


def test_only_root_and_the_agents_own_user_may_change_what_is_installed(lonely: Device) -> None:
    with Journal.open(lonely.data_dir) as journal:
        updater = Updater(load(lonely.config, {}), journal, publish=lambda _: None)
        wish = {"uri": "file:///x", "name": "panel-2", "size": 1, "version": ""}
        answer = technician.carry_out(updater, journal.state, Asked("install", wish))
        assert answer["error"] == "forbidden"
        for bad in ({"uri": "ftp://x"}, {"stop_before": ["Lunch"]}, {"more": 1}):
            answer = technician.carry_out(updater, journal.state, Asked("install", wish | bad, is_owner=True))
            assert answer["error"] == "bad-request"
        assert journal.state.update is None


def test_the_command_line_and_the_page_know_every_stop(lonely: Device) -> None:
    assert tuple(by_hand.STOPS) == STOPS
    done = lonely.wain("install", "--help").stdout
    page = (Path(__file__).parents[3] / "docs" / "agent.md").read_text(encoding="utf-8")
    for stop in by_hand.STOPS:
        assert stop in re.sub(r"\s", "", done)
        assert f"`{stop}`" in page
