"""One simulated device: connects for ever, checks in, carries updates out, and reports until it is acknowledged."""

from __future__ import annotations

import asyncio
import logging
import random
import uuid
from collections import Counter
from contextlib import suppress
from datetime import UTC, datetime

import aiomqtt
from msgspec import UNSET, UnsetType

from wainwright_common.codes import Code
from wainwright_common.errors import BadMessage, BadTopic
from wainwright_common.messages import (
    Ack,
    CheckIn,
    CheckInReason,
    Command,
    CommandName,
    Inventory,
    Line,
    LogLines,
    Message,
    Offer,
    Presence,
    Progress,
    Reason,
    Reply,
    Report,
    decode,
    encode,
    inventory_digest,
)
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind, Topic, client_id, downlinks, parse
from wainwright_controller.rules.filters import Attributes
from wainwright_controller.rules.filters.attributes import scoped
from wainwright_controller.rules.filters.terms import Scope
from wainwright_controller.simulate.behaviour import Behaviour, Broker, Fate, FleetSpec
from wainwright_controller.simulate.download import TOLD_TO_FAIL, Fetched, fetch
from wainwright_controller.simulate.memory import Memory

LOG = logging.getLogger(__name__)

VERSION = "simulated"
KEEPALIVE_S = 60
RECONNECT_FIRST_S = 0.5  # the bound of the random pause; doubles with each attempt
RECONNECT_MAX_S = 15.0
FAREWELL_S = 5.0  # for the broker to take the presence of a device that ends; a fleet does not wait longer
LASTING_S = 2.0  # a connection that lasted this long was one: the pauses begin anew
UNANSWERED_MAX = 10  # doublings of the pause before an unanswered check-in is repeated; the planned pause comes first


class SimulatedDevice:
    """One device; `run` ends when it is cancelled. `memory` says what it did."""

    def __init__(self, spec: FleetSpec, behaviour: Behaviour, broker: Broker) -> None:
        self._spec = spec
        self._behaviour = behaviour
        self._broker = broker
        self._random = random.Random(behaviour.seed)  # noqa: S311  a repeatable fleet, nothing secret
        self._attributes = {"device_type": behaviour.device_type, "simulated": "yes", **behaviour.attributes}
        self._client: aiomqtt.Client | None = None
        self._began = datetime.now(UTC)
        self._check_in_id = ""
        self._check_in_after_s = spec.check_in_s
        self._unanswered = 0
        self._is_silent = False  # of its update; as one whose agent has forgotten it, it asks all the same
        self._wanted = asyncio.Event()
        self._planned_anew = asyncio.Event()
        self._reason = CheckInReason.START
        self._work: asyncio.Task[None] | None = None
        self._held_back: Report | None = None
        self.memory = Memory(artifact_name=spec.artifact_name, boot_id=f"{behaviour.seed:08x}")
        self.replies = 0
        self.offers = 0
        """Offers that came, repeated ones included."""
        self.messages: Counter[Kind] = Counter()
        """What it has sent and received."""
        self.trouble = ""
        """Why there is no connection; empty while there is one, and before the first."""
        self.problem: BaseException | None = None
        """What ended an update in a way that no device ends: a mistake of this program."""

    @property
    def id(self) -> str:
        """The device's id."""
        return self._behaviour.id

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._client is not None

    async def run(self) -> None:
        """Connect, and connect again, for ever."""
        failures = 0
        await asyncio.sleep(self._behaviour.comes_after_s)
        try:
            while True:
                since = asyncio.get_running_loop().time()
                try:
                    await self._connection()
                except* aiomqtt.MqttError as errors:
                    self.trouble = cause_of(errors)
                    LOG.debug("%s: no connection", self.id, exc_info=True)
                heed_cancellation()  # an error of the farewell may have taken its place
                was_long = asyncio.get_running_loop().time() - since > LASTING_S
                failures = 0 if was_long else failures + 1
                bound = min(RECONNECT_FIRST_S * 2 ** min(failures, 10), RECONNECT_MAX_S)
                await asyncio.sleep(self._random.uniform(RECONNECT_FIRST_S / 5, bound))
        finally:
            if self._work is not None:
                self._work.cancel()
                with suppress(asyncio.CancelledError):
                    await self._work

    # ---- the connection -----------------------------------------------------------------------------------------

    async def _connection(self) -> None:
        """Serve one connection until it breaks, which raises MqttError."""
        self._began = datetime.now(UTC)  # of the will and of the presence alike
        will = aiomqtt.Will(self._topic(Kind.PRESENCE), encode(self._presence(online=False)), qos=1, retain=True)
        client = aiomqtt.Client(
            self._broker.endpoint.host,
            self._broker.endpoint.port,
            identifier=client_id(self.id),
            tls_params=aiomqtt.TLSParameters() if self._broker.endpoint.tls else None,
            will=will,
            keepalive=KEEPALIVE_S,
        )
        client.pending_calls_threshold = 10**6  # aiomqtt warns of many calls at once; here they are the point
        async with client:
            await client.subscribe(downlinks(self.id, self._broker.prefix), qos=1)
            try:
                await self._announce(client, online=True)
                self._client, self.trouble = client, ""
                self._ask(CheckInReason.START)
                await self._serve(client)
            except asyncio.CancelledError:
                with suppress(aiomqtt.MqttError):  # a broker that does not hear it has the will
                    await self._announce(client, online=False, timeout_s=FAREWELL_S)
                raise
            finally:
                self._client = None

    async def _announce(self, client: aiomqtt.Client, *, online: bool, timeout_s: float | None = None) -> None:
        """Leave at the broker whether the device is there: a clean end has no will."""
        presence = encode(self._presence(online=online))
        await client.publish(self._topic(Kind.PRESENCE), presence, qos=1, retain=True, timeout=timeout_s)

    async def _serve(self, client: aiomqtt.Client) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._check_in_when_due())
            group.create_task(self._resend())
            async for message in client.messages:
                await self._received(str(message.topic), bytes(message.payload))

    async def _send(self, kind: Kind, message: Message) -> None:
        """Publish, or lose it: whatever matters is in the memory and sent again."""
        if self._client is not None:
            with suppress(aiomqtt.MqttError):
                await self._client.publish(self._topic(kind), encode(message), qos=1)
                self.messages[kind] += 1
        heed_cancellation()

    def _topic(self, kind: Kind) -> str:
        return Topic(self.id, kind).text(self._broker.prefix)

    def _presence(self, *, online: bool) -> Presence:
        return Presence(online=online, since=self._began, agent_version=VERSION)

    # ---- asking and answering -----------------------------------------------------------------------------------

    def _ask(self, reason: CheckInReason) -> None:
        self._reason = reason
        self._wanted.set()
        self._planned_anew.set()

    async def _check_in_when_due(self) -> None:
        while True:
            await self._pause()
            heed_cancellation()
            reason = self._reason if self._wanted.is_set() else CheckInReason.TIMER
            self._wanted.clear()
            await self._check_in(reason)

    async def _pause(self) -> None:
        """Wait for the time of the next check-in, which the answer to the last one changes, or until one is wanted."""
        clock, jitter = asyncio.get_running_loop().time, self._random.uniform(0.9, 1.1)
        since = clock()
        while not self._wanted.is_set() and (left_s := since + self._pause_s() * jitter - clock()) > 0:
            self._planned_anew.clear()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._planned_anew.wait(), left_s)

    def _pause_s(self) -> float:
        """Return the pause until the next check-in: soon after one without an answer, like an agent, then less soon."""
        planned_s = min(self._check_in_after_s, self._spec.check_in_s)
        return min(planned_s, self._spec.resend_s * 2**self._unanswered) if self._unanswered else planned_s

    async def _check_in(self, reason: CheckInReason) -> None:
        self._check_in_id = uuid.uuid4().hex
        self._unanswered = min(self._unanswered + 1, UNANSWERED_MAX)
        check_in = CheckIn(
            id=self._check_in_id,
            reason=reason,
            device_type=self._behaviour.device_type,
            provides={**self._behaviour.provides, "artifact_name": self.memory.artifact_name},
            boot_id=self.memory.boot_id,
            agent_version=VERSION,
            inventory_digest=inventory_digest(dict(self._attributes)),
            running=UNSET if self._is_silent else self.memory.running,
        )
        await self._send(Kind.CHECK_IN, check_in)

    async def _resend(self) -> None:
        await self._send_outbox()
        while True:
            await asyncio.sleep(self._spec.resend_s * self._random.uniform(0.8, 1.2))
            await self._send_outbox()

    async def _send_outbox(self) -> None:
        for report in list(self.memory.outbox):
            await self._send(Kind.REPORT, report)

    async def _received(self, topic: str, payload: bytes) -> None:
        try:
            kind = parse(topic, self._broker.prefix).kind
            message = decode(kind, payload)
        except (BadTopic, BadMessage) as error:
            LOG.warning("%s: dropped what came on %s: %s", self.id, topic, error)
            return
        self.messages[kind] += 1
        match message:
            case Reply():
                await self._replied(message)
            case Ack() if self.memory.acknowledged(message):
                self._stop_work()
            case Command(name=CommandName.CHECK_IN):
                self._ask(CheckInReason.COMMAND)
            case Command(name=CommandName.SEND_INVENTORY):
                await self._send_inventory()
            case Command(name=CommandName.ABORT) if message.deployment_id is not UNSET:
                if self.memory.is_current(message.deployment_id) and self.memory.give_up():
                    self._stop_work()

    async def _replied(self, reply: Reply) -> None:
        if reply.check_in_id != self._check_in_id:
            return
        self.replies += 1
        self._unanswered = 0
        self._check_in_after_s = reply.check_in_after_s or self._spec.check_in_s  # 0 leaves it to the device
        self._planned_anew.set()
        if reply.send_inventory:
            await self._send_inventory()
        running = self.memory.offer
        offer = None if reply.offer is UNSET else reply.offer
        self.offers += offer is not None
        is_same = (
            running is not None and offer is not None and self.memory.is_current(offer.deployment_id, offer.attempt)
        )
        if running is not None and not is_same and self.memory.give_up():
            self._stop_work()
        if offer is not None and self.memory.take(offer):
            self._work = asyncio.create_task(self._update(offer))

    async def _send_inventory(self) -> None:
        digest = inventory_digest(dict(self._attributes))
        await self._send(Kind.INVENTORY, Inventory(digest=digest, attributes=dict(self._attributes)))

    # ---- the update ---------------------------------------------------------------------------------------------

    def _stop_work(self) -> None:
        if self._work is not None:
            self._work.cancel()
            self._work = None
        self._is_silent = False

    async def _update(self, offer: Offer) -> None:
        try:
            await self._carry_out(offer)
        except Exception as error:
            self.problem = error
            LOG.exception("%s: an update ended by a mistake of the simulation", self.id)

    async def _carry_out(self, offer: Offer) -> None:
        fate = self._behaviour.fate_of(offer.attempt, self._spec.faulty_attempts)
        said = [f"Updating to {offer.artifact.name} (deployment {offer.deployment_id}, attempt {offer.attempt})."]
        await self._report(DeviceStatus.DOWNLOADING)
        if fate is Fate.SILENT:
            self._is_silent = True
            await asyncio.Event().wait()
        fetched = await self._download(offer)
        error: Reason | None = None
        if fetched.problem is not None:
            error = Reason(code=Code.DOWNLOAD_FAILED.value, text=fetched.problem)
        else:
            said.append(f"Downloaded {offer.artifact.size} bytes; installing.")
            await self._report(DeviceStatus.INSTALLING, substate="ArtifactInstall")
            await asyncio.sleep(self._spec.install_s * self._behaviour.pace)
            if fate is Fate.FAIL:
                error = Reason(code=self._behaviour.fail_code, text=TOLD_TO_FAIL)
            elif fetched.fault is not None:
                error = fetched.fault.error_on(self._known())
        if error is None:
            self.memory.commit()
        status = DeviceStatus.SUCCESS if error is None else DeviceStatus.FAILURE
        await self._report(status, error=error or UNSET)
        outcome = "Committed." if error is None else f"Failed, and rolled back: {error.text}"
        await self._log(offer, [*said, outcome], failed=error is not None)
        self._ask(CheckInReason.FINISHED)

    async def _download(self, offer: Offer) -> Fetched:
        """Take the time of a download, and do it where that was asked for."""
        size, steps = offer.artifact.size, self._spec.progress_steps
        for step in range(1, steps + 1):
            await asyncio.sleep(self._spec.download_s * self._behaviour.pace / steps)
            progress = Progress(done=size * step // steps, total=size)
            await self._report(DeviceStatus.DOWNLOADING, progress=progress)
        return await asyncio.to_thread(fetch, offer) if self._spec.real_download else Fetched()

    def _known(self) -> Attributes:
        """Return what filters may ask of this device, as far as it knows itself."""
        return {
            "device_id": self.id,
            "device_type": self._behaviour.device_type,
            "artifact_name": self.memory.artifact_name,
            "agent_version": VERSION,
            **scoped(Scope.INVENTORY, self._attributes),
            **scoped(Scope.PROVIDES, self._behaviour.provides),
        }

    async def _log(self, offer: Offer, texts: list[str], *, failed: bool) -> None:
        """Send what an agent would have logged, the last line as an error if the attempt has failed."""
        now = datetime.now(UTC)
        levels = ["info"] * (len(texts) - 1) + ["error" if failed else "info"]
        lines = [Line(at=now, level=level, text=text) for level, text in zip(levels, texts, strict=True)]
        message = LogLines(deployment_id=offer.deployment_id, attempt=offer.attempt, first=0, lines=lines)
        await self._send(Kind.LOG, message)

    async def _report(
        self,
        status: DeviceStatus,
        *,
        progress: Progress | UnsetType = UNSET,
        error: Reason | UnsetType = UNSET,
        substate: str | UnsetType = UNSET,
    ) -> None:
        report = self.memory.report(status, datetime.now(UTC), progress=progress, error=error, substate=substate)
        held_back, self._held_back = self._held_back, None
        if held_back is None and self._random.random() < self._spec.reordered:
            self._held_back = report  # an outcome at the end of all is sent by _resend
            return
        await self._send(Kind.REPORT, report)
        if self._random.random() < self._spec.duplicated:
            await self._send(Kind.REPORT, report)
        if held_back is not None:
            await self._send(Kind.REPORT, held_back)


def heed_cancellation() -> None:
    """End the current task if it was asked to: `asyncio.wait_for` of Python 3.11, which aiomqtt uses, may lose that."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def cause_of(error: BaseException) -> str:
    """Return the words of the first error in a group."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return str(error)
