"""What operators do, on a real store: what it changes, what it refuses, and that a refusal changes nothing."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from msgspec.structs import replace
from pytest_mock import MockerFixture
from sqlalchemy import func, select, update

from tests.controller.conftest import make_artifact
from tests.support.wait import wait_until
from wainwright_common.errors import BadTopic, WainwrightError
from wainwright_common.messages import CommandName
from wainwright_common.statuses import DeploymentStatus, DeviceStatus, Hold, Outcome
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations import NotFound, Operations, Order
from wainwright_controller.records import Deployment, DeviceState, Opens
from wainwright_controller.rows import ARTIFACT, DEPLOYMENT, DEVICE, EVENT, MEMBER, PART, TALLY
from wainwright_controller.rules.actions import Refused
from wainwright_controller.rules.phases import BadPlan, PhaseSpec
from wainwright_controller.store import Store
from wainwright_controller.ticker import Ticker
from wainwright_controller.timeline import Keep
from wainwright_controller.waker import Waker

IDS = [f"d{i:02}" for i in range(10)]


class Fleet:
    """Operations on a store, with what was sent to devices written down by a link that only listens."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = 1_000.0
        self.sent: list[tuple[str, CommandName]] = []
        self.waker = Waker(lambda topic, command: self.sent.append((topic.device, command.name)), rate_per_s=1e9)
        self.waker.start()
        self.operations = Operations(store, Bulletin(), self.waker, clock=lambda: self.now)
        keep = Keep(age_s=86_400.0, lines_max=10)
        self.ticker = Ticker(store, self.waker, Bulletin(), keep, clock=lambda: self.now)
        self.operations.preauthorize(IDS, "test")
        self.operations.add_artifact(make_artifact(), "test")
        self.woken()

    def woken(self) -> list[str]:
        """Return the devices that were asked to check in since the last call."""
        wait_until(lambda: self.waker.waiting == 0, what="the waker to send everything")
        found, self.sent[:] = sorted(d for d, name in self.sent if name is CommandName.CHECK_IN), []
        return found

    def create(self, phases: Sequence[PhaseSpec] = (), **changes: object) -> Deployment:
        order = {"release": "panel-2", "all_devices": True, "phases": list(phases)} | changes
        return self.operations.create_deployment(Order(**order), "test")  # type: ignore[arg-type]  # a test's changes

    def report(self, deployment_id: str, device_id: str, status: DeviceStatus) -> None:
        """Have a part stand somewhere, as device traffic would."""
        with self.store.write() as connection:
            ledger = Ledger(connection, self.now)
            ledger.load_parts([(deployment_id, device_id)])
            finished = self.now if status is DeviceStatus.SUCCESS else None
            part = replace(ledger.parts[deployment_id, device_id], status=status, offered=True, finished_at=finished)
            ledger.put_part(part)
            ledger.flush()

    def deployment(self, deployment_id: str) -> dict[str, object]:
        with self.store.read() as connection:
            return dict(connection.execute(select(DEPLOYMENT).where(DEPLOYMENT.c.id == deployment_id)).mappings().one())

    def count(self, table: object) -> int:
        with self.store.read() as connection:
            return connection.execute(select(func.count()).select_from(table)).scalar_one()  # type: ignore[arg-type]


@pytest.fixture
def fleet(store: Store) -> Fleet:
    return Fleet(store)


def test_a_canary_wakes_its_devices_only_and_the_rest_when_promoted(fleet: Fleet) -> None:
    made = fleet.create([PhaseSpec(percent=20), PhaseSpec(opens=Opens.APPROVAL)])
    assert fleet.woken() == IDS[:2]
    assert made.hold is None

    for device in IDS[:2]:
        fleet.report(made.id, device, DeviceStatus.SUCCESS)
    assert fleet.deployment(made.id)["hold"] == Hold.AWAITING_PROMOTION
    assert fleet.woken() == []

    fleet.operations.promote(made.id, "test", "looks good")
    assert fleet.woken() == IDS[2:]
    assert fleet.deployment(made.id)["hold"] is None


def test_a_canary_can_be_promoted_early_because_one_of_its_devices_may_be_away(fleet: Fleet) -> None:
    made = fleet.create([PhaseSpec(count=1), PhaseSpec(opens=Opens.APPROVAL)])

    fleet.operations.promote(made.id, "test")

    assert set(IDS[1:]) <= set(fleet.woken())


def test_a_manual_deployment_waits_for_its_start(fleet: Fleet) -> None:
    made = fleet.create(manual=True)
    assert made.hold is Hold.AWAITING_START
    assert fleet.woken() == []

    started = fleet.operations.start(made.id, "test")

    assert started.hold is None
    assert fleet.woken() == IDS
    with pytest.raises(Refused, match="does not wait"):
        fleet.operations.start(made.id, "test")


def test_a_scheduled_deployment_opens_at_its_time(fleet: Fleet) -> None:
    made = fleet.create([PhaseSpec(opens=Opens.AT, opens_at=fleet.now + 60)])
    assert made.hold is Hold.SCHEDULED
    assert not fleet.ticker.tick()
    assert fleet.woken() == []

    fleet.now += 60
    fleet.ticker.tick()

    assert fleet.woken() == IDS
    assert fleet.deployment(made.id)["hold"] is None


def test_the_clock_writes_nothing_when_nothing_is_due(fleet: Fleet) -> None:
    fleet.create([PhaseSpec(count=1), PhaseSpec(opens=Opens.APPROVAL)])
    before = fleet.count(EVENT)

    for _ in range(3):
        fleet.now += 1
        assert not fleet.ticker.tick()

    assert fleet.count(EVENT) == before


def test_a_soak_time_passes_before_a_promotion_is_asked_for(fleet: Fleet) -> None:
    made = fleet.create([PhaseSpec(count=1, soak_s=30), PhaseSpec(opens=Opens.APPROVAL)])
    fleet.report(made.id, IDS[0], DeviceStatus.SUCCESS)
    assert fleet.deployment(made.id)["hold"] is None

    fleet.now += 30
    fleet.ticker.tick()

    assert fleet.deployment(made.id)["hold"] == Hold.AWAITING_PROMOTION


def test_an_abort_ends_every_part_and_keeps_what_has_finished(fleet: Fleet) -> None:
    made = fleet.create()
    fleet.report(made.id, "d00", DeviceStatus.SUCCESS)
    fleet.report(made.id, "d01", DeviceStatus.INSTALLING)

    aborted = fleet.operations.abort(made.id, "test", "wrong")

    assert (aborted.status, aborted.outcome) == (DeploymentStatus.FINISHED, Outcome.ABORTED)
    with fleet.store.read() as connection:
        tally = {row.status: row.n for row in connection.execute(select(TALLY).where(TALLY.c.n > 0))}
    assert tally == {"success": 1, "aborted": 9}
    fleet.woken()
    with pytest.raises(Refused) as caught:
        fleet.operations.abort(made.id, "test")
    assert caught.value.code == "deployment-finished"


def test_only_a_finished_deployment_can_be_deleted_and_all_of_it_goes(fleet: Fleet) -> None:
    made = fleet.create()
    with pytest.raises(Refused) as caught:
        fleet.operations.delete(made.id, "test")
    assert caught.value.code == "deployment-not-finished"

    fleet.operations.abort(made.id, "test")
    fleet.operations.delete(made.id, "test")

    assert [fleet.count(table) for table in (DEPLOYMENT, PART, TALLY)] == [0, 0, 0]


def test_a_static_group_is_frozen_when_the_deployment_is_made(fleet: Fleet) -> None:
    fleet.operations.create_group("north", IDS[:3], "test")
    made = fleet.create(all_devices=False, group="north")

    fleet.operations.add_to_group("north", [IDS[5]], "test")

    assert made.device_count == 3
    assert fleet.count(PART) == 3


def test_a_device_is_in_one_static_group_at_most(fleet: Fleet) -> None:
    fleet.operations.create_group("north", IDS[:3], "test")
    fleet.operations.create_group("south", IDS[2:5], "test")

    with fleet.store.read() as connection:
        groups = dict(connection.execute(select(MEMBER.c.device_id, MEMBER.c.group_name)).all())
    assert groups == {"d00": "north", "d01": "north", "d02": "south", "d03": "south", "d04": "south"}
    fleet.operations.remove_from_group("south", ["d02"], "test")
    fleet.operations.delete_group("south", "test")
    assert fleet.count(MEMBER) == 2


def test_the_order_of_the_given_devices_decides_who_is_the_canary(fleet: Fleet) -> None:
    fleet.create([PhaseSpec(count=2), PhaseSpec()], all_devices=False, devices=["d07", "d03", "d07", "d01"])

    assert fleet.woken() == ["d03", "d07"]
    with fleet.store.read() as connection:
        first = set(connection.execute(select(PART.c.device_id).where(PART.c.phase == 1)).scalars())
    assert first == {"d07", "d03"}


def test_a_device_that_waited_behind_an_aborted_deployment_is_woken_for_the_next(fleet: Fleet) -> None:
    first = fleet.create([PhaseSpec(count=1), PhaseSpec(opens=Opens.APPROVAL)])
    fleet.create(all_devices=False, devices=["d05", "d06"])
    fleet.woken()

    fleet.operations.abort(first.id, "test")

    assert fleet.woken() == ["d05", "d06"]


def test_a_rejected_device_holds_no_deployment_up(fleet: Fleet) -> None:
    made = fleet.create([PhaseSpec(count=2), PhaseSpec()], all_devices=False, devices=["d00", "d01", "d02"])
    fleet.report(made.id, "d01", DeviceStatus.SUCCESS)
    fleet.woken()

    fleet.operations.decide_devices(["d00"], DeviceState.REJECTED, "test")

    assert fleet.woken() == ["d00", "d02"]
    with fleet.store.read() as connection:
        statuses = dict(connection.execute(select(PART.c.device_id, PART.c.status)).all())
    assert statuses == {"d00": "aborted", "d01": "success", "d02": "pending"}
    assert fleet.deployment(made.id)["status"] != "finished"


def test_the_clock_survives_a_deployment_that_is_deleted_between_its_look_and_its_write(
    fleet: Fleet, mocker: MockerFixture
) -> None:
    made = fleet.create([PhaseSpec(opens=Opens.AT, opens_at=fleet.now + 1)])
    other = fleet.create(name="other", in_progress_timeout_s=1)
    fleet.report(other.id, "d00", DeviceStatus.INSTALLING)
    with fleet.store.write() as connection:
        connection.execute(update(PART).where(PART.c.device_id == "d00").values(deadline_at=fleet.now, updated_at=0))
    fleet.now += 5
    real = fleet.store.write

    def deleted_first() -> object:
        mocker.stop(patched)
        for deployment_id in (made.id, other.id):
            fleet.operations.abort(deployment_id, "test")
            fleet.operations.delete(deployment_id, "test")
        return real()

    patched = mocker.patch.object(fleet.store, "write", deleted_first)

    assert not fleet.ticker.tick()

    assert fleet.count(PART) == 0


def test_an_abort_is_sent_before_the_wakes_of_a_fleet() -> None:
    sent: list[CommandName] = []
    waker = Waker(lambda _, command: sent.append(command.name), rate_per_s=1e9)
    waker.wake(IDS)
    waker.command("d00", CommandName.ABORT, "x")

    waker.start()

    wait_until(lambda: len(sent) == len(IDS) + 1, what="all commands")
    assert sent[0] is CommandName.ABORT
    waker.stop()


def test_the_timeline_says_that_a_person_aborted_before_it_says_what_that_ended(fleet: Fleet) -> None:
    made = fleet.create()
    fleet.operations.abort(made.id, "test", "wrong")

    with fleet.store.read() as connection:
        texts = list(connection.execute(select(EVENT.c.text).order_by(EVENT.c.id)).scalars())
    assert texts.index("abort: wrong") < texts.index("aborted") < texts.index("finished: aborted")


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"release": "panel-9"}, NotFound, "No such release: panel-9"),
        ({"all_devices": False}, BadPlan, "exactly one"),
        ({"group": "north"}, BadPlan, "exactly one"),
        ({"all_devices": False, "group": "nowhere"}, NotFound, "No such group: nowhere"),
        ({"all_devices": False, "devices": ["d00", "ghost"]}, NotFound, "Not an accepted device: ghost"),
        ({"all_devices": False, "devices": []}, BadPlan, "no accepted device"),
        ({"phases": [PhaseSpec(), PhaseSpec()]}, BadPlan, "no size"),
    ],
)
def test_an_order_that_cannot_be_carried_out_is_refused_and_changes_nothing(
    fleet: Fleet, changes: dict[str, object], error: type[WainwrightError], words: str
) -> None:
    before = [fleet.count(table) for table in (DEPLOYMENT, PART, EVENT)]

    with pytest.raises(error, match=words):
        fleet.create(**changes)  # type: ignore[arg-type]  # rows of a table

    assert [fleet.count(table) for table in (DEPLOYMENT, PART, EVENT)] == before


def test_a_release_with_the_same_depends_is_stored_once(fleet: Fleet) -> None:
    with pytest.raises(Refused) as caught:
        fleet.operations.add_artifact(make_artifact(artifact_id="a2"), "test")

    assert caught.value.code == "artifact-exists"
    fleet.operations.add_artifact(make_artifact(artifact_id="a3", device_type="pi5"), "test")
    assert fleet.count(ARTIFACT) == 2


def test_a_release_that_is_being_deployed_cannot_be_deleted(fleet: Fleet) -> None:
    made = fleet.create()
    for delete in (
        lambda: fleet.operations.delete_artifact("a1", "test"),
        lambda: fleet.operations.delete_release("panel-2", "test"),
    ):
        with pytest.raises(Refused) as caught:
            delete()
        assert caught.value.code == "artifact-in-use"

    fleet.operations.abort(made.id, "test")
    assert [a.id for a in fleet.operations.delete_release("panel-2", "test")] == ["a1"]
    with pytest.raises(NotFound):
        fleet.operations.delete_artifact("a1", "test")


def test_deciding_about_an_unknown_device_is_refused_and_changes_no_other(fleet: Fleet) -> None:
    with pytest.raises(NotFound, match="ghost"):
        fleet.operations.decide_devices(["d00", "ghost"], DeviceState.REJECTED, "test")

    with fleet.store.read() as connection:
        states = set(connection.execute(select(DEVICE.c.state)).scalars())
    assert states == {"accepted"}
    with pytest.raises(BadTopic):
        fleet.operations.preauthorize(["not an id"], "test")


def test_deployments_are_numbered_in_the_order_in_which_they_are_made(fleet: Fleet) -> None:
    assert [fleet.create(name=f"n{i}").sequence for i in range(3)] == [1, 2, 3]


def test_operators_on_many_threads_leave_exact_counts(fleet: Fleet) -> None:
    made = [fleet.create(name=f"n{i}") for i in range(6)]
    errors: list[Exception] = []

    def work(number: int) -> None:
        try:
            fleet.operations.decommission(IDS[number], "test")
            fleet.operations.abort(made[number].id, "test")
        except Exception as error:  # noqa: BLE001  whatever it is, the test shows it
            errors.append(error)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert errors == []
    with fleet.store.read() as connection:
        key = (PART.c.deployment_id, PART.c.phase, PART.c.status)
        counted = {tuple(row) for row in connection.execute(select(*key, func.count()).group_by(*key))}
        tally = {tuple(row) for row in connection.execute(select(TALLY).where(TALLY.c.n != 0))}
    assert counted == tally
