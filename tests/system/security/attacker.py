"""A client of the broker that does what no agent does, and remembers what it got for it."""

from __future__ import annotations

import json
import queue
import socket
import ssl
import threading
import uuid
from typing import NamedTuple, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

from tests.support.authority import Credentials
from tests.support.clients import end_client
from tests.support.wait import wait_until

PATIENCE_S = 60.0  # for what takes milliseconds on a machine that does nothing else
VERSIONS = {"5": paho.MQTTv5, "3.1.1": paho.MQTTv311}


class Refused(Exception):  # noqa: N818  what happened
    """The broker did not let the attacker in; the text is what it said, or how the connection ended."""


class Heard(NamedTuple):
    """A message that reached the attacker."""

    topic: str
    payload: bytes


class Attacker:
    """Use it with `with`, which connects; raises Refused when it is not let in.

    `name` is the device whose certificate it has, so that it can ask and be answered as that device.
    """

    def __init__(
        self,
        port: int,
        credentials: Credentials | None,
        name: str,
        *,
        prefix: str,
        client_id: str | None = None,
        version: str = "5",
        will: str | None = None,
        is_clean: bool = True,
        username: str | None = None,
    ) -> None:
        self.heard: list[Heard] = []
        self.name = name
        self.prefix = prefix
        self.session_present = False
        self.closed = threading.Event()
        self._port = port
        self._answers: queue.Queue[str] = queue.Queue()
        is_311 = version == "3.1.1"
        self._is_clean = is_clean
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=name if client_id is None else client_id,
            clean_session=is_clean if is_311 else None,
            protocol=VERSIONS[version],
            reconnect_on_failure=False,
        )
        if credentials is not None:
            credentials.show(self._client)
        if username is not None:
            self._client.username_pw_set(username, "password")
        if will is not None:
            self._client.will_set(will, b"{}", qos=1, retain=True)
        self._client.on_connect = self._on_connect
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = lambda _c, _d, m: self.heard.append(Heard(m.topic, bytes(m.payload)))
        self._client.on_subscribe = lambda _c, _d, _mid, reasons, _p: self._answers.put(str(reasons[0]))
        self._client.on_publish = lambda _c, _d, _mid, reason, _p: self._answers.put(str(reason))

    def __enter__(self) -> Self:
        try:
            clean = paho.MQTT_CLEAN_START_FIRST_ONLY if self._client.protocol != paho.MQTTv5 else self._is_clean
            self._client.connect("127.0.0.1", self._port, clean_start=clean)
        except OSError as error:
            raise Refused(str(error)) from error
        self._client.loop_start()
        answer = self._answers.get(timeout=PATIENCE_S)
        if answer != "Success":
            self.__exit__()
            raise Refused(answer)
        self.subscribe(f"{self.prefix}/{self.name}/down/#")
        return self

    def __exit__(self, *_: object) -> None:
        end_client(self._client)

    def _on_connect(
        self, _client: paho.Client, _data: object, flags: paho.ConnectFlags, reason: ReasonCode, _properties: object
    ) -> None:
        self.session_present = flags.session_present
        self._answers.put(str(reason))

    def _on_disconnect(
        self, _client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        self.closed.set()
        self._answers.put(f"closed: {reason}")

    def subscribe(self, topics: str) -> str:
        """Ask for topics, and return what the broker said."""
        self._client.subscribe(topics, qos=1)
        return self._answers.get(timeout=PATIENCE_S)

    def publish(self, topic: str, payload: bytes = b"{}", *, qos: int = 1, retain: bool = False) -> str:
        """Send a message, and return what the broker said."""
        self._client.publish(topic, payload, qos=qos, retain=retain)
        return self._answers.get(timeout=PATIENCE_S)

    def vanish(self) -> None:
        """Break the connection without a goodbye, so that the broker carries out the last will."""
        stream = self._client.socket()
        assert isinstance(stream, socket.socket)
        stream.shutdown(socket.SHUT_RDWR)
        assert self.closed.wait(PATIENCE_S)

    def ask(self) -> list[Heard]:
        """Check in as an honest device does, and return what was heard before the answer, and no answer to another.

        A broker hands messages on in their order, and a controller takes them so: when the answer is here, everything
        that was sent before has had its effect.
        """
        asked = uuid.uuid4().hex
        check_in = {
            "id": asked,
            "reason": "timer",
            "device_type": "press",
            "provides": {"artifact_name": "evil"},
            "boot_id": "b",
            "agent_version": "1",
            "inventory_digest": "0" * 64,
        }
        assert self.publish(f"{self.prefix}/{self.name}/up/check-in", json.dumps(check_in).encode()) == "Success"
        mine = f"{self.prefix}/{self.name}/down/reply"

        def answered() -> bool:
            return any(topic == mine and asked.encode() in payload for topic, payload in list(self.heard))

        wait_until(answered, PATIENCE_S, "the answer to the attacker's own check-in")
        return [heard for heard in self.heard if heard.topic != mine]


KEEP_ALIVE_S = 3600


def open_stream(port: int, credentials: Credentials | None, name: str) -> socket.socket:
    """Return a connection of the device `name` on which MQTT 3.1.1 has been agreed, to send any bytes on.

    Raises OSError when it is not let in.
    """
    stream = socket.create_connection(("127.0.0.1", port), PATIENCE_S)
    if credentials is not None:
        context = ssl.create_default_context(cafile=str(credentials.ca))
        assert credentials.certificate is not None
        context.load_cert_chain(credentials.certificate, credentials.key)
        stream = context.wrap_socket(stream, server_hostname="127.0.0.1")
    body = b"\0\4MQTT\4\2" + KEEP_ALIVE_S.to_bytes(2, "big") + _text(name)
    stream.sendall(bytes([0x10]) + remaining(len(body)) + body)
    assert stream.recv(4) == b"\x20\2\0\0"
    return stream


def is_ended(stream: socket.socket) -> bool:
    """Say whether the other side has ended a connection; reads and forgets what comes before that."""
    try:
        while stream.recv(65_536):
            pass
    except TimeoutError:
        return False
    except OSError:  # a reset, or the end of TLS without a goodbye
        return True
    return True


def is_ended_by(stream: socket.socket, data: bytes, times: int) -> bool:
    """Send data again and again, and read nothing; say whether the other side has ended the connection meanwhile."""
    try:
        for _ in range(times):
            stream.sendall(data)
    except TimeoutError:
        return False
    except OSError:
        return True
    return False


def publishing(topic: str, payload: bytes) -> bytes:
    """Return the packet that publishes at QoS 1 (MQTT 3.1.1 section 3.3)."""
    body = _text(topic) + b"\0\1" + payload
    return b"\x32" + remaining(len(body)) + body


def remaining(length: int) -> bytes:
    """Return how a packet announces its length (MQTT 3.1.1 section 2.2.3)."""
    digits = bytearray()
    while True:
        length, digit = divmod(length, 128)
        digits.append(digit | (0x80 if length else 0))
        if not length:
            return bytes(digits)


def _text(text: str) -> bytes:
    return len(text).to_bytes(2, "big") + text.encode()
