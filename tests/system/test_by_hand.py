"""Updates one after another, by deployments and by hand, on real processes: A, B, A, and none inside another."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.support.mosquitto import Mosquitto
from tests.support.system import LONG_SIZE, PATIENCE_S, SOFTWARE_SIZE, System
from tests.support.wait import wait_until
from wainwright_controller.demo.api import Json

SLOW = 0.8  # seconds for 64 KiB: with LONG_SIZE longer than some commands take, however busy the machine is
PRESS = "press-01"


@pytest.fixture(scope="module")
def system(mosquitto: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One device that runs the release "first"."""
    with System(tmp_path_factory.mktemp("by-hand"), mosquitto.url, agents=1, auto_accept=True) as system:
        system.start_agents()
        system.release("first", "press")
        finished(system, system.deploy("first"))
        yield system
        system.agent(PRESS).set_pace(None)


def finished(system: System, deployment_id: str) -> Json:
    """Wait until a deployment is finished, and the device ready for the next command; returns the deployment."""
    ended = system.finished(deployment_id)
    system.wait_until_idle(PRESS)
    return ended


def wain(system: System, *words: str) -> tuple[int, str]:
    """Run a technician's command; return its exit code and all that it printed, data first."""
    command = [sys.executable, "-m", "wainwright_agent", "--config", str(system.agent(PRESS).config), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    return done.returncode, done.stdout + done.stderr


def install(system: System, release: str) -> tuple[int, str]:
    """Install a release's file by hand."""
    return wain(system, "install", str(system.stage.folder / f"{release}-press.mender"))


def history(system: System) -> list[str]:
    """Return what the operator sees of this device, newest first."""
    argv = [sys.executable, "-m", "wainwright_controller", "--controller", system.stage.url, "device", "history", PRESS]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines()[1:]


def test_from_a_to_b_and_back_to_a(system: System, release: str) -> None:
    a, b = f"{release}-a", f"{release}-b"
    before = len(system.agent(PRESS).commits)
    for name in (a, b):
        system.release(name, "press")
    for name in (a, b, a):
        deployment_id = system.deploy(name)
        assert finished(system, deployment_id)["counts"] == {"success": 1}, name
        assert system.runs(PRESS) == name
    commits = [commit.partition(" for ")[0] for commit in system.agent(PRESS).commits[before:]]
    assert commits == [a, b, a]
    assert wain(system, "show-artifact") == (0, f"{a}\n")
    assert system.why(PRESS)["code"] == "up-to-date"


def test_a_rollback_after_the_commit_is_refused_with_the_way_that_there_is(system: System, release: str) -> None:
    system.release(release, "press")
    former = system.runs(PRESS)
    finished(system, system.deploy(release))

    code, text = wain(system, "rollback")

    assert code == 5
    assert f"There is nothing to roll back: {release} is committed, and what ran before is not kept." in text
    assert "To have it again, install its artifact: wain install FILE" in text
    assert system.runs(PRESS) == release
    # And that way works, offline or not.
    assert install(system, former)[0] == 0
    assert wain(system, "commit")[0] == 0
    assert system.runs(PRESS) == former


def test_a_file_is_not_installed_while_a_deployment_is_under_way(system: System, release: str) -> None:
    other = f"{release}-other"
    for name, size in ((release, LONG_SIZE), (other, SOFTWARE_SIZE)):
        system.release(name, "press", size=size)
    system.agent(PRESS).set_pace(SLOW)
    deployment_id = system.deploy(release)
    system.wait_for_part(deployment_id, PRESS, "downloading")

    code, text = install(system, other)

    assert code == 4
    assert f"The update to {release} by a deployment is under way. To follow it: wain status --watch" in text
    for command in ("rollback", "commit", "resume"):
        code, text = wain(system, command)
        assert code == 4
        assert f"The update to {release} is the controller's. To stop it, have the operator abort it." in text
    system.agent(PRESS).set_pace(None)
    assert finished(system, deployment_id)["counts"] == {"success": 1}
    assert system.runs(PRESS) == release


def test_a_deployment_waits_until_an_update_by_hand_is_decided_about(system: System, release: str) -> None:
    later = f"{release}-later"
    for name, size in ((release, SOFTWARE_SIZE), (later, LONG_SIZE)):
        system.release(name, "press", size=size)
    former = system.runs(PRESS)
    assert install(system, release)[0] == 0
    deployment_id = system.deploy(later)

    code, text = wain(system, "check-in")
    assert code == 0
    assert "No update: The device is busy with another update, of a former deployment or by hand (busy)." in text
    assert system.part(deployment_id, PRESS)["status"] == "pending"
    code, text = install(system, later)
    assert code == 4
    assert f"The update to {release} is not finished. To keep it: wain commit. To go back: wain rollback" in text
    assert system.runs(PRESS) == release

    system.agent(PRESS).set_pace(SLOW)  # so that the deployment does not end while the command looks what became of it
    assert wain(system, "commit")[0] == 0
    system.agent(PRESS).set_pace(None)
    assert finished(system, deployment_id)["counts"] == {"success": 1}
    assert system.runs(PRESS) == later
    newest, before = history(system)[:2]
    assert later in newest
    assert before.endswith(f"{release} was installed in place of {former} by hand")


def test_an_update_by_hand_that_was_taken_back_leaves_no_trace_in_the_fleet(system: System, release: str) -> None:
    system.release(release, "press")
    former, known = system.runs(PRESS), len(history(system))
    assert install(system, release)[0] == 0
    assert system.runs(PRESS) == release

    code, text = wain(system, "rollback")

    assert (code, text.splitlines()[0]) == (0, f"Rolled back from {release}. The device runs {former}.")
    assert system.runs(PRESS) == former
    assert wain(system, "check-in")[0] == 0
    wait_until(lambda: system.api.devices()[PRESS]["artifact_name"] == former, PATIENCE_S, "the controller's view")
    assert len(history(system)) == known
