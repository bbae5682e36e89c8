"""The controller's link to the broker; the only file of the controller's traffic that knows the MQTT library.

Three properties that the pipeline needs of any library that takes paho's place here: an acknowledgement is sent when we
say so, and never for a message of an earlier connection (its identifier may name another message by now); what we
do not take stays with the broker (the callback blocks, so nothing more is read); the session survives a broken
connection.
"""

from __future__ import annotations

import logging
import random
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterable

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from wainwright_common.brokers import endpoint_of
from wainwright_common.errors import WainwrightError
from wainwright_common.messages import Message, encode
from wainwright_common.topics import Topic, uplinks
from wainwright_controller.config import BrokerSection
from wainwright_controller.hearing import Hearing, Need
from wainwright_controller.ingest.intake import Delivery

LOG = logging.getLogger(__name__)

KEEPALIVE_S = 30  # MQTT 3.1.1 §3.1.2.10; a dead broker is noticed after at most 45 s
RECONNECT_FIRST_S = (
    0.5  # doubles with each attempt; all three are spread by ±50 %, so that controllers do not keep step
)
RECONNECT_MAX_S = 20.0  # a controller is one client: it may knock more often than a fleet
IN_FLIGHT_MAX = 1000  # messages that the broker may have sent and we not yet acknowledged: two batches
OUTGOING_MAX = (
    100_000  # answers that wait for a broker that is away; dropped beyond, and asked for again by the devices
)
PUBACK_LENGTH = 2  # bytes after the header, with no reason given (MQTT 3.1.1 §3.4.1, MQTT 5 §3.4.2.1)
SESSION_EXPIRY_S = 7 * 86400  # MQTT 5 §3.1.2.11.2: how long the broker keeps messages for a controller that is away

TAKE_OVER_S = 5.0  # for a broker to answer who takes a session over


class BrokerRefused(WainwrightError):  # noqa: N818  the name is the sentence: "the broker refused"
    """The broker does not do what it was asked, or does not answer."""


class Link:
    """One connection to the broker at `url`, made again for ever."""

    def __init__(self, broker: BrokerSection, url: str, hearing: Hearing) -> None:
        self._url = url
        self._hearing = hearing
        self._endpoint = endpoint_of(url)
        self._prefix = broker.prefix
        self._is_5 = broker.protocol == "5"
        self._filter = uplinks(broker.prefix, broker.share or None)
        self._generation = 0
        self._deliver: Callable[[Delivery], None] = _undelivered
        self.connected = threading.Event()
        self._client = paho.Client(
            CallbackAPIVersion.VERSION2,
            client_id=broker.client_id,
            clean_session=None if self._is_5 else False,
            protocol=paho.MQTTv5 if self._is_5 else paho.MQTTv311,
            manual_ack=True,
        )
        self._client.max_inflight_messages_set(IN_FLIGHT_MAX)
        self._client.max_queued_messages_set(OUTGOING_MAX)
        self._spread_reconnects()
        self._broker = broker
        _show_credentials(self._client, broker, is_tls=self._endpoint.tls)
        self._client.on_connect = self._on_connect
        self._client.on_subscribe = self._on_subscribe
        self._client.on_disconnect = self._on_disconnect
        self._client.on_message = self._on_message

    def start(self, deliver: Callable[[Delivery], None]) -> None:
        """Connect, and keep connected; `deliver` may block, which stops reading from the broker."""
        self._deliver = deliver
        properties = None
        if self._is_5:
            properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]  # paho does not annotate it
            properties.SessionExpiryInterval = SESSION_EXPIRY_S
            properties.ReceiveMaximum = IN_FLIGHT_MAX
        clean = False if self._is_5 else paho.MQTT_CLEAN_START_FIRST_ONLY
        self._client.connect_async(
            self._endpoint.host, self._endpoint.port, KEEPALIVE_S, clean_start=clean, properties=properties
        )
        self._client.loop_start()

    def stop(self) -> None:
        """Disconnect; what was not acknowledged comes again to the next controller of this client id."""
        self._client.disconnect()
        self._client.loop_stop()
        if (left := self._client.socket()) is not None:
            left.close()  # a connection that was just being made, which the library leaves open

    def take_certificate(self) -> None:
        """Show the certificate that is in the files now from the next connection on: it was renewed.

        By a context of its own: the library's thread may be using the one before, and would show half a pair.
        """
        if self._endpoint.tls and self._broker.certificate:
            self._client._ssl_context = _context_of(self._broker)  # noqa: SLF001  tls_set_context sets it once

    def publish(self, topic: Topic, message: Message) -> None:
        """Send at QoS 1, as soon as there is a connection; never blocks."""
        self._client.publish(topic.text(self._prefix), encode(message), qos=1)

    def acknowledge(self, tokens: Iterable[tuple[int, int, int]]) -> None:
        """Tell the broker that deliveries are ours now; those of an earlier connection it delivers again instead.

        The acknowledgements go out as one piece. `Client.ack` wakes the library's thread and writes to the socket for
        each, which took as long as reading the message that it answers.
        """
        packets = b"".join(
            struct.pack("!BBH", PacketTypes.PUBACK << 4, PUBACK_LENGTH, mid)
            for generation, mid, qos in tokens
            if qos == 1 and generation == self._generation  # at QoS 0 there is nothing to acknowledge
        )
        if packets:
            self._client._packet_queue(paho.PUBACK, packets, 0, 0)  # noqa: SLF001  what `Client.ack` does with one

    def _spread_reconnects(self) -> None:
        spread = random.uniform(0.5, 1.5)  # noqa: S311  hides nothing
        self._client.reconnect_delay_set(
            RECONNECT_FIRST_S * spread,  # type: ignore[arg-type]  # annotated as int, used as a number of seconds
            RECONNECT_MAX_S * spread,  # type: ignore[arg-type]  # as above
        )

    def _on_connect(
        self, client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        if reason.is_failure:
            LOG.warning("the broker %s refused the connection: %s", self._url, reason)
            return
        LOG.info("connected to the broker %s", self._url)
        connection = client.socket()
        if isinstance(connection, socket.socket):
            # Without it an answer waits for TCP's acknowledgement of the packet before it: up to 40 ms on Linux.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.subscribe(self._filter, qos=1)

    def _on_subscribe(
        self, _client: paho.Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: object
    ) -> None:
        if any(reason.is_failure for reason in reasons):
            LOG.error("the broker %s refuses the subscription of %s: check its access list", self._url, self._filter)
            return
        self._hearing.found(Need.BROKER)
        self.connected.set()

    def _on_disconnect(
        self, _client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _properties: object
    ) -> None:
        self._generation += 1
        self._spread_reconnects()
        self._hearing.lost(Need.BROKER)
        self.connected.clear()
        LOG.warning("lost the broker %s (%s); trying again for ever", self._url, reason)

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        try:
            topic = message.topic
        except UnicodeDecodeError:  # MQTT 3.1.1 §1.5.3 forbids it; count it as the bad topic that it is
            topic = "\ufffd"
        self._deliver(
            Delivery(topic, bytes(message.payload), (self._generation, message.mid, message.qos), message.retain)
        )


def take_over(broker: BrokerSection, url: str, client_id: str, farewell: tuple[Topic, Message] | None = None) -> None:
    """End whoever is connected as `client_id`, by being him for a moment; raises BrokerRefused.

    A broker has one session for each client id: it ends the one before, tells its last will (MQTT 3.1.1 §3.1.4), and
    forgets what waits for it. `url` must be a listener that leaves clients their id. `farewell` is told, retained, in
    place of the last will, for a broker that does not tell it.
    """
    endpoint = endpoint_of(url)
    client = paho.Client(
        CallbackAPIVersion.VERSION2, client_id=client_id, clean_session=True, reconnect_on_failure=False
    )
    client.connect_timeout = TAKE_OVER_S
    answers: list[ReasonCode] = []
    client.on_connect = lambda _client, _data, _flags, reason, _properties: answers.append(reason)
    try:
        _show_credentials(client, broker, is_tls=endpoint.tls)
        client.connect(endpoint.host, endpoint.port, KEEPALIVE_S)
        deadline = time.monotonic() + TAKE_OVER_S
        while not answers and time.monotonic() < deadline:
            if client.loop(timeout=0.1) != paho.MQTT_ERR_SUCCESS:
                break
        if farewell is not None and answers and not answers[0].is_failure:
            topic, message = farewell
            sent = client.publish(topic.text(broker.prefix), encode(message), qos=1, retain=True)
            while not sent.is_published() and time.monotonic() < deadline:
                if client.loop(timeout=0.1) != paho.MQTT_ERR_SUCCESS:
                    break
        client.disconnect()
        client.loop(timeout=0.1)  # sends it, so that no last will of a connection that was cut is told
    except (OSError, ValueError) as error:
        raise BrokerRefused(f"Cannot end the session of {client_id} at {url}: {error}.") from error
    if not answers or answers[0].is_failure:
        said = f"{answers[0]}".lower() if answers else "no answer"
        raise BrokerRefused(f"Cannot end the session of {client_id} at {url}: {said}.")


def _show_credentials(client: paho.Client, broker: BrokerSection, *, is_tls: bool) -> None:
    if broker.username:
        client.username_pw_set(broker.username, broker.password or None)
    if is_tls:
        client.tls_set_context(_context_of(broker))


def _context_of(broker: BrokerSection) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=broker.ca or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if broker.certificate:
        context.load_cert_chain(broker.certificate, broker.key or None)
    return context


def _undelivered(_delivery: Delivery) -> None:
    raise RuntimeError("Link.start was not called")
