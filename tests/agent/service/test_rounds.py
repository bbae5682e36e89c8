"""Idle and sync scripts, run by the real service around real check-ins."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.service.peers import Agent, Controller, new_device_id, no_deployment, offer_of, offered
from tests.agent.update.lab import run
from tests.agent.update.web import Web
from tests.support.mosquitto import Mosquitto
from tests.support.wait import wait_until
from wainwright_common.messages import CheckIn, Reply, Report

SHORT = {
    "Idle_Enter": "idE",
    "Idle_Leave": "idL",
    "Sync_Enter": "syE",
    "Sync_Leave": "syL",
    "Sync_Error": "syX",
    "Download_Enter": "dE",
    "Download_Leave": "dL",
}
ROUND = "idL syE syL idE"


class Scripted:
    """A device with all of these scripts, each of which may fail once."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.folder = agent.folder / "scripts"
        self.folder.mkdir()
        with agent.config.open("a") as config:
            config.write(f'update.scripts = "{self.folder}"\n')
        for name, short in SHORT.items():
            file = self.folder / f"{name}_00"
            file.write_text(
                f"#!/bin/sh\necho {short} >>{agent.folder}/calls\n"
                f"if [ -e {agent.folder}/fail-{short} ]; then rm {agent.folder}/fail-{short}; exit 1; fi\n"
            )
            file.chmod(0o755)

    def fail_once(self, *short: str) -> None:
        for one in short:
            (self.agent.folder / f"fail-{one}").touch()

    @property
    def calls(self) -> str:
        file = self.agent.folder / "calls"
        return " ".join(file.read_text().split()) if file.exists() else ""

    def wait_for(self, calls: str) -> None:
        wait_until(lambda: self.calls == calls, what=calls)


@pytest.fixture
def device(agent: Agent) -> Scripted:
    return Scripted(agent)


def test_scripts_run_around_each_check_in(device: Scripted, controller: Controller) -> None:
    device.agent.start()
    device.wait_for(f"idE {ROUND}")
    assert device.agent.wain("check-in").returncode == 0
    device.wait_for(f"idE {ROUND} {ROUND}")
    assert len(controller.all(CheckIn)) == 2
    assert device.agent.stop() == 0


def test_a_failing_idle_script_changes_nothing(device: Scripted, controller: Controller) -> None:
    device.fail_once("idE", "idL")
    device.agent.start()
    device.wait_for(f"idE {ROUND}")
    assert len(controller.all(CheckIn)) == 1


def test_nothing_is_asked_when_sync_enter_fails_and_it_is_tried_again(device: Scripted, controller: Controller) -> None:
    device.fail_once("syE")
    device.agent.start()
    device.wait_for("idE idL syE syX idE")
    assert controller.all(CheckIn) == []
    assert device.agent.wain("check-in").returncode == 0
    # Perhaps twice: ten seconds after the failure it is tried again without being asked to.
    wait_until(lambda: device.calls.startswith(f"idE idL syE syX idE {ROUND}"), what="another round")


def test_an_offer_is_dropped_when_sync_leave_fails_and_taken_the_next_time(
    device: Scripted, controller: Controller
) -> None:
    agent = device.agent
    (agent.folder / "modules").mkdir()
    module = agent.folder / "modules" / "probe"
    module.write_text("#!/bin/sh\n")
    module.chmod(0o755)
    app = agent.folder / "app"
    app.write_text("new software")
    out = agent.folder / "panel-2.mender"
    options = ["-n", "panel-2", "-t", "press", "-T", "probe", "-f", str(app), "-o", str(out)]
    run("mender-artifact", "write", "module-image", *options)
    web = Web()
    web.files["/panel-2"] = out.read_bytes()

    def reply(check_in: CheckIn) -> Reply:
        if check_in.provides["artifact_name"] == "panel-2":
            return no_deployment(check_in)
        return offered(check_in, offer_of(web.url + "/panel-2", out.read_bytes()))

    controller.reply = reply
    device.fail_once("syL")
    try:
        agent.start()
        device.wait_for("idE idL syE syL syX idE")
        assert controller.all(Report) == []
        agent.wain("check-in")
        device.wait_for(f"idE idL syE syL syX idE idL syE syL dE dL idE {ROUND}")
    finally:
        web.close()
    assert controller.all(Report)[-1].status == "success"


def test_a_check_in_that_is_repeated_is_the_same_sync(device: Scripted, controller: Controller) -> None:
    controller.reply = lambda _: None
    device.agent.start()
    controller.wait_for(CheckIn)
    controller.reply = no_deployment
    assert device.agent.wain("check-in").returncode == 0
    # It is repeated without being asked to, too, and whoever asks after that has a round of his own.
    wait_until(lambda: device.calls.startswith("idE idL syE syL idE"), what="the sync to be over")


def test_a_link_that_is_lost_before_the_reply_ends_the_sync_with_its_error_scripts(
    tmp_path: Path, own_mosquitto: Mosquitto
) -> None:
    with Agent(tmp_path, own_mosquitto.url, new_device_id()) as agent:
        device = Scripted(agent)
        agent.start()
        device.wait_for("idE idL syE")
        wait_until(lambda: "checks in (start)" in agent.logged())
        own_mosquitto.kill()
        device.wait_for("idE idL syE syX idE")


def test_an_agent_that_is_asked_to_end_does_not_wait_for_a_script(device: Scripted, controller: Controller) -> None:
    marker = device.agent.folder / "waits"
    (device.folder / "Sync_Enter_01").write_text(f"#!/bin/sh\ntouch {marker}\nexec sleep 60\n")
    (device.folder / "Sync_Enter_01").chmod(0o755)
    device.agent.start()
    wait_until(marker.exists)
    assert device.agent.stop() == 0
    assert controller.all(CheckIn) == []
    assert list((Path(device.agent.data_dir) / "processes-idle").iterdir()) == []
