"""What becomes of a device in a deployment: all ten statuses, by real agents, and which artifact it gets."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import pytest

from tests.support.system import LONG_SIZE, PATIENCE_S, System
from tests.support.wait import wait_until
from tests.system.features.conftest import LATHE, NEWCOMER, OTHER_PRESS, PRESS, MakeFleet
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.demo.api import Json
from wainwright_controller.demo.stage import DemoDevice, environment

TRAVELLER = "lathe-03"  # the one that reboots, and leaves the fleet
SLOW = 0.3  # seconds for 64 KiB: with LONG_SIZE longer than a test needs to see a download, and to do something


class Traveller:
    """A real device whose updates wait, once they are to be installed, until a test goes on, and then need a reboot.

    When the agent asks for it, the agent is killed, and started with another boot id.
    """

    def __init__(self, system: System) -> None:
        self.system = system
        self.device: DemoDevice = system.agent(TRAVELLER)
        self._boot_id = self.device.folder / "boot_id"
        self._boots = 0
        modules = self.device.folder / "modules"
        text = (modules / "demo").read_text(encoding="utf-8")
        waits = 'ArtifactInstall)\n    while [ -f "$device/held" ]; do sleep 0.02; done\n'
        text = text.replace("ArtifactInstall)\n", waits).replace("echo No", "echo Automatic")
        (modules / "held").write_text(text, encoding="utf-8")
        shutil.copymode(modules / "demo", modules / "held")
        self._held, self._asks = self.device.folder / "held", self.device.folder / "asks-for-a-reboot"
        self._start()

    def reboot(self) -> None:
        """Wait until the agent asks for a reboot, and do it."""
        wait_until(self._asks.exists, PATIENCE_S, "the agent to ask for a reboot")
        self.system.processes.kill(TRAVELLER)
        self._asks.unlink()
        self._start()

    def _start(self) -> None:
        self._boots += 1
        self._boot_id.write_text(f"boot-{self._boots}\n", encoding="utf-8")
        settings = {
            "WAINWRIGHT_UPDATE__BOOT_ID_FILE": str(self._boot_id),
            "WAINWRIGHT_UPDATE__REBOOT_COMMAND": json.dumps(["touch", str(self._asks)]),
        }
        self.system.processes.start(TRAVELLER, self.system.stage.agent_argv(self.device), environment() | settings)

    def hold(self) -> None:
        """Have the next installation wait."""
        self._held.touch()

    def go_on(self) -> None:
        """Let it go on."""
        self._held.unlink()

    def release(self, name: str) -> None:
        """Upload a release that is installed this way."""
        self.system.artifact(name, "lathe", size=LONG_SIZE, payload_type="held")


@pytest.fixture
def traveller(agents: System) -> Iterator[Traveller]:
    traveller = Traveller(agents)
    agents.wait_for_devices([TRAVELLER])
    agents.api.call("POST", "/devices/accept", json={"ids": [TRAVELLER]})
    yield traveller
    agents.processes.stop(TRAVELLER)


def through_a_reboot(traveller: Traveller, release: str) -> Iterator[Json]:
    """Take a device from `pending` to `success`, and yield its part at every status on the way."""
    system = traveller.system
    traveller.release(release)
    traveller.device.set_pace(SLOW)
    traveller.hold()
    made = system.deploy(release, TRAVELLER, manual=True)
    yield system.wait_for_part(made, TRAVELLER, "pending")
    system.act(made, "start")
    yield system.wait_for_part(made, TRAVELLER, "downloading")
    traveller.device.set_pace(None)
    yield system.wait_for_part(made, TRAVELLER, "installing")
    traveller.go_on()
    yield system.wait_for_part(made, TRAVELLER, "rebooting")
    traveller.reboot()
    yield system.wait_for_part(made, TRAVELLER, "success")
    system.finished(made)
    assert system.runs(TRAVELLER) == release
    yield system.part(system.finished(system.deploy(release, TRAVELLER))["id"], TRAVELLER)


def times_stopped(system: System, device_id: str) -> int:
    """Return how many orders to stop an update an agent has taken so far; the controller says so before it has."""
    log = system.processes.log(device_id).read_text(encoding="utf-8", errors="replace")
    return log.count(" is to stop: ")


def test_a_real_device_reaches_all_ten_statuses(agents: System, traveller: Traveller, release: str) -> None:
    seen = {DeviceStatus(part["status"]): part for part in through_a_reboot(traveller, release)}

    agents.release(f"{release}-bad", "press")
    agents.agent(OTHER_PRESS).rig()
    failing = agents.deploy(f"{release}-bad", OTHER_PRESS, LATHE)
    seen[DeviceStatus.FAILURE] = agents.wait_for_part(failing, OTHER_PRESS, "failure")
    seen[DeviceStatus.NOARTIFACT] = agents.wait_for_part(failing, LATHE, "noartifact")

    traveller.release(f"{release}-never")
    for status in (DeviceStatus.ABORTED, DeviceStatus.DECOMMISSIONED):
        traveller.hold()
        made = agents.deploy(f"{release}-never", TRAVELLER)
        agents.wait_for_part(made, TRAVELLER, "installing")
        before = times_stopped(agents, TRAVELLER)
        end = f"/deployments/{made}/abort" if status is DeviceStatus.ABORTED else f"/devices/{TRAVELLER}/decommission"
        agents.api.call("POST", end, json={})
        seen[status] = agents.wait_for_part(made, TRAVELLER, status)
        wait_until(lambda n=before: times_stopped(agents, TRAVELLER) > n, PATIENCE_S, "the order to reach the device")  # type: ignore[misc]
        traveller.go_on()
        traveller.reboot()  # what it had begun to install needs one, and so does taking that back
        agents.finished(made)
        wait_until(lambda: agents.runs(TRAVELLER) == release, PATIENCE_S, "the device to be as it was")

    assert seen.keys() == set(DeviceStatus)
    assert {status: part["status"] for status, part in seen.items()} == {status: str(status) for status in DeviceStatus}
    assert {part["device_id"] for part in seen.values()} == {TRAVELLER, OTHER_PRESS, LATHE}


def test_each_device_gets_the_artifact_that_is_compatible_with_it(system: System, fleet: MakeFleet) -> None:
    presses, lathes = fleet(2), fleet(1, device_types=("lathe",))
    changed = presses.ids[0]
    system.finished(system.deploy("two", changed))
    for_all = system.artifact("compatible", "press", "lathe")
    from_one = system.artifact("compatible", "press", depends_names=("one",))
    system.artifact("compatible", "press", depends_names=("three",))

    made = system.deploy("compatible", *presses.ids, *lathes.ids)
    system.finished(made)

    got = {i: part["artifact_id"] for i, part in system.api.parts(made).items()}
    assert got == {changed: for_all, presses.ids[1]: from_one, lathes.ids[0]: for_all}


def test_a_release_reaches_devices_of_two_types_and_one_that_fails_rolls_back(agents: System, release: str) -> None:
    agents.release_by_mender_artifact(release, "press")
    agents.release(release, "lathe")
    agents.agent(OTHER_PRESS).rig()
    before = agents.runs(OTHER_PRESS)
    deployment_id = agents.deploy(release, PRESS, OTHER_PRESS, LATHE)

    deployment = agents.finished(deployment_id)
    assert deployment["outcome"] == "partial"
    assert deployment["counts"] == {"success": 2, "failure": 1}
    assert [agents.runs(PRESS), agents.runs(LATHE), agents.runs(OTHER_PRESS)] == [release, release, before]
    failed = agents.part(deployment_id, OTHER_PRESS)
    assert failed["error"]["code"] == "install-failed"
    assert "does not start on this device" in failed["error"]["text"]
    assert not failed["inconsistent"]
    agents.assert_exact(deployment_id, [PRESS, OTHER_PRESS, LATHE])
    assert agents.why(OTHER_PRESS)["code"] == "failed"


def test_a_device_that_no_artifact_fits_ends_as_noartifact_and_is_left_alone(agents: System, release: str) -> None:
    agents.release(release, "press")
    deployment_id = agents.deploy(release, LATHE)
    assert agents.finished(deployment_id)["counts"] == {"noartifact": 1}
    assert agents.why(LATHE)["code"] == "incompatible"


def test_a_device_that_runs_the_release_ends_as_already_installed(agents: System, release: str) -> None:
    agents.release(release)
    agents.finished(agents.deploy(release, PRESS))
    again = agents.deploy(release, PRESS)
    assert agents.finished(again)["counts"] == {"already-installed": 1}
    assert agents.why(PRESS)["code"] == "already-installed"


def test_a_device_that_failed_waits_and_is_given_its_retries(agents: System, release: str) -> None:
    agents.release(release)
    agents.agent(LATHE).rig()
    deployment_id = agents.deploy(release, LATHE, retries=1)
    why = agents.wait_for_why(LATHE, "retry-later")
    assert "install-failed" in why["text"]
    assert "next_attempt_at" in agents.part(deployment_id, LATHE)
    agents.agent(LATHE).repair()

    assert agents.finished(deployment_id)["outcome"] == "success"
    part = agents.part(deployment_id, LATHE)
    assert (part["status"], part["attempt"]) == ("success", 2)
    assert agents.runs(LATHE) == release


def test_devices_that_are_to_download_only_install_when_a_person_lets_them(agents: System, release: str) -> None:
    agents.release(release)
    before = agents.runs(PRESS)
    deployment_id = agents.deploy(release, PRESS, policy={"download_only": True})
    agents.wait_for_deployment(
        deployment_id, "downloaded", lambda _: agents.part(deployment_id, PRESS).get("substate") == "wait-window"
    )
    why = agents.why(PRESS)
    assert why["code"] == "in-progress"
    assert "(wait-window); it does not install before it is let: wainwright deployment install" in why["text"]
    assert "install" in agents.api.deployment(deployment_id)["allowed"]

    agents.act(deployment_id, "install", "the line stands still")

    assert agents.finished(deployment_id)["outcome"] == "success"
    assert before != agents.runs(PRESS) == release
    assert ("local", "install: the line stands still") in agents.told(deployment_id)
    agents.agent(PRESS).set_pace(SLOW)  # so that it is not over before it is refused
    installing = agents.deploy(release, PRESS, force=True, phases=[{"count": 1, "opens": "now"}])
    assert agents.refusal("POST", f"/deployments/{installing}/install") == (409, "not-download-only")
    agents.agent(PRESS).set_pace(None)
    agents.finished(installing)


def test_a_device_that_dies_in_its_download_fails_by_the_time_limit(agents: System, release: str) -> None:
    agents.release(release, size=LONG_SIZE)
    before = agents.runs(PRESS)
    agents.agent(PRESS).set_pace(SLOW)
    deployment_id = agents.deploy(release, PRESS, in_progress_timeout_s=2.0)
    # By the timeline: on a machine that stands still for two seconds the time is over before anybody looks.
    wait_until(lambda: ("device", "downloading") in agents.told(deployment_id), PATIENCE_S, "the download")
    agents.processes.kill(PRESS)

    assert agents.finished(deployment_id)["outcome"] == "failure"
    assert agents.part(deployment_id, PRESS)["error"]["code"] == "timeout"
    agents.agent(PRESS).set_pace(None)
    agents.start_agents(PRESS)
    agents.release(f"{release}-next")
    assert agents.finished(agents.deploy(f"{release}-next", PRESS))["outcome"] == "success"
    assert before != agents.runs(PRESS) == f"{release}-next"


def test_why_says_that_a_device_is_not_accepted_and_then_that_no_deployment_concerns_it(agents: System) -> None:
    agents.start_agents(NEWCOMER)
    assert agents.why(NEWCOMER)["code"] == "not-accepted"
    agents.api.call("POST", "/devices/accept", json={"ids": [NEWCOMER]})
    assert agents.why(NEWCOMER)["code"] == "no-deployment"
    agents.processes.stop(NEWCOMER)


def test_why_says_that_a_phase_is_closed_until_a_person_opens_it(agents: System, release: str) -> None:
    agents.release(release)
    phases = [{"count": 1}, {"opens": "approval"}]
    deployment_id = agents.deploy(release, PRESS, LATHE, phases=phases)
    agents.wait_for_part(deployment_id, PRESS, "success")
    assert agents.wait_for_why(LATHE, "phase-closed")["deployment_id"] == deployment_id
    wait_until(lambda: agents.api.deployment(deployment_id).get("hold") == "awaiting-promotion", PATIENCE_S, "the hold")
    agents.api.promote(deployment_id, "looks well")
    assert agents.finished(deployment_id)["outcome"] == "success"
    assert agents.why(LATHE)["code"] == "up-to-date"


def test_why_says_that_an_update_is_under_way_and_an_abort_leaves_the_device_as_it_was(
    agents: System, release: str
) -> None:
    agents.release(release, size=LONG_SIZE)
    before, stopped = agents.runs(PRESS), times_stopped(agents, PRESS)
    agents.agent(PRESS).set_pace(SLOW)
    deployment_id = agents.deploy(release, PRESS)
    agents.wait_for_part(deployment_id, PRESS, "downloading")
    assert agents.why(PRESS)["code"] == "in-progress"

    agents.api.call("POST", f"/deployments/{deployment_id}/abort", json={"reason": "a test"})
    assert agents.part(deployment_id, PRESS)["status"] == "aborted"
    assert agents.why(PRESS)["code"] == "aborted"
    wait_until(lambda: times_stopped(agents, PRESS) > stopped, PATIENCE_S, "the order to reach the device")
    agents.agent(PRESS).set_pace(None)
    agents.release(f"{release}-next")
    following = agents.deploy(f"{release}-next", PRESS)
    assert agents.finished(following)["outcome"] == "success"
    reached = {row[0] for row in agents.rows("SELECT text FROM event WHERE deployment_id = ?", deployment_id)}
    assert "installing" not in reached
    assert agents.part(following, PRESS)["former_name"] == before
