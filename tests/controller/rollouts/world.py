"""A controller without broker and threads, on a clock that moves when a test says so, and devices made of messages.

Everything between the message and the store is the real thing. What is sent to devices is written down.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import msgspec
from msgspec import UNSET

from tests.controller.conftest import make_artifact
from wainwright_common.messages import (
    Ack,
    Action,
    Artifact,
    Attributes,
    CheckIn,
    CheckInReason,
    CommandName,
    Inventory,
    Message,
    Offer,
    Presence,
    Reply,
    Report,
    inventory_digest,
)
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind
from wainwright_controller import records
from wainwright_controller.api.models import DeploymentOut
from wainwright_controller.api.views import PARTS, deployment_out, part_out, undoing_of
from wainwright_controller.bulletin import Bulletin
from wainwright_controller.hearing import Hearing
from wainwright_controller.ingest.intake import Arrival
from wainwright_controller.ingest.traffic import Settings, Traffic
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations import Operations, Order
from wainwright_controller.operations.witness import Witness
from wainwright_controller.records import Deployment, DeviceDeployment, Event, Tally
from wainwright_controller.rows import DEPLOYMENT, EVENT, PART, from_row
from wainwright_controller.rules.actions import Act, Refused
from wainwright_controller.store import Store
from wainwright_controller.ticker import Ticker
from wainwright_controller.timeline import Keep
from wainwright_controller.waker import Waker

START = 1_000_000.0
FIVE = [f"d{i}" for i in range(5)]
NOBODY = "no-deployment"  # why a device that nothing concerns is offered nothing


class World:
    """See the module; `now` is in seconds since the epoch."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.now = START
        self.sent: list[tuple[str, CommandName]] = []
        self.waker = _Listening(self.sent)
        clock: Callable[[], float] = lambda: self.now  # noqa: E731  it is handed to two
        self.operations = Operations(store, Bulletin(), self.waker, clock=clock)
        self.hearing = Hearing(clock=clock)
        keep = Keep(age_s=1e9, lines_max=1_000_000)
        self.ticker = Ticker(store, self.waker, Bulletin(), keep, clock=clock, hearing=self.hearing)
        settings = Settings(check_in_interval_s=1800, auto_accept=True, pending_max=10_000)
        self.traffic = Traffic(settings, _link)
        for thrower in (self.traffic, self.ticker):
            thrower._random.seed(0)

    def release(self, name: str) -> None:
        """Store a release with one artifact."""
        self.operations.add_artifact(make_artifact(name, f"a-{name}"), "test")

    def tell(self, *messages: tuple[str, Message]) -> list[tuple[str, Message]]:
        """Have the controller take (device, message) in one batch; returns its answers in the same form."""
        kinds = {CheckIn: Kind.CHECK_IN, Report: Kind.REPORT, Presence: Kind.PRESENCE, Inventory: Kind.INVENTORY}
        arrivals = [Arrival(device, kinds[type(m)], m, is_retained=False) for device, m in messages]
        with self.store.write() as connection:
            ledger = Ledger(connection, self.now)
            result = self.traffic.apply(ledger, arrivals)
        self.waker.deliver(ledger)
        return [(topic.device, message) for topic, message in result.answers]

    def pass_time(self, seconds: float) -> None:
        """Let time pass, and the clock's work be done."""
        self.now += seconds
        while self.ticker.tick():
            pass

    def set_clock(self, seconds: float) -> None:
        """Have the clock set by so much, or nobody be there for as long: from here both look alike."""
        self.now += seconds
        self.hearing.beat()
        self.pass_time(0)

    def create(self, release: str, **order: object) -> Deployment:
        """Make a deployment as the operator `olga`."""
        return self.operations.create_deployment(self.order(release, **order), "olga")

    def order(self, release: str, **order: object) -> Order:
        return msgspec.convert({"release": release} | order, Order)

    def deployment(self, deployment_id: str) -> Deployment:
        with self.store.read() as connection:
            row = connection.execute(DEPLOYMENT.select().where(DEPLOYMENT.c.id == deployment_id)).mappings().one()
            return from_row(Deployment, row)

    def shown(self, deployment_id: str) -> DeploymentOut:
        """Return what the API shows of a deployment."""
        deployment = self.deployment(deployment_id)
        with self.store.read() as connection:
            return deployment_out(connection, deployment, self.now)

    def refused(self, deployment_id: str) -> dict[Act, tuple[str, str]]:
        """Have every action tried, and taken back; returns the code and the text of those that are refused."""
        trial = _Trial(self.store, Bulletin(), self.waker, clock=lambda: self.now)
        found = {}
        for act in Act:
            try:
                getattr(Operations, act.value)(trial, deployment_id, "anton")
            except Refused as refused:
                found[act] = (refused.code, str(refused))
            except _TakenBackError:
                pass
        return found

    def parts(self, deployment_id: str) -> dict[str, DeviceDeployment]:
        with self.store.read() as connection:
            rows = connection.execute(PART.select().where(PART.c.deployment_id == deployment_id)).mappings()
            return {row["device_id"]: from_row(DeviceDeployment, row) for row in rows}

    def statuses(self, deployment_id: str) -> dict[str, str]:
        return {device: part.status.value for device, part in self.parts(deployment_id).items()}

    def lines(self, deployment_id: str) -> list[Event]:
        """Return a deployment's timeline."""
        with self.store.read() as connection:
            rows = connection.execute(EVENT.select().where(EVENT.c.deployment_id == deployment_id).order_by(EVENT.c.id))
            return [from_row(Event, row) for row in rows.mappings()]

    def margo_states(self, deployment_id: str) -> dict[str, str]:
        """Return the Margo view of each of a deployment's devices."""
        with self.store.read() as connection:
            rows = connection.execute(PARTS.where(PART.c.deployment_id == deployment_id)).mappings().all()
            parts = [part_out(from_row(DeviceDeployment, row), undoing_of(row)) for row in rows]
        return {part.device_id: part.margo_state.value for part in parts}

    def tally(self, deployment_id: str) -> Tally:
        with self.store.read() as connection:
            return {key: n for key, n in Ledger(connection, self.now).tally(deployment_id).items() if n}


class Device:
    """A device made of messages: it does what it is told, or what a test makes it do instead."""

    def __init__(self, world: World, device_id: str, runs: str = "os-1", **inventory: str | int) -> None:
        self.world, self.id, self.runs = world, device_id, runs
        self.inventory: Attributes = dict(inventory)
        self.offer: Offer | None = None
        self.why = ""
        self.seq = 0

    def come(self) -> Device:
        """Connect, check in, and tell the inventory."""
        self.presence()
        self.check_in()
        attributes = self.inventory
        self.world.tell((self.id, Inventory(digest=inventory_digest(attributes), attributes=attributes)))
        return self

    def presence(self, *, online: bool = True) -> None:
        since = datetime.fromtimestamp(self.world.now, UTC)
        self.world.tell((self.id, Presence(online=online, since=since, agent_version="1")))

    def question(self) -> CheckIn:
        return CheckIn(
            id="c",
            reason=CheckInReason.TIMER,
            device_type="pi4",
            provides={"artifact_name": self.runs},
            boot_id="b",
            agent_version="1",
            inventory_digest=inventory_digest(self.inventory),
        )

    def check_in(self) -> Offer | None:
        """Ask; keeps the offer, and the code of the why."""
        for _, answer in self.world.tell((self.id, self.question())):
            self.take(answer)
        return self.offer

    def take(self, answer: Message) -> None:
        if isinstance(answer, Reply):
            before = self.offer
            self.offer = None if answer.offer is UNSET else answer.offer
            self.why = "" if answer.why is UNSET else str(answer.why.code)
            same = before and self.offer and before.deployment_id == self.offer.deployment_id
            if not (same and before and self.offer and before.attempt == self.offer.attempt):
                self.seq = 0

    def says(self, status: str, code: str = "install-failed") -> Report:
        assert self.offer is not None
        self.seq += 1
        return msgspec.convert(
            {
                "deployment_id": self.offer.deployment_id,
                "attempt": self.offer.attempt,
                "seq": self.seq,
                "status": status,
                "boot_id": "b",
                "at": "2026-01-01T00:00:00Z",
            }
            | ({"error": {"code": code, "text": "as the test wants"}} if status == "failure" else {}),
            Report,
        )

    def report(self, status: str, code: str = "install-failed") -> Ack:
        """Tell a status of what was offered last; a success changes what the device runs."""
        report = self.says(status, code)
        if status == DeviceStatus.SUCCESS:
            assert self.offer is not None
            self.runs = self.offer.artifact.name
        ((_, ack),) = self.world.tell((self.id, report))
        assert isinstance(ack, Ack)
        return ack

    def update(self, status: str = "success", code: str = "install-failed") -> str:
        """Check in, and bring what is offered to an end; returns what the device was offered, or why nothing."""
        if self.check_in() is None:
            return self.why
        assert self.offer is not None
        name = self.offer.artifact.name
        self.report("downloading")
        self.report(status, code)
        return f"{'restore ' if self.offer.action is Action.RESTORE else ''}{name}"


def fleet(world: World, *ids: str) -> list[Device]:
    """Return devices that have come: these, or five."""
    return [Device(world, i).come() for i in ids or FIVE]


class _TakenBackError(Exception):
    """Ends a trial's transaction, which so changes nothing."""


class _Trial(Operations):
    """Operations that end before they are stored."""

    @contextmanager
    def _transaction(self) -> Iterator[Witness]:
        with super()._transaction() as ledger:
            yield ledger
            raise _TakenBackError


class _Listening(Waker):
    """A waker that sends at once, in the order of its rules, without a thread."""

    def __init__(self, sent: list[tuple[str, CommandName]]) -> None:
        super().__init__(lambda topic, command: sent.append((topic.device, command.name)))

    def deliver(self, ledger: Ledger) -> None:
        super().deliver(ledger)
        self.drain()

    def wake(self, device_ids: object, deployment_id: str = "") -> None:
        super().wake(device_ids, deployment_id)  # type: ignore[arg-type]
        self.drain()

    def drain(self) -> None:
        while self.send_next():
            pass


def _link(artifact: records.Artifact, now: float) -> Artifact:
    expires = datetime.fromtimestamp(now + 3600, UTC)
    return Artifact(
        id=artifact.id, name=artifact.name, size=artifact.size, sha256=artifact.sha256, uri="http://x", expires=expires
    )
