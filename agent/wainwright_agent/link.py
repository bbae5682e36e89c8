"""The link to the broker: the only file of the agent that knows its MQTT library.

One thread keeps one connection, for ever, and never blocks a caller. Each connection is a client of its own: nothing
is carried over, because what must not be lost lies in the journal, which the service sends again.

- Up means: connected, downlinks subscribed, presence published. Only then `publish` takes messages.
- The last will is the presence `online: false`, retained, so that the broker tells when a device vanishes.
- Between connections the thread pauses for a random time within a bound that doubles: see `pace.spread`.
- What comes and is not a downlink of this device is counted, logged with its topic, and dropped.
"""

from __future__ import annotations

import logging
import socket
import ssl
import sys
import threading
import time
from collections import Counter
from datetime import UTC, datetime
from random import Random
from types import ModuleType
from typing import Any

from wainwright_agent.config import Broker
from wainwright_agent.events import Connected, Disconnected, EventQueue, Received
from wainwright_agent.masking import mask
from wainwright_agent.pace import spread
from wainwright_agent.ration import Ration
from wainwright_common import __version__
from wainwright_common.errors import BadMessage, BadTopic
from wainwright_common.messages import Ack, Command, Message, Presence, Reply, decode, encode
from wainwright_common.topics import Kind, Topic, client_id, downlinks, parse


def _import_paho() -> ModuleType:
    """Import paho without `urllib.request`, which it wants only for proxies that PySocks would speak to.

    That module brings http.client and email: 2.4 MB and 24 ms of an idle agent's 23 MB and 62 ms (measured), for
    nothing where PySocks is not installed. Who imports it later gets the real one.
    """
    try:
        import socks  # type: ignore[import-untyped]  # noqa: F401  only whether it is there
    except ImportError:
        stubbed = "urllib.request" not in sys.modules
    else:
        stubbed = False
    if stubbed:
        sys.modules["urllib.request"] = ModuleType("urllib.request")
    import paho.mqtt.client

    if stubbed:
        del sys.modules["urllib.request"]
    return paho.mqtt.client


mqtt = _import_paho()
log = logging.getLogger(__name__)

QUEUED_MAX = 1000  # messages in each direction; bounds memory when a peer floods or does not acknowledge
TOPIC_SHOWN = 200  # characters of the topic of what is dropped; one has up to 65,535
LOOP_S = 60.0  # longest sleep of the network thread; messages and commands wake it
STABLE_S = 30.0  # a connection that lasted this long was a success: the pauses start anew
REPEATED = 3  # connections lost without a reason, each before it was stable
FAREWELL_S = 2.0  # for the last message on a clean end; service managers wait much longer
PROTOCOLS = {"3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}


class Link:
    """A connection that comes back; `start` it, and take events from the queue it was given."""

    def __init__(self, broker: Broker, device_id: str, events: EventQueue, random: Random) -> None:
        self.broker = broker
        self.dropped: Counter[str] = Counter()
        """How many messages were dropped, by reason."""
        self.last_error = ""
        self._began = datetime.now(UTC)
        self.since: datetime | None = None
        """When the link came up; None while it is down."""
        self.retry_at = 0.0
        """When the next attempt is made, in monotonic seconds; means nothing while the link is up."""
        self._device_id = device_id
        self._events = events
        self._random = random
        self._thread = threading.Thread(target=self._run, name="link", daemon=True)
        self._rubbish = Ration(log, "messages dropped")
        self._hurry = threading.Event()
        self._stopping = threading.Event()
        self._renewing = threading.Event()
        self._client: Any = None
        self._failure = ""

    @property
    def is_up(self) -> bool:
        """True while messages can be published."""
        return self.since is not None

    @property
    def is_alive(self) -> bool:
        """True while somebody keeps the connection, or tries to; only a bug, or `stop`, ends that."""
        return self._thread.is_alive()

    @property
    def why_down(self) -> str:
        """A sentence for a technician who wants something of the broker."""
        return f"The broker cannot be reached: {self.last_error or 'no connection yet'}."

    def start(self) -> None:
        """Start connecting."""
        self._thread.start()

    def retry_now(self) -> None:
        """End the pause between two attempts, if there is one."""
        self._hurry.set()

    def renew(self) -> None:
        """Connect anew, at once, with the certificate that the files have now; who is connected says nothing of it."""
        client = self._client
        self._renewing.set()
        if self.is_up and client is not None:
            client.disconnect()  # a farewell: the broker tells no last will
        self._hurry.set()

    def stop(self) -> None:
        """Say goodbye if the link is up, and end; takes FAREWELL_S at most for each of the two."""
        self._stopping.set()
        client = self._client
        if self.is_up and client is not None:
            info = self._send(client, Kind.PRESENCE, self._presence(online=False), retain=True)
            try:
                info.wait_for_publish(FAREWELL_S)
            except (RuntimeError, ValueError):
                log.debug("the farewell could not be sent; the last will says it")
            client.disconnect()
        self._hurry.set()
        if self._thread.is_alive():
            self._thread.join(FAREWELL_S)

    def publish(self, kind: Kind, message: Message) -> bool:
        """Hand a message to the broker; False if the link is down or full, or the message too large.

        True does not say that it arrives. Any thread may call.
        """
        return self.deliver(kind, message) is not None

    def deliver(self, kind: Kind, message: Message) -> Any | None:  # noqa: ANN401  paho's
        """Publish, and return what knows (by `is_published()`) whether the broker has it; None as `publish` is False.

        It never does if this connection is lost before.
        """
        client = self._client
        if not self.is_up or client is None:
            return None
        try:
            info = self._send(client, kind, message)
        except BadMessage as error:
            log.error("not sent: %s", error)  # noqa: TRY400  the text says it all
            return None
        return info if info.rc == mqtt.MQTT_ERR_SUCCESS else None

    def _send(self, client: Any, kind: Kind, message: Message, *, retain: bool = False) -> Any:  # noqa: ANN401  paho's
        topic = Topic(self._device_id, kind).text(self.broker.prefix)
        payload = encode(message)
        log.debug("sends %s: %s", topic, payload)
        return client.publish(topic, payload, qos=1, retain=retain)

    def _presence(self, *, online: bool) -> Presence:
        return Presence(online=online, since=self._began, agent_version=__version__)

    def _run(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            began = time.monotonic()
            self._failure = ""
            self._renewing.clear()
            try:
                self._connection()
            except (OSError, ValueError) as error:  # ValueError: a host name that cannot be encoded
                self._failure = self._failure or f"cannot connect to {self.broker.url}: {error}"
            finally:
                self.since = None
                self._client = None
            if self._stopping.is_set():
                return
            if self._renewing.is_set() and not self._failure:
                log.info("connects to %s anew, with another certificate", self.broker.url)
                self._events.put(Disconnected("the certificate was renewed"))
                continue
            if time.monotonic() - began > STABLE_S:
                failures = 0
            pause_s = spread(failures, self.broker.reconnect_first_s, self.broker.reconnect_max_s, self._random)
            failures += 1
            self.last_error = self._failure or f"the connection to {self.broker.url} was lost"
            if not self._failure and failures > REPEATED:
                self.last_error += " again (does another agent use this device id?)"
            self.retry_at = time.monotonic() + pause_s
            self._hurry.clear()
            self._events.put(Disconnected(self.last_error))  # first: who acts on the line finds it taken note of
            log.warning("%s; tries again in %.1f s", self.last_error, pause_s)
            self._hurry.wait(pause_s)

    def _connection(self) -> None:
        """Connect and stay connected; returns, or raises OSError or ValueError, when that has ended."""
        self._began = datetime.now(UTC)  # will and presence carry it: it says which connection they belong to
        client = self._new_client()
        host, port, _ = self.broker.endpoint
        try:
            client.connect(host, port, self.broker.keep_alive_s)
            # A report right behind another waits 40 ms otherwise, for an acknowledgement that TCP delays.
            client.socket().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._client = client
            deadline = time.monotonic() + 2 * self.broker.connect_timeout_s  # the session and the subscription
            # A ping goes out after 1.25 times the keep alive at the latest; brokers wait 1.5 times (3.1.1, 3.1.2.10).
            sleep_s = min(LOOP_S, self.broker.keep_alive_s / 4)
            while client.loop(sleep_s if self.is_up else 0.1) == mqtt.MQTT_ERR_SUCCESS and not self._failure:
                if self._renewing.is_set():
                    return  # `renew` ends no connection that is not up yet, and this may have the former certificate
                self._rubbish.sum_up(time.monotonic())
                if not self.is_up and time.monotonic() > deadline:
                    self._failure = f"{self.broker.url} does not answer as an MQTT broker"
                if self._stopping.is_set() and not self.is_up:
                    return
        finally:
            client.disconnect()
            client.loop(0)  # sends what is still to be sent, and closes the socket
            if (left := client.socket()) is not None:
                left.close()  # it does not, where the network takes nothing more

    def _new_client(self) -> Any:  # noqa: ANN401  the library's
        client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id(self._device_id),
            protocol=PROTOCOLS[self.broker.protocol],
            reconnect_on_failure=False,
        )
        client.connect_timeout = self.broker.connect_timeout_s
        client.max_queued_messages_set(QUEUED_MAX)
        if self.broker.username:
            client.username_pw_set(self.broker.username, self.broker.password or None)
        if self.broker.endpoint.tls:
            client.tls_set_context(self._tls_context())
        topic = Topic(self._device_id, Kind.PRESENCE).text(self.broker.prefix)
        client.will_set(topic, encode(self._presence(online=False)), qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        client.on_disconnect = self._on_disconnect
        # With this callback set the library never writes from the thread that publishes: it wakes ours instead.
        client.on_socket_register_write = lambda *_: None
        return client

    def _tls_context(self) -> ssl.SSLContext:
        """Return what the certificate files say now: they are renewed while the agent runs."""
        broker = self.broker
        for file in filter(None, (broker.ca, broker.certificate, broker.key)):
            file.open("rb").close()  # names the file that cannot be read, which the ssl module does not
        context = ssl.create_default_context(cafile=broker.ca)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if broker.certificate:
            try:
                context.load_cert_chain(broker.certificate, broker.key)
            except ssl.SSLError as error:
                raise OSError(f"{broker.certificate} and {broker.key} are not a certificate and its key") from error
        return context

    def _on_connect(self, client: Any, _data: object, _flags: object, reason: Any, _properties: object) -> None:  # noqa: ANN401  paho's
        if reason.is_failure:
            self._failure = f"{self.broker.url} refuses the connection: {str(reason).lower()}"
            return
        client.subscribe(downlinks(self._device_id, self.broker.prefix), qos=1)

    def _on_subscribe(self, client: Any, _data: object, _mid: int, reasons: list[Any], _properties: object) -> None:  # noqa: ANN401  paho's
        if any(reason.is_failure for reason in reasons):
            topics = downlinks(self._device_id, self.broker.prefix)
            self._failure = f"{self.broker.url} refuses the subscription of {topics}: check the broker's access list"
            return
        self._send(client, Kind.PRESENCE, self._presence(online=True), retain=True)
        self.since = datetime.now(UTC)
        log.info("connected to %s as %s", self.broker.url, self._device_id)
        self._events.put(Connected())

    def _on_disconnect(self, _client: object, _data: object, flags: Any, reason: Any, _properties: object) -> None:  # noqa: ANN401  paho's
        if flags.is_disconnect_packet_from_server and not self._failure:  # MQTT 5 only
            self._failure = f"{self.broker.url} ended the connection: {str(reason).lower()}"

    def _on_message(self, _client: object, _data: object, message: Any) -> None:  # noqa: ANN401  paho's
        try:
            value = self._downlink(message)
        except (BadTopic, BadMessage) as error:
            reason = error.reason if isinstance(error, BadMessage) else "bad-topic"
            self.dropped[reason] += 1
            told = message.topic[:TOPIC_SHOWN], reason, error
            self._rubbish.log(time.monotonic(), logging.WARNING, "dropped a message on %r (%s): %s", *told)
            return
        if log.isEnabledFor(logging.DEBUG):
            log.debug("received %s: %s", message.topic, mask(bytes(message.payload).decode(errors="replace")))
        self._events.put(Received(value))

    def _downlink(self, message: Any) -> Reply | Ack | Command:  # noqa: ANN401  paho's
        topic = parse(message.topic, self.broker.prefix)
        if topic.device != self._device_id or topic.kind.is_up:
            raise BadTopic(f"{message.topic!r} is not a downlink of {self._device_id}.")
        if message.retain:
            raise BadMessage("retained", "Downlinks are not retained: an old one must not be acted on.")
        if self._events.qsize() >= QUEUED_MAX:
            raise BadMessage("too-many", f"{QUEUED_MAX} messages wait already.")
        value = decode(topic.kind, bytes(message.payload))
        assert isinstance(value, Reply | Ack | Command)  # noqa: S101  the kinds that are not `is_up`
        return value
