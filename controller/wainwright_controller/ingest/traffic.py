"""What a batch of messages changes and answers.

The batch's devices and their parts are loaded once; then every message is applied in its order to the records in
memory, by the rules; the ledger writes what changed. Nothing is sent from here: the answers are returned, for after
the commit.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from msgspec import UNSET
from msgspec.structs import replace
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from wainwright_common.messages import (
    Ack,
    CheckIn,
    Inventory,
    LogLines,
    Message,
    Presence,
    Report,
    Verdict,
)
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind, Topic
from wainwright_controller.attribute_store import Source, put_attributes
from wainwright_controller.ingest.check_ins import NAME_MAX, MakeLink, take
from wainwright_controller.ingest.intake import Arrival
from wainwright_controller.ledger import Ledger
from wainwright_controller.records import Device, DeviceDeployment, DeviceState
from wainwright_controller.rows import DEVICE, LOG_LINE
from wainwright_controller.rules import presence as presence_rules
from wainwright_controller.rules.filters import Attributes
from wainwright_controller.rules.filters.attributes import scoped
from wainwright_controller.rules.filters.terms import Scope
from wainwright_controller.rules.reports import judge

LOG_LINES_MAX = 2_000  # lines of one attempt, 8 MB at most; beyond, a log is cut, so that no device can fill the store
SEEN_EVERY_S = 30.0  # `last_seen_at` of a device that only reports is at most this old: saves a write per message

_SET_INVENTORY = (
    update(DEVICE)
    .where(DEVICE.c.id == bindparam("key"))
    .values(attributes=bindparam("attributes"), inventory_digest=bindparam("digest"))
)
_SET_SEEN = update(DEVICE).where(DEVICE.c.id == bindparam("key")).values(last_seen_at=bindparam("seen"))

Answer = tuple[Topic, Message]


class Settings(NamedTuple):
    """What the traffic needs to know of the configuration."""

    check_in_interval_s: int
    auto_accept: bool
    pending_max: int


class Result(NamedTuple):
    """What to do after the commit: send the answers, and count what was refused, as (reason, device, text)."""

    answers: list[Answer]
    refused: list[tuple[str, str, str]]


class Traffic:
    """Applies batches; remembers nothing that matters between them."""

    def __init__(self, settings: Settings, make_link: MakeLink) -> None:
        self._settings = settings
        self._make_link = make_link
        self._random = random.Random()  # noqa: S311  spreads retries, hides nothing
        self._seen: dict[str, float] = {}

    def apply(self, ledger: Ledger, arrivals: Sequence[Arrival]) -> Result:
        """Apply a batch to the ledger, in order."""
        return _Batch(self, ledger).apply(arrivals)

    def is_seen_due(self, device_id: str, now: float) -> bool:
        """Say whether it is time to write again when a device was last heard of."""
        if 0 <= now - self._seen.get(device_id, 0.0) < SEEN_EVERY_S:
            return False
        if len(self._seen) > self._settings.pending_max:
            self._seen.clear()
        self._seen[device_id] = now
        return True


class _Batch:
    """One batch on its way into one ledger."""

    def __init__(self, traffic: Traffic, ledger: Ledger) -> None:
        self._settings = traffic._settings  # noqa: SLF001  two halves of one module
        self._make_link = traffic._make_link  # noqa: SLF001  as above
        self._refused: list[tuple[str, str, str]] = []
        self._random = traffic._random  # noqa: SLF001  as above
        self._is_seen_due = traffic.is_seen_due
        self._ledger = ledger
        self._answers: list[Answer] = []
        self._acks: dict[tuple[str, str, int, Verdict], Ack] = {}
        self._inventories: dict[str, dict[str, object]] = {}
        self._attributes: dict[str, Attributes] = {}
        self._seen: dict[str, dict[str, object]] = {}
        self._lines: dict[tuple[str, str, int, int], dict[str, object]] = {}

    def apply(self, arrivals: Sequence[Arrival]) -> Result:
        self._load(arrivals)
        for arrival in arrivals:
            match arrival.message:
                case Report() as report:
                    self._report(arrival.device, report)
                case CheckIn() as check_in:
                    self._check_in(arrival.device, check_in)
                case Presence() as presence:
                    self._presence(arrival.device, presence, is_retained=arrival.is_retained)
                case Inventory() as inventory:
                    self._inventory(arrival.device, inventory)
                case LogLines() as lines:
                    self._log(arrival.device, lines)
                case other:
                    raise TypeError(f"{type(other).__name__} was admitted on {arrival.kind}")
        self._flush()
        acks = ((Topic(key[0], Kind.ACK), ack) for key, ack in self._acks.items())
        return Result([*acks, *self._answers], self._refused)

    def _load(self, arrivals: Sequence[Arrival]) -> None:
        speakers = {a.device for a in arrivals if a.kind in {Kind.CHECK_IN, Kind.PRESENCE, Kind.INVENTORY}}
        askers = {a.device for a in arrivals if a.kind is Kind.CHECK_IN}
        told = {(a.message.deployment_id, a.device) for a in arrivals if isinstance(a.message, Report | LogLines)}
        self._ledger.load_devices(speakers | {a.device for a in arrivals if _is_success(a)})
        self._ledger.load_open_parts(askers | {device for _, device in told})
        self._ledger.load_parts(told)
        self._ledger.load_joinable({a.device for a in arrivals if a.kind in {Kind.CHECK_IN, Kind.INVENTORY}})
        known = len([1 for i in speakers if i in self._ledger.devices])
        self._room = 0 if known == len(speakers) else self._settings.pending_max - self._pending()

    def _pending(self) -> int:
        query = select(func.count()).select_from(DEVICE).where(DEVICE.c.state == DeviceState.PENDING)
        return self._ledger.connection.execute(query).scalar_one()

    def _device(self, device_id: str) -> Device | None:
        """Return the device, a new one when it is not known yet, None when there are too many of those."""
        known = self._ledger.devices.get(device_id)
        if known is not None:
            return known
        if self._room <= 0:
            self._refused.append(("too-many-pending", device_id, "no more unknown devices are remembered"))
            return None
        self._room -= 1
        state = DeviceState.ACCEPTED if self._settings.auto_accept else DeviceState.PENDING
        self._ledger.note("device", "heard of for the first time", "device", device_id=device_id)
        return Device(id=device_id, state=state, created_at=self._ledger.now)

    def _report(self, device_id: str, report: Report) -> None:
        ledger = self._ledger
        key = (report.deployment_id, device_id)
        before = ledger.parts.get(key)
        judgement = judge(
            before,
            report,
            ledger.deployments.get(report.deployment_id),
            now=ledger.now,
            jitter=self._random.uniform(-1, 1),
        )
        part = judgement.part
        if part is not None and part is not before:
            ledger.put_part(part)
            if part.status is DeviceStatus.SUCCESS:
                self._runs(part, report)
        if judgement.verdict is not Verdict.ACCEPTED:
            self._refused.append((f"report-{judgement.verdict}", device_id, ""))
        ack_key = (device_id, report.deployment_id, report.attempt, judgement.verdict)
        covered = self._acks.get(ack_key)
        self._acks[ack_key] = Ack(
            deployment_id=report.deployment_id,
            attempt=report.attempt,
            seq=max(report.seq, covered.seq if covered else 1),
            verdict=judgement.verdict,
            status=part.status if part is not None else UNSET,
        )
        if self._is_seen_due(device_id, ledger.now):
            self._seen[device_id] = {"key": device_id, "seen": ledger.now}

    def _runs(self, part: DeviceDeployment, report: Report) -> None:
        """Put what a device runs after its success: what it tells at its next check-in may be a regression."""
        device = self._ledger.devices.get(part.device_id)
        if device is None:
            return
        installed = part.restore_name or self._ledger.deployments[part.deployment_id].artifact_name
        name = installed if report.artifact_name is UNSET else report.artifact_name[:NAME_MAX]
        provides = {**device.provides, "artifact_name": name}
        self._ledger.put_device(replace(device, artifact_name=name, provides=provides))

    def _check_in(self, device_id: str, check_in: CheckIn) -> None:
        device = self._device(device_id)
        if device is None:
            return
        reply = take(self._ledger, device, check_in, self._make_link, self._settings.check_in_interval_s)
        self._answers.append((Topic(device_id, Kind.REPLY), reply))

    def _presence(self, device_id: str, presence: Presence, *, is_retained: bool) -> None:
        device = self._device(device_id)
        if device is None:
            return
        known = presence_rules.told(device, presence, self._ledger.now, is_retained=is_retained)
        if known is not device:
            self._ledger.put_device(known)

    def _inventory(self, device_id: str, inventory: Inventory) -> None:
        device = self._device(device_id)
        if device is None:
            return
        self._ledger.put_device(replace(device, last_seen_at=self._ledger.now, inventory_digest=inventory.digest))
        self._attributes[device_id] = scoped(Scope.INVENTORY, inventory.attributes)
        self._inventories[device_id] = {
            "key": device_id,
            "digest": inventory.digest,
            "attributes": msgspec.json.encode(inventory.attributes).decode(),
        }
        self._ledger.learn(device_id, inventory.attributes)
        if self._ledger.joinable(self._ledger.devices[device_id]):
            self._ledger.wakes.append(device_id)  # with what it has told now, a deployment concerns it

    def _log(self, device_id: str, lines: LogLines) -> None:
        part = self._ledger.parts.get((lines.deployment_id, device_id))
        if part is None or lines.attempt > part.attempt:
            text = f"a log for attempt {lines.attempt} in {lines.deployment_id}, which it has no part in"
            self._refused.append(("unknown-deployment", device_id, text))
            return
        for number, line in enumerate(lines.lines, lines.first):
            if number >= LOG_LINES_MAX:
                break
            key = (lines.deployment_id, device_id, lines.attempt, number)
            self._lines[key] = {
                "deployment_id": lines.deployment_id,
                "device_id": device_id,
                "attempt": lines.attempt,
                "number": number,
                "at": line.at.timestamp(),
                "level": line.level,
                "text": line.text,
            }

    def _flush(self) -> None:
        ledger = self._ledger
        ledger.flush()
        if self._inventories:
            ledger.connection.execute(_SET_INVENTORY, list(self._inventories.values()))
            put_attributes(ledger.connection, Source.INVENTORY, self._attributes)
        if self._seen:
            ledger.connection.execute(_SET_SEEN, list(self._seen.values()))
        if self._lines:
            dialect = sqlite if ledger.connection.dialect.name == "sqlite" else postgresql
            ledger.connection.execute(dialect.insert(LOG_LINE).on_conflict_do_nothing(), list(self._lines.values()))


def _is_success(arrival: Arrival) -> bool:
    return isinstance(arrival.message, Report) and arrival.message.status is DeviceStatus.SUCCESS
