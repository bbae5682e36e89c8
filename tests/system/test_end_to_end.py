"""A real controller, real agents and a real Mosquitto: what operators and devices see of a deployment."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.mosquitto import Mosquitto
from tests.support.system import PATIENCE_S, System
from tests.support.wait import wait_until

FAST, SLOW = None, 0.3  # seconds for 64 KiB
PRESS, OTHER_PRESS, LATHE, NEWCOMER = "press-01", "press-02", "lathe-01", "lathe-02"


@pytest.fixture(scope="module")
def system(mosquitto: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system for all tests here: three devices are accepted and run, the fourth is the newcomers'."""
    with System(tmp_path_factory.mktemp("system"), mosquitto.url, agents=4) as system:
        system.start_agents(PRESS, OTHER_PRESS, LATHE)
        system.api.accept_all()
        system.release("first")
        system.finished(system.deploy("first"))
        yield system


@pytest.fixture(autouse=True)
def undone(system: System) -> Iterator[None]:
    """After each test no device is slow or rigged."""
    yield
    for device in system.stage.devices:
        device.set_pace(FAST)
        device.repair()


def test_a_release_reaches_devices_of_two_types_and_one_that_fails_rolls_back(system: System, release: str) -> None:
    system.release_by_mender_artifact(release, "press")
    system.release(release, "lathe")
    system.agent(OTHER_PRESS).rig()
    before = system.runs(OTHER_PRESS)
    deployment_id = system.deploy(release)

    deployment = system.finished(deployment_id)
    assert deployment["outcome"] == "partial"
    assert deployment["counts"] == {"success": 2, "failure": 1}
    assert [system.runs(PRESS), system.runs(LATHE), system.runs(OTHER_PRESS)] == [release, release, before]
    failed = system.part(deployment_id, OTHER_PRESS)
    assert failed["error"]["code"] == "install-failed"
    assert "does not start on this device" in failed["error"]["text"]
    assert not failed["inconsistent"]
    system.assert_exact(deployment_id, [PRESS, OTHER_PRESS, LATHE])
    assert system.why(OTHER_PRESS)["code"] == "failed"


def test_why_says_that_a_device_is_not_accepted_and_then_that_no_deployment_concerns_it(system: System) -> None:
    system.start_agents(NEWCOMER)
    assert system.why(NEWCOMER)["code"] == "not-accepted"
    system.api.accept_all()
    assert system.why(NEWCOMER)["code"] == "no-deployment"
    system.processes.stop(NEWCOMER)


def test_why_says_that_a_phase_is_closed_until_a_person_opens_it(system: System, release: str) -> None:
    system.release(release)
    phases = [{"count": 1}, {"opens": "approval"}]
    deployment_id = system.deploy(release, PRESS, LATHE, phases=phases)
    system.wait_for_part(deployment_id, PRESS, "success")
    assert system.wait_for_why(LATHE, "phase-closed")["deployment_id"] == deployment_id
    wait_until(lambda: system.api.deployment(deployment_id).get("hold") == "awaiting-promotion", PATIENCE_S, "the hold")
    system.api.promote(deployment_id, "looks well")
    assert system.finished(deployment_id)["outcome"] == "success"
    assert system.why(LATHE)["code"] == "up-to-date"


def test_why_says_that_an_update_is_under_way_and_an_abort_leaves_the_device_as_it_was(
    system: System, release: str
) -> None:
    system.release(release)
    before = system.runs(PRESS)
    system.agent(PRESS).set_pace(SLOW)
    deployment_id = system.deploy(release, PRESS)
    system.wait_for_part(deployment_id, PRESS, "downloading")
    assert system.why(PRESS)["code"] == "in-progress"

    system.api.call("POST", f"/deployments/{deployment_id}/abort", json={"reason": "a test"})
    assert system.part(deployment_id, PRESS)["status"] == "aborted"
    assert system.why(PRESS)["code"] == "aborted"
    system.agent(PRESS).set_pace(FAST)
    system.release(f"{release}-next")
    following = system.deploy(f"{release}-next", PRESS)
    assert system.finished(following)["outcome"] == "success"
    reached = {row[0] for row in system.rows("SELECT text FROM event WHERE deployment_id = ?", deployment_id)}
    assert "installing" not in reached
    assert system.part(following, PRESS)["former_name"] == before


def test_a_device_that_failed_waits_and_tries_again(system: System, release: str) -> None:
    system.release(release)
    system.agent(LATHE).rig()
    deployment_id = system.deploy(release, LATHE, retries=1)
    why = system.wait_for_why(LATHE, "retry-later")
    assert "install-failed" in why["text"]
    assert "next_attempt_at" in system.part(deployment_id, LATHE)
    system.agent(LATHE).repair()

    assert system.finished(deployment_id)["outcome"] == "success"
    part = system.part(deployment_id, LATHE)
    assert (part["status"], part["attempt"]) == ("success", 2)
    assert system.runs(LATHE) == release


def test_a_device_that_is_offline_gets_the_oldest_deployment_first_when_it_returns(
    system: System, release: str
) -> None:
    older, newer = f"{release}-older", f"{release}-newer"
    system.processes.stop(OTHER_PRESS)
    system.wait_for_devices([OTHER_PRESS], online=False)
    system.release(older)
    system.release(newer)
    first, second = system.deploy(older, OTHER_PRESS), system.deploy(newer, OTHER_PRESS)
    assert system.why(OTHER_PRESS)["code"] == "offline"

    system.start_agent_without_waiting(OTHER_PRESS)
    assert system.finished(second)["outcome"] == "success"
    assert system.finished(first)["outcome"] == "success"
    assert system.part(first, OTHER_PRESS)["finished_at"] <= system.part(second, OTHER_PRESS)["started_at"]
    assert system.runs(OTHER_PRESS) == newer


def test_a_release_that_runs_already_is_not_installed_again(system: System, release: str) -> None:
    system.release(release)
    system.finished(system.deploy(release, PRESS))
    again = system.deploy(release, PRESS)
    assert system.finished(again)["counts"] == {"already-installed": 1}
    assert system.why(PRESS)["code"] == "already-installed"


def test_a_release_without_an_artifact_for_a_device_leaves_it_alone(system: System, release: str) -> None:
    system.release(release, "press")
    deployment_id = system.deploy(release, LATHE)
    assert system.finished(deployment_id)["counts"] == {"noartifact": 1}
    assert system.why(LATHE)["code"] == "incompatible"


def test_a_device_that_dies_in_its_download_fails_by_the_time_limit(system: System, release: str) -> None:
    system.release(release)
    before = system.runs(PRESS)
    system.agent(PRESS).set_pace(SLOW)
    deployment_id = system.deploy(release, PRESS, in_progress_timeout_s=2.0)
    system.wait_for_part(deployment_id, PRESS, "downloading")
    system.processes.kill(PRESS)

    assert system.finished(deployment_id)["outcome"] == "failure"
    assert system.part(deployment_id, PRESS)["error"]["code"] == "timeout"
    system.agent(PRESS).set_pace(FAST)
    system.start_agents(PRESS)
    system.release(f"{release}-next")
    assert system.finished(system.deploy(f"{release}-next", PRESS))["outcome"] == "success"
    assert before != system.runs(PRESS) == f"{release}-next"


def test_an_operator_reads_the_log_of_a_success_and_of_a_failure_while_the_device_has_kept_it(
    system: System, release: str
) -> None:
    system.release(release)
    system.agent(LATHE).rig()
    deployment_id = system.deploy(release, PRESS, LATHE)
    system.finished(deployment_id)

    def log(device_id: str) -> str:
        lines = system.api.call("GET", f"/devices/{device_id}/logs/{deployment_id}?limit=500")["items"]
        assert [line["number"] for line in lines] == list(range(len(lines)))
        return "\n".join(line["text"] for line in lines)

    wait_until(lambda: "cleanup: success." in log(PRESS), PATIENCE_S, "the whole log of the press")
    wait_until(lambda: "cleanup: failure." in log(LATHE), PATIENCE_S, "the whole log of the lathe")
    assert "does not start on this device" in log(LATHE)
    assert "signature=" not in log(PRESS) + log(LATHE)

    argv = [sys.executable, "-m", "wainwright_controller", "--controller", system.stage.url]
    said = subprocess.run([*argv, "deployment", "logs", deployment_id], check=True, capture_output=True, text=True)
    assert f"Updating to {release}" in said.stdout
    assert "does not start on this device" in said.stdout
