"""Three rollouts at once to a fleet that fails, falls silent, stutters and comes late, while the controller is killed.

What must hold is judged from both sides: in the store by looking all the time (tests/support/observer.py), and by what
each device saw and did. The moments of the kills are random; a failing test prints its seed.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest

from tests.support.mosquitto import Mosquitto
from tests.support.observer import Observer
from tests.support.system import System
from tests.support.wait import wait_until
from wainwright_common.messages import Action
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.operations import Operations, Order
from wainwright_controller.records import Deployment
from wainwright_controller.simulate import Fleet, FleetSpec, Memory
from wainwright_controller.simulate.behaviour import Fate, behaviours
from wainwright_controller.store import Store
from wainwright_controller.waker import Waker

INITIAL = "simulated-1.0"  # not in the store: who runs it before the bad release cannot be given it back
TYPES = ("press", "lathe", "press", "lathe", "press", "lathe", "press", "lathe", "press", "saw")
NORTH = 'inventory.site = "north"'


class Part(NamedTuple):
    """A device's part in a deployment, as the store has it at the end."""

    deployment_id: str
    status: str
    attempt: int
    restores: str | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Size:
    """How large a history is; times in seconds."""

    devices: int
    kills: int
    kills_within_s: float
    """The longest pause before a kill."""
    download_s: float
    silence_s: float
    """What the deployments take for silence: longer than a controller is away, whatever else the machine does."""
    check_in_s: float
    retries: int
    patience_s: float

    def where_a_start_takes(self, seconds: float) -> Size:
        """Return the size for a machine on which a controller's first start took so long: it is away for less."""
        return replace(self, silence_s=max(self.silence_s, 3 * seconds))

    @property
    def fleet(self) -> FleetSpec:
        """The fleet: every tenth fails, every twentieth falls silent, stutters, or swaps its reports."""
        return FleetSpec(
            devices=self.devices,
            device_types=TYPES,
            artifact_name=INITIAL,
            attributes={"site": ("north", "south")},
            download_s=self.download_s,
            install_s=0.5,
            failing=0.10,
            fail_codes=("no-space", "install-failed"),
            silent=0.05,
            duplicated=0.05,
            reordered=0.05,
            late=0.10,
            late_s=self.download_s * 3,
            resend_s=2.0,
            check_in_s=self.check_in_s,
            connects_per_s=200,
        )


SHORT = Size(
    devices=60,
    kills=1,
    kills_within_s=3.0,
    download_s=0.8,
    silence_s=6.0,
    check_in_s=1.0,
    retries=0,
    patience_s=200.0,
)
LONG = Size(
    devices=2000,
    kills=5,
    kills_within_s=20.0,
    download_s=20.0,
    silence_s=60.0,
    check_in_s=15.0,
    retries=1,
    patience_s=900.0,
)


@contextmanager
def office(system: System) -> Iterator[Operations]:
    """Give the operations of a person, who works on the store while the controller lives or does not."""
    store = Store(f"sqlite:///{system.stage.folder / 'controller' / 'wainwright.db'}")
    try:
        yield Operations(store, Bulletin(), Waker(lambda _topic, _command: None))  # devices hear of it as they ask
    finally:
        store.close()


def kill_now_and_then(system: System, size: Size, seed: int) -> None:
    """Kill the controller at random moments, and start it again."""
    chance = random.Random(seed)
    for _ in range(size.kills):
        time.sleep(chance.uniform(0.2, size.kills_within_s))
        system.kill_controller()
        system.start_controller()


@pytest.mark.parametrize(
    "size",
    [
        pytest.param(SHORT, id="60-devices", marks=pytest.mark.timeout(400)),
        pytest.param(LONG, id="2000-devices", marks=[pytest.mark.long, pytest.mark.timeout(1800)]),
    ],
)
def test_overlapping_rollouts_keep_their_rules_whatever_devices_do_and_whenever_the_controller_dies(
    mosquitto: Mosquitto, tmp_path: Path, size: Size
) -> None:
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    began = time.monotonic()
    with System(tmp_path, mosquitto.url, auto_accept=True) as system, office(system) as operations:
        size = size.where_a_start_takes(time.monotonic() - began)
        for name in ("one", "two"):
            system.release(name, "press", "lathe", size=2000)
        system.release("three", "press", "lathe", "saw", size=2000)
        with (
            Fleet(size.fleet, system.address) as fleet,
            Observer(system.stage.folder / "controller" / "wainwright.db") as observer,
        ):
            wait_for_inventories(system, size)
            static, dynamic, canary = roll_out(operations, size)
            with ThreadPoolExecutor(1) as person:
                paused = person.submit(pause_for_a_moment, system, operations, static, size)
                kill_now_and_then(system, size, seed)  # here: a process ends with the thread that started it
                paused.result()
            for deployment in (static, dynamic, canary):
                system.finished(deployment.id, size.patience_s)
            wait_until(lambda: is_at_rest(system, fleet), size.patience_s, "the store to know what each device runs")
            said = sum(sum(device.messages.values()) for device in fleet.devices.values())
            offers = sum(device.offers for device in fleet.devices.values())
        judge(system, fleet, size, (static, dynamic, canary))
        print(
            f"{size.devices} devices, {size.kills} kills, {said} messages, {offers} offers,"
            f" {observer.looks} looks, {time.monotonic() - began:.0f} s"
        )


def wait_for_inventories(system: System, size: Size) -> None:
    """Wait until the store knows the site of every device that does not come late."""
    present = {b.id for b in behaviours(size.fleet) if b.comes_after_s == 0}
    query = "SELECT id FROM device WHERE attributes LIKE '%north%' OR attributes LIKE '%south%'"
    wait_until(
        lambda: present <= {row[0] for row in system.rows(query)}, size.patience_s, f"{len(present)} inventories"
    )


def roll_out(operations: Operations, size: Size) -> tuple[Deployment, Deployment, Deployment]:
    """Order a rolling one to all, one to whoever comes in the north, and a canary that is not to survive."""

    def order(release: str, **fields: object) -> Deployment:
        words = {"release": release, "in_progress_timeout_s": size.silence_s, "retries": size.retries}
        return operations.create_deployment(msgspec.convert(words | fields, Order), "olga")

    static = order("one", all_devices=True, phases=[{"percent": 25}, {}], strategy="rolling")
    places = size.devices * 2 // 5  # of the half that is in the north
    dynamic = order("two", where=NORTH, max_devices=places, pace={"concurrency": size.devices // 6})
    limit = {"percent": 5, "min_sample": size.devices // 5, "action": "rollback"}
    phases = [{"percent": 50}, {"opens": "approval"}]
    canary = order("three", all_devices=True, phases=phases, limits=[limit], strategy="canary")
    return static, dynamic, canary


def pause_for_a_moment(system: System, operations: Operations, deployment: Deployment, size: Size) -> None:
    """Pause a deployment once it has begun, and resume it after the devices have had time to ask."""
    query = "SELECT count(*) FROM device_deployment WHERE deployment_id = ? AND offered"
    wait_until(lambda: system.rows(query, deployment.id)[0][0], size.patience_s, "the first offer")
    operations.pause(deployment.id, "olga")
    time.sleep(2 * size.check_in_s)  # the time is the point: nobody who asks in it may be offered anything
    operations.resume(deployment.id, "olga")


def is_at_rest(system: System, fleet: Fleet) -> bool:
    """Say whether nothing is on its way, and the store names the release that each device runs."""
    standing = fleet.standing()
    if standing.unacknowledged or standing.under_way or not all(d.replies for d in fleet.devices.values()):
        return False
    known = dict(system.rows("SELECT id, artifact_name FROM device"))
    return known == {device_id: memory.artifact_name for device_id, memory in fleet.memories.items()}


def judge(system: System, fleet: Fleet, size: Size, deployments: tuple[Deployment, Deployment, Deployment]) -> None:
    """Hold what each device saw and did against what the store says of it."""
    static, dynamic, canary = deployments
    query = "SELECT id, artifact_name, outcome, rolls_back, device_count FROM deployment ORDER BY sequence"
    rows = system.rows(query)
    ids = [row[0] for row in rows]
    releases = {row[0]: row[1] for row in rows}
    (rollback,) = (row[0] for row in rows if row[3] == canary.id)
    outcomes = {row[0]: row[2] for row in rows}
    assert (len(rows), outcomes[canary.id]) == (4, "rolled-back")
    assert {row[0]: row[4] for row in rows}[dynamic.id] == size.devices * 2 // 5

    parts: dict[str, list[Part]] = {device_id: [] for device_id in fleet.ids}
    query = """
        SELECT device_id, deployment_id, status, attempt, restore_name, error_code
        FROM device_deployment ORDER BY sequence
    """
    for device_id, *fields in system.rows(query):
        parts[device_id].append(Part(*fields))
    assert fleet.installed_more_than_once() == []
    for device_id, memory in fleet.memories.items():
        judge_device(device_id, memory, parts[device_id], ids, releases, rollback)
    judge_fates(size, static, parts)
    judge_rollback(fleet, canary, rollback, parts)


def judge_device(
    device_id: str, memory: Memory, parts: list[Part], ids: list[str], releases: dict[str, str], rollback: str
) -> None:
    """Hold that a device was offered things in order, that its outcomes are true, and that it runs what they imply."""
    order = [ids.index(taken.deployment_id) for taken in memory.taken]
    assert order == sorted(order), f"{device_id} took {memory.taken}"
    runs = INITIAL
    for part in parts:
        attempts = [taken.attempt for taken in memory.taken if taken.deployment_id == part.deployment_id]
        assert attempts == sorted(set(attempts)), f"{device_id} began an attempt twice: {memory.taken}"
        last = (part.deployment_id, part.attempt)
        installed = [a for a in attempts if memory.installed[part.deployment_id, a]]
        context = f"{device_id}: {part} and {memory.taken}"
        match part.status:
            case "success":
                assert installed == [part.attempt], context
                assert memory.outcomes[last] is DeviceStatus.SUCCESS, context
                runs = part.restores or releases[part.deployment_id]
            case "failure":
                assert installed == [], context
                told = DeviceStatus.ABORTED if part.error == "timeout" else DeviceStatus.FAILURE
                assert memory.outcomes[last] is told, context
            case "aborted":  # one that commits before it hears of that runs it, until the rollback is through
                runs = releases[part.deployment_id] if installed else runs
            case "already-installed" | "noartifact":
                assert attempts == [], context
            case other:
                raise AssertionError(f"{device_id} ended as {other}: {context}")
        actions = {taken.action for taken in memory.taken if taken.deployment_id == part.deployment_id}
        assert actions <= {Action.RESTORE if part.deployment_id == rollback else Action.INSTALL}, context
    assert memory.artifact_name == runs, f"{device_id} runs {memory.artifact_name}: {parts}"


def judge_fates(size: Size, deployment: Deployment, parts: dict[str, list[Part]]) -> None:
    """Hold that exactly those failed that were told to, with their codes: nobody else was lost, or taken for silent."""
    expected: Counter[tuple[str, str | None]] = Counter()
    found: Counter[tuple[str, str | None]] = Counter()
    for device in behaviours(size.fleet):
        part = next((p for p in parts[device.id] if p.deployment_id == deployment.id), None)
        if part is None:
            assert device.comes_after_s > 0, f"{device.id} was there, and has no part in {deployment.name}"
            continue
        ends = {
            Fate.FAIL: ("failure", device.fail_code),
            Fate.SILENT: ("failure", "timeout"),
            Fate.SUCCEED: ("success", None),
        }
        end = ("noartifact", None) if device.device_type == "saw" else ends[device.fate]
        expected[end] += 1
        found[part.status, part.error] += 1
    assert found == expected


def judge_rollback(fleet: Fleet, undone: Deployment, rollback: str, parts: dict[str, list[Part]]) -> None:
    """Hold that the bad release is gone from each device but those that the rollback lists; there are some of both."""
    mine = {i: p for i, all_parts in parts.items() for p in all_parts if p.deployment_id == rollback}
    listed = {device_id for device_id, part in mine.items() if part.status == "noartifact"}
    left = {device_id for device_id, memory in fleet.memories.items() if memory.artifact_name == "three"}
    assert left <= listed, f"still on the bad release, and not listed: {left - listed}"
    restored = {device_id for device_id, part in mine.items() if part.status == "success"}
    print(f"restored {len(restored)}, listed {len(listed)} of which {len(left)} run it; parts {len(mine)}")
    assert restored, "no device had to be restored"
    assert left, "no device could not be restored"
    for device_id in restored:
        memory = fleet.memories[device_id]
        (bad,) = (t for t in memory.taken if t.deployment_id == undone.id)
        assert memory.artifact_name == bad.before, f"{device_id} had {bad.before}, and was given {memory.artifact_name}"
