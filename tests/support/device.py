"""A device by hand: a peer that speaks the protocol exactly as a test tells it to, over a real broker."""

from __future__ import annotations

import queue
import socket
import uuid
from datetime import UTC, datetime
from typing import Self

import paho.mqtt.client as paho
from msgspec import UNSET, UnsetType
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.authority import Credentials
from tests.support.clients import end_client
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_common.messages import (
    Ack,
    CheckIn,
    CheckInReason,
    Command,
    M,
    Message,
    Presence,
    Reply,
    Report,
    decode,
    encode,
)
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import PREFIX, Kind, Topic, client_id, downlinks, parse

NO_DIGEST = "0" * 64


class Device:
    """One connection to a broker, with everything that was sent down to it."""

    def __init__(
        self,
        port: int,
        device_id: str,
        device_type: str = "pi4",
        running: str = "panel-1",
        prefix: str = PREFIX,
        credentials: Credentials | None = None,
    ) -> None:
        self.id = device_id
        self.device_type = device_type
        self.running = running
        self.digest = NO_DIGEST
        self._port = port
        self._prefix = prefix
        self.patience_s = PATIENCE_S  # how long an answer may take
        self.heard: list[Message] = []
        self.connections = 0
        self._received: queue.Queue[Message] = queue.Queue()
        self._client = paho.Client(CallbackAPIVersion.VERSION2, client_id=client_id(device_id))
        if credentials is not None:
            credentials.show(self._client)
        self._client.on_message = self._on_message
        self._client.on_connect = self._on_connect
        self.subscriptions = 0
        """How often the broker has said that it will send what is for this device."""
        self._client.on_subscribe = self._on_subscribe

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        wait_until(lambda: self.subscriptions, what="the subscription")
        return self

    def __exit__(self, *_: object) -> None:
        end_client(self._client)

    @property
    def is_connected(self) -> bool:
        """Whether the broker has it; after an end it tries again by itself."""
        return self._client.is_connected()

    def _on_connect(self, client: paho.Client, *_: object) -> None:
        self.connections += 1
        connection = client.socket()
        if isinstance(connection, socket.socket):  # as agents do: else a message waits up to 40 ms for TCP
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.subscribe(downlinks(self.id, self._prefix), qos=1)

    def _on_subscribe(self, *_: object) -> None:
        self.subscriptions += 1

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        value = decode(parse(message.topic, self._prefix).kind, bytes(message.payload))
        self.heard.append(value)
        self._received.put(value)

    def send_raw(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish anything, anywhere."""
        self._client.publish(topic, payload, qos=1, retain=retain)

    def send(self, kind: Kind, message: Message) -> None:
        """Publish a message on this device's topic."""
        self.send_raw(Topic(self.id, kind).text(self._prefix), encode(message))

    def receive(self, kind: type[M]) -> M:
        """Return the next message down of one kind; others before it are dropped."""
        while True:
            message = self._received.get(timeout=self.patience_s)
            if isinstance(message, kind):
                return message

    def drain(self) -> list[Message]:
        """Return all that has been received and not been looked at, without waiting."""
        found = []
        while not self._received.empty():
            found.append(self._received.get())
        return found

    def announce(self, *, online: bool = True) -> None:
        """Send a presence."""
        self.send(Kind.PRESENCE, Presence(online=online, since=datetime.now(UTC), agent_version="1"))

    def stop_acknowledging(self) -> None:
        """Take what is sent, and tell nobody, until the connection ends."""
        self._client.manual_ack_set(on=True)

    def send_check_in(self, *, by_hand: bool | UnsetType = UNSET) -> str:
        """Ask, and return the number of the question."""
        asked = uuid.uuid4().hex
        self.send(
            Kind.CHECK_IN,
            CheckIn(
                id=asked,
                reason=CheckInReason.TIMER,
                device_type=self.device_type,
                provides={"artifact_name": self.running},
                boot_id="boot-1",
                agent_version="1",
                inventory_digest=self.digest,
                by_hand=by_hand,
            ),
        )
        return asked

    def check_in(self, *, by_hand: bool | UnsetType = UNSET) -> Reply:
        """Ask, and return the answer."""
        asked = self.send_check_in(by_hand=by_hand)
        while True:
            reply = self.receive(Reply)
            if reply.check_in_id == asked:
                return reply

    def send_report(
        self, deployment_id: str, seq: int, status: DeviceStatus, attempt: int = 1, **optional: object
    ) -> None:
        """Tell a status."""
        fields = {
            "deployment_id": deployment_id,
            "attempt": attempt,
            "seq": seq,
            "status": status,
            "boot_id": "boot-1",
            "at": datetime.now(UTC),
        }
        self.send(Kind.REPORT, Report(**(fields | optional)))  # type: ignore[arg-type]  # the caller knows the fields

    def report(self, deployment_id: str, seq: int, status: DeviceStatus, attempt: int = 1, **optional: object) -> Ack:
        """Tell a status, and return the answer."""
        self.send_report(deployment_id, seq, status, attempt, **optional)
        return self.acknowledged(deployment_id, seq, attempt)

    def acknowledged(self, deployment_id: str, seq: int, attempt: int = 1) -> Ack:
        """Wait for the answer to a report that was sent, or to a later one."""
        while True:
            ack = self.receive(Ack)
            if (ack.deployment_id, ack.attempt) == (deployment_id, attempt) and ack.seq >= seq:
                return ack

    def woken(self) -> Command:
        """Return the next command."""
        return self.receive(Command)
