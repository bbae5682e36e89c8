"""The two ends of a test: a real agent process, and a controller that speaks the protocol."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self, TypeVar

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.clients import end_client
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_common.messages import (
    Ack,
    Action,
    Artifact,
    CheckIn,
    Command,
    CommandName,
    Inventory,
    Message,
    Offer,
    Presence,
    Reason,
    Reply,
    Report,
    Verdict,
    decode,
    encode,
)
from wainwright_common.topics import Kind, Topic, parse, uplinks

M = TypeVar("M", bound=Message)
_numbers = itertools.count(1)


def new_device_id() -> str:
    """Return a device id that no other test uses."""
    return f"press-{os.getpid()}-{next(_numbers)}"


@dataclass(frozen=True)
class Heard:
    """A message that a controller got."""

    device: str
    kind: Kind
    message: Message
    retained: bool


@dataclass
class Controller:
    """A controller of one device: hears everything, answers as told. Use it with `with`."""

    port: int
    device: str
    reply: Callable[[CheckIn], Reply | None] = lambda check_in: no_deployment(check_in)  # noqa: PLW0108  defined below
    ack: Callable[[Report], Ack | None] = lambda report: accepted(report)  # noqa: PLW0108  defined below
    heard: list[Heard] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_connect = lambda client, *_: client.subscribe(uplinks(), qos=1)
        self._subscribed = threading.Event()
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self.port)
        self._client.loop_start()
        assert self._subscribed.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        end_client(self._client)

    def _on_message(self, _client: object, _data: object, message: mqtt.MQTTMessage) -> None:
        topic = parse(message.topic)
        if topic.device != self.device:
            return
        value = decode(topic.kind, bytes(message.payload))
        answer: Message | None = None
        if isinstance(value, CheckIn):
            answer, kind = self.reply(value), Kind.REPLY
        elif isinstance(value, Report):
            answer, kind = self.ack(value), Kind.ACK
        # Only now, with its answer chosen: a test that has seen a message may change how the next one is answered.
        self.heard.append(Heard(topic.device, topic.kind, value, message.retain))
        if answer is not None:
            self.send(kind, answer)

    def send(self, kind: Kind, message: Message) -> None:
        """Send the device a message."""
        self.send_raw(Topic(self.device, kind).text(), encode(message))

    def send_raw(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Send whatever bytes to whatever topic."""
        self._client.publish(topic, payload, qos=1, retain=retain)

    def wake(self, name: CommandName = CommandName.CHECK_IN) -> None:
        """Send the device a command."""
        self.send(Kind.COMMAND, Command(id="c", name=name))

    def all(self, kind: type[M]) -> list[M]:
        """Return what was heard of one message type so far."""
        return [heard.message for heard in list(self.heard) if isinstance(heard.message, kind)]

    def wait_for(self, kind: type[M], count: int = 1, timeout_s: float = PATIENCE_S) -> M:
        """Return the message of a type that was heard as the `count`-th."""
        wait_until(lambda: len(self.all(kind)) >= count, timeout_s, f"{count} {kind.__name__}")
        return self.all(kind)[count - 1]

    def wait_for_presence(self, *, online: bool, timeout_s: float = PATIENCE_S) -> Presence:
        """Wait until the last thing heard of the device's presence is this."""

        def last() -> bool:
            return bool(self.all(Presence)) and self.all(Presence)[-1].online is online

        wait_until(last, timeout_s, f"presence {'online' if online else 'offline'}")
        return self.all(Presence)[-1]

    def inventories(self) -> list[Inventory]:
        """Return the inventories heard so far."""
        return self.all(Inventory)


def no_deployment(check_in: CheckIn, *, send_inventory: bool = False, after_s: int = 0) -> Reply:
    """Return the reply of a controller that has nothing for the device."""
    why = Reason(code="no-deployment", text="No deployment concerns this device.")
    return Reply(check_in_id=check_in.id, check_in_after_s=after_s, send_inventory=send_inventory, why=why)


def offered(check_in: CheckIn, offer: Offer) -> Reply:
    """Return the reply that offers a deployment."""
    return Reply(check_in_id=check_in.id, check_in_after_s=0, send_inventory=False, offer=offer)


def accepted(report: Report) -> Ack:
    """Return the ack of a controller that agrees."""
    return verdict(report, Verdict.ACCEPTED)


def verdict(report: Report, word: Verdict) -> Ack:
    """Return an ack with a verdict."""
    return Ack(
        deployment_id=report.deployment_id,
        attempt=report.attempt,
        seq=report.seq,
        verdict=word,
        status=report.status,
    )


def offer_of(uri: str, content: bytes, *, name: str = "panel-2", deployment_id: str = "d-1", attempt: int = 1) -> Offer:
    """Return an offer of an artifact's bytes at a URI."""
    import hashlib

    artifact = Artifact(
        id="a-1",
        name=name,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        uri=uri,
        expires=datetime.now(UTC) + timedelta(hours=1),
    )
    return Offer(deployment_id=deployment_id, attempt=attempt, action=Action.INSTALL, artifact=artifact)


class Agent:
    """A device: a data folder, a configuration, and now and then a running agent. Ended by `with`."""

    def __init__(self, folder: Path, url: str, device_id: str, **settings: Any) -> None:  # noqa: ANN401  TOML values
        self.folder = folder
        self.device_id = device_id
        self.data_dir = folder / "data"
        self.log = folder / "agent.log"
        self.config = folder / "agent.toml"
        self.process: subprocess.Popen[bytes] | None = None
        values: dict[str, Any] = {
            "device_id": device_id,
            "device_type": "press",
            "data_dir": str(self.data_dir),
            "control_socket": str(self.data_dir / "agent.sock"),
            "broker.url": url,
            "broker.reconnect_first_s": 0.2,
            "broker.reconnect_max_s": 0.5,
            "inventory.scripts": str(folder / "inventory"),
            "update.modules": [str(folder / "modules")],
            "log.level": "debug",
        }
        values |= {key.replace("__", "."): value for key, value in settings.items()}
        lines = [f"{key} = {json.dumps(value)}" for key, value in values.items()]
        self.config.write_text("\n".join(lines) + "\n", encoding="utf-8")

    def start(self, env: dict[str, str] | None = None) -> Self:
        """Start the agent; does not wait for anything."""
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "wainwright_agent", "run", "--config", str(self.config)],
                stderr=log,
                env=os.environ | (env or {}),
            )
        return self

    def kill(self) -> None:
        """End the agent as a power cut would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.process = None

    def stop(self, number: int = signal.SIGTERM) -> int:
        """End the agent as a service manager would, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_S)
        self.process = None
        return code

    def wain(
        self, *arguments: str, timeout_s: float = PATIENCE_S, env: dict[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run a technician's command on this device."""
        command = [sys.executable, "-m", "wainwright_agent", "--config", str(self.config), *arguments]
        environment = os.environ | (env or {})
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False, env=environment)

    def status(self) -> dict[str, Any]:
        """Return what `wain status` says."""
        done = self.wain("status", "-o", "json")
        assert done.returncode == 0, done.stderr
        status: dict[str, Any] = json.loads(done.stdout)
        return status

    def logged(self) -> str:
        """Return the agent's log so far."""
        return self.log.read_text(encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
