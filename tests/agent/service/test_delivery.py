"""Whole updates over the broker, and what must not be lost: outcomes, through kills and outages."""

from __future__ import annotations

import http.server
import shutil
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from tests.agent.service.peers import (
    Agent,
    Controller,
    accepted,
    new_device_id,
    no_deployment,
    offer_of,
    offered,
    verdict,
)
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_agent.config import Broker
from wainwright_agent.events import Connected, EventQueue
from wainwright_agent.journal import Journal, State
from wainwright_agent.link import Link
from wainwright_agent.outbox import Outbox
from wainwright_common.messages import (
    CheckIn,
    CheckInReason,
    Command,
    CommandName,
    LogLines,
    Offer,
    Reason,
    Reply,
    Report,
    Verdict,
)
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind

MODULE = """\
#!/bin/sh
# A module as a customer writes one: keeps the file it gets, and does what the files around it say.
set -e
lab=$(dirname "$0")/../lab
echo "$1" >> "$lab/calls"
if [ -e "$lab/hold-$1" ]; then
    touch "$lab/holding"
    while [ -e "$lab/hold-$1" ]; do sleep 0.02; done
fi
if [ -e "$lab/fail-$1" ]; then echo "the press jams" >&2; exit 1; fi
case "$1" in
    SupportsRollback) echo Yes ;;
    ArtifactInstall) cp "$2"/files/* "$lab/installed" ;;
    ArtifactRollback) rm -f "$lab/installed" ;;
esac
"""


class Site:
    """A device with an update module of its own, an artifact at an HTTP server, and what happened on the device."""

    def __init__(self, agent: Agent, artifact: Path, url: str) -> None:
        self.lab = agent.folder / "lab"
        self.lab.mkdir()
        self.content = artifact.read_bytes()
        self.url = url
        modules = agent.folder / "modules"
        modules.mkdir()
        (modules / "press").write_text(MODULE, encoding="utf-8")
        (modules / "press").chmod(0o755)

    def offer(self, deployment_id: str = "d-1", attempt: int = 1) -> Offer:
        return offer_of(self.url, self.content, deployment_id=deployment_id, attempt=attempt)

    def calls(self) -> list[str]:
        file = self.lab / "calls"
        return file.read_text(encoding="utf-8").split() if file.exists() else []

    def hold(self, call: str) -> None:
        (self.lab / f"hold-{call}").touch()

    def fail(self, call: str) -> None:
        (self.lab / f"fail-{call}").touch()

    def wait_until_holding(self) -> None:
        wait_until((self.lab / "holding").exists, what="the module to hold")

    def release(self) -> None:
        for file in self.lab.glob("hold*"):
            file.unlink()


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact `panel-2` for the update module `press`, by the real tool."""
    folder = tmp_path_factory.mktemp("artifact")
    program = shutil.which("mender-artifact")
    assert program, "mender-artifact is not installed: run `make peers`"
    (folder / "panel").write_bytes(b"panel 2\n" * 10_000)
    file = folder / "panel-2.mender"
    words = ["-n", "panel-2", "-t", "press", "-T", "press", "-f", str(folder / "panel"), "-o", str(file)]
    subprocess.run([program, "write", "module-image", *words, "--compression", "none"], check=True, capture_output=True)
    return file


@pytest.fixture(scope="module")
def web(artifact: Path) -> Iterator[str]:
    """The URL of the artifact."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments: object) -> None:
            super().__init__(*arguments, directory=str(artifact.parent))  # type: ignore[arg-type]  # as it was called

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/{artifact.name}"
        server.shutdown()


@pytest.fixture
def site(agent: Agent, artifact: Path, web: str) -> Site:
    """The device of `agent`, ready to be updated."""
    return Site(agent, artifact, web)


def deploys(offer: Offer) -> Callable[[CheckIn], Reply]:
    """Return how a controller answers that has one deployment, which the device finishes once."""

    def reply(check_in: CheckIn) -> Reply:
        if check_in.provides["artifact_name"] == offer.artifact.name or check_in.reason is CheckInReason.FINISHED:
            return no_deployment(check_in)
        return offered(check_in, offer)

    return reply


def outcomes(controller: Controller) -> list[Report]:
    return [report for report in controller.all(Report) if report.status in ("success", "failure")]


def wait_for_outcome(controller: Controller) -> Report:
    wait_until(lambda: outcomes(controller), what="an outcome")
    return outcomes(controller)[0]


def test_an_update_runs_from_the_offer_to_the_next_check_in(agent: Agent, controller: Controller, site: Site) -> None:
    controller.reply = deploys(site.offer())
    agent.start()

    success = wait_for_outcome(controller)

    assert success.status is DeviceStatus.SUCCESS
    assert success.artifact_name == "panel-2"
    statuses = [report.status.value for report in controller.all(Report)]
    assert list(dict.fromkeys(statuses)) == ["downloading", "installing", "success"]
    seqs = [report.seq for report in controller.all(Report)]
    assert seqs == sorted(set(seqs))
    finished = controller.wait_for(CheckIn, 2)
    assert finished.reason is CheckInReason.FINISHED
    assert finished.provides["artifact_name"] == "panel-2"
    assert (site.lab / "installed").read_bytes() == b"panel 2\n" * 10_000
    wait_until(lambda: agent.status()["unacknowledged_reports"] == 0, what="the acknowledgements")
    assert agent.wain("show-artifact").stdout == "panel-2\n"
    assert "rootfs-image.press.version=panel-2" in agent.wain("show-provides").stdout
    status = agent.wain("status").stdout
    assert "  running    panel-2\n" in status
    assert "  last       panel-2   success   deployment d-1, attempt 1, " in status


def test_a_failing_update_tells_why_and_the_device_asks_again(agent: Agent, controller: Controller, site: Site) -> None:
    site.fail("ArtifactInstall")
    controller.reply = deploys(site.offer())
    agent.start()

    failure = wait_for_outcome(controller)

    assert failure.status is DeviceStatus.FAILURE
    assert isinstance(failure.error, Reason)
    assert failure.error.code == "install-failed"
    assert "the press jams" in failure.error.text
    assert "ArtifactRollback" in site.calls()
    assert controller.wait_for(CheckIn, 2).provides["artifact_name"] == "unknown"
    assert "the press jams" in agent.wain("status").stdout


def test_for_a_link_that_is_refused_the_device_checks_in_and_goes_on_with_a_fresh_one(
    agent: Agent, controller: Controller, site: Site
) -> None:
    good = site.offer()
    gone = replace(good, artifact=replace(good.artifact, uri=site.url + ".gone?signature=5ec2e7"))
    controller.reply = lambda check_in: deploys(gone if check_in.running is UNSET else good)(check_in)
    agent.start()

    assert wait_for_outcome(controller).status is DeviceStatus.SUCCESS
    running = controller.wait_for(CheckIn, 2).running
    assert running is not UNSET
    assert (running.deployment_id, running.attempt, running.status) == ("d-1", 1, DeviceStatus.DOWNLOADING)
    assert {report.attempt for report in controller.all(Report)} == {1}

    def log() -> str:
        return "\n".join(line.text for lines in controller.all(LogLines) for line in lines.lines)

    wait_until(lambda: "cleanup: success." in log(), what="the end of the log")
    assert "answered 404" in log()
    assert "5ec2e7" not in log()


def test_status_shows_what_is_being_tried(agent: Agent, controller: Controller, site: Site) -> None:
    site.hold("ArtifactInstall")
    controller.reply = deploys(site.offer())
    agent.start()
    site.wait_until_holding()

    trying = agent.status()["trying"]
    assert trying["artifact_name"] == "panel-2"
    assert trying["status"] == "installing"
    assert "  trying     panel-2   install   deployment d-1, attempt 1\n" in agent.wain("status").stdout
    controller.wake()
    running = controller.wait_for(CheckIn, 2).running
    assert running
    assert (running.deployment_id, running.attempt, running.status) == ("d-1", 1, "installing")

    site.release()
    assert wait_for_outcome(controller).status is DeviceStatus.SUCCESS


def test_an_outcome_is_told_until_it_is_acknowledged_across_kills(
    agent: Agent, controller: Controller, site: Site
) -> None:
    controller.reply = deploys(site.offer())
    controller.ack = lambda _: None
    agent.start()
    first = wait_for_outcome(controller)
    wait_until(lambda: "trying" not in agent.status(), what="the update to be over")

    for count in (2, 3):
        agent.kill()
        agent.start()
        wait_until(lambda count=count: len(outcomes(controller)) >= count, what="the outcome again")  # type: ignore[misc]
    assert {(one.deployment_id, one.attempt, one.seq, one.status) for one in outcomes(controller)} == {
        (first.deployment_id, first.attempt, first.seq, DeviceStatus.SUCCESS)
    }
    assert agent.status()["unacknowledged_reports"] > 0
    assert "wait for the controller's acknowledgement" in agent.wain("status").stdout

    controller.ack = accepted
    agent.kill()
    agent.start()
    wait_until(lambda: agent.status()["unacknowledged_reports"] == 0, what="the acknowledgements")
    told = len(outcomes(controller))
    agent.kill()
    checked_in = len(controller.all(CheckIn))
    agent.start()
    controller.wait_for(CheckIn, checked_in + 1)
    assert len(outcomes(controller)) == told
    assert site.calls().count("ArtifactCommit") == 1


def test_an_outcome_reached_without_a_broker_is_told_when_it_is_back(
    tmp_path: Path, own_mosquitto: Mosquitto, artifact: Path, web: str
) -> None:
    device_id = new_device_id()
    with Agent(tmp_path, own_mosquitto.url, device_id) as agent:
        site = Site(agent, artifact, web)
        site.hold("ArtifactInstall")
        with Controller(own_mosquitto.port, device_id, reply=deploys(site.offer())) as controller:
            agent.start()
            site.wait_until_holding()
        own_mosquitto.kill()
        site.release()
        wait_until(lambda: "Cleanup" in site.calls(), what="the update to end")
        wait_until(lambda: agent.status().get("last", {}).get("outcome") == "success", what="the outcome")
        own_mosquitto.start()

        with Controller(own_mosquitto.port, device_id) as controller:
            assert wait_for_outcome(controller).status is DeviceStatus.SUCCESS
            wait_until(lambda: agent.status()["unacknowledged_reports"] == 0, what="the acknowledgements")


def test_a_download_that_was_cut_off_goes_on_with_a_fresh_link(
    agent: Agent, controller: Controller, site: Site
) -> None:
    controller.reply = deploys(site.offer())
    site.hold("Download")
    agent.start()
    site.wait_until_holding()

    agent.kill()
    site.release()
    agent.start()

    again = controller.wait_for(CheckIn, 2)
    assert again.running
    assert (again.running.deployment_id, again.running.attempt) == ("d-1", 1)
    assert wait_for_outcome(controller).status is DeviceStatus.SUCCESS


@pytest.mark.parametrize("how", ["verdict", "command", "reply"])
def test_an_update_that_is_taken_back_rolls_back(agent: Agent, controller: Controller, site: Site, how: str) -> None:
    controller.reply = deploys(site.offer())
    if how == "verdict":
        controller.ack = lambda report: (
            verdict(report, Verdict.ABORTED) if report.status is DeviceStatus.INSTALLING else accepted(report)
        )
    site.hold("ArtifactInstall")
    agent.start()
    site.wait_until_holding()
    if how == "command":
        controller.send(Kind.COMMAND, Command(id="c", name=CommandName.ABORT, deployment_id="d-1"))
    if how == "reply":
        controller.reply = no_deployment
        controller.wake()
        controller.wait_for(CheckIn, 2)
    wait_until(lambda: "is to stop" in agent.logged(), what="the abort to arrive")
    site.release()

    assert wait_for_outcome(controller).status is DeviceStatus.FAILURE
    assert "ArtifactRollback" in site.calls()
    assert "ArtifactCommit" not in site.calls()


@pytest.mark.parametrize("code", ["rate-limited", "paused", "window"])
def test_a_reply_that_decides_nothing_leaves_a_running_update_alone(
    agent: Agent, controller: Controller, site: Site, code: str
) -> None:
    controller.reply = deploys(site.offer())
    site.hold("ArtifactInstall")
    agent.start()
    site.wait_until_holding()
    controller.reply = lambda check_in: Reply(
        check_in_id=check_in.id, check_in_after_s=0, send_inventory=False, why=Reason(code=code, text="Later.")
    )
    controller.wake()
    wait_until(lambda: f"no offer: {code}" in agent.logged(), what="the reply to arrive")
    site.release()

    assert wait_for_outcome(controller).status is DeviceStatus.SUCCESS


def test_an_offer_of_what_is_done_is_answered_with_its_outcome(
    agent: Agent, controller: Controller, site: Site
) -> None:
    controller.reply = deploys(site.offer())
    agent.start()
    wait_for_outcome(controller)
    controller.wait_for(CheckIn, 2)
    told = len(outcomes(controller))
    controller.reply = lambda check_in: offered(check_in, site.offer())

    done = agent.wain("check-in")

    assert done.returncode == 0
    assert "not taken" in done.stdout
    wait_until(lambda: len(outcomes(controller)) > told, what="the outcome again")
    assert site.calls().count("ArtifactInstall") == 1


def test_a_wake_leads_to_an_update_in_a_running_agent(agent: Agent, controller: Controller, site: Site) -> None:
    agent.start()
    controller.wait_for(CheckIn)
    controller.reply = deploys(site.offer())

    controller.wake()  # half an hour before it would ask by itself

    assert wait_for_outcome(controller).status is DeviceStatus.SUCCESS


def test_unacknowledged_reports_go_out_again_at_intervals(tmp_path: Path, mosquitto: Mosquitto, artifact: Path) -> None:
    """The plan of the outbox, with a real journal and link, and a shorter interval."""
    from datetime import UTC, datetime

    device_id = new_device_id()
    events: EventQueue = EventQueue()
    report = Report(
        deployment_id="d-1",
        attempt=1,
        seq=3,
        status=DeviceStatus.SUCCESS,
        boot_id="b",
        at=datetime.now(UTC),
        artifact_name=artifact.stem,
    )
    with Journal.open(tmp_path) as journal, Controller(mosquitto.port, device_id) as controller:
        journal.change(lambda _: State(outbox=(report,)))
        link = Link(Broker(url=mosquitto.url), device_id, events, Random(1))
        outbox = Outbox(journal, link, Random(1), resend_s=0.2)
        assert outbox.due_at == float("inf")
        link.start()
        assert isinstance(events.get(timeout=PATIENCE_S), Connected)
        try:
            for _ in range(4):
                wait_until(lambda: outbox.due_at <= time.monotonic(), what="the next turn")
                before = time.monotonic()
                outbox.resend()
                assert before + 0.18 <= outbox.due_at <= time.monotonic() + 0.22
            wait_until(lambda: len(controller.all(Report)) == 4, what="four reports")
            assert {one.seq for one in controller.all(Report)} == {3}

            journal.change(lambda _: State())
            assert outbox.due_at == float("inf")
        finally:
            link.stop()
