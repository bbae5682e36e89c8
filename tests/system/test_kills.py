"""Whatever is killed, whenever: every device ends once, is counted once, and installs once.

The long variants kill twenty times, the short ones three times. The moments are random; a failing test prints its seed.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.mosquitto import Mosquitto
from tests.support.system import System
from tests.support.wait import wait_until
from wainwright_controller.simulate import Fleet, FleetSpec

DEVICES = 200
AGENTS = 8
LONG = pytest.param(20, marks=[pytest.mark.long, pytest.mark.timeout(900)])
PATIENCE_S = 300.0


def rollout_with_kills(system: System, kills: int, kill: Callable[[], None], seed: int) -> None:
    """Roll out to a simulated fleet in two phases, kill at random moments of it, and check what came of it."""
    chance = random.Random(seed)
    spec = FleetSpec(
        devices=DEVICES,
        device_types=("press", "lathe"),
        download_s=1.2 * kills / 2,  # so that the kills are spread over the rollout
        install_s=0.5,
        failing=0.05,
        fail_codes=("no-space",),  # final: without a pause for the next attempt
        duplicated=0.05,
        reordered=0.05,
        resend_s=1.0,
        check_in_s=3.0,
        connects_per_s=400,
    )
    system.release("next", size=2000)
    with Fleet(spec, system.address) as fleet:
        wait_until(lambda: all(d.replies for d in fleet.devices.values()), PATIENCE_S, "all devices to check in")
        deployment_id = system.deploy("next", phases=[{"percent": 10}, {}])
        for _ in range(kills):
            time.sleep(chance.uniform(0.2, 1.5))
            kill()
        deployment = system.finished(deployment_id, PATIENCE_S)
        wait_until(lambda: not fleet.standing().unacknowledged, PATIENCE_S, "all reports to be acknowledged")

        failing = round(spec.failing * DEVICES)
        assert deployment["counts"] == {"success": DEVICES - failing, "failure": failing}
        system.assert_exact(deployment_id, fleet.ids)
        assert fleet.installed_more_than_once() == []
        installed = [sum(memory.installed.values()) for memory in fleet.memories.values()]
        assert (installed.count(1), installed.count(0)) == (DEVICES - failing, failing)


@pytest.mark.parametrize("kills", [1, LONG])
def test_a_controller_that_is_killed_at_any_moment_forgets_nothing_and_repeats_nothing(
    mosquitto: Mosquitto, tmp_path: Path, kills: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    with System(tmp_path, mosquitto.url, auto_accept=True) as system:

        def kill() -> None:
            system.kill_controller()
            system.start_controller()

        rollout_with_kills(system, kills, kill, seed)


@pytest.mark.parametrize("kills", [1, LONG])
def test_a_broker_that_is_killed_at_any_moment_costs_a_delay_and_nothing_else(
    own_mosquitto: Mosquitto, tmp_path: Path, kills: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    with System(tmp_path, own_mosquitto.url, auto_accept=True) as system:

        def kill() -> None:
            own_mosquitto.kill()
            own_mosquitto.start()

        rollout_with_kills(system, kills, kill, seed)


@pytest.mark.parametrize("kills", [1, LONG])
def test_agents_that_are_killed_at_any_moment_end_each_update_once(
    mosquitto: Mosquitto, tmp_path: Path, kills: int
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    with System(tmp_path, mosquitto.url, agents=AGENTS, auto_accept=True) as system:
        system.start_agents()
        ids = [device.id for device in system.stage.devices]
        for device in system.stage.devices:
            device.set_pace(0.1)
        deployments = []
        for number in range(max(1, kills // 5)):
            system.release(f"release-{number}", size=1000 * 1000)
            deployments.append(system.deploy(f"release-{number}", retries=2))
        for _ in range(kills):
            time.sleep(chance.uniform(0.1, 1.2))
            victim = chance.choice(ids)
            system.processes.kill(victim)
            system.start_agent_without_waiting(victim)

        for number, deployment_id in enumerate(deployments):
            deployment = system.finished(deployment_id, PATIENCE_S)
            assert deployment["counts"] == {"success": AGENTS}, f"release-{number}"
            system.assert_exact(deployment_id, ids)
            for device_id, part in system.api.parts(deployment_id).items():
                device = system.agent(device_id)
                times = device.commits.count(f"release-{number} for {device.type}")
                assert 1 <= times <= part["attempt"], f"{device_id} committed release-{number} {times} times"
        last = f"release-{len(deployments) - 1}"
        assert {device_id: system.runs(device_id) for device_id in ids} == dict.fromkeys(ids, last)
