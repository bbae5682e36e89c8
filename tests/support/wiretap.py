"""An attacker on the broker: hears what a device and its controller say, and speaks in the controller's name."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.clients import end_client
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_common.messages import CheckIn, Message, Offer, Reply, decode, encode
from wainwright_common.topics import Kind, Topic, parse


class Wiretap:
    """Use it with `with`; `answer` is what every check-in of the device gets, as fast as the attacker can."""

    def __init__(self, port: int, prefix: str, device: str) -> None:
        self.heard: list[tuple[Kind, bytes]] = []
        self.answer: Callable[[CheckIn], Reply] | None = None
        self._port, self._prefix, self._device = port, prefix, device
        self._subscribed = threading.Event()
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        self._client.on_subscribe = lambda *_: self._subscribed.set()
        self._client.on_message = self._on_message

    def __enter__(self) -> Self:
        self._client.connect("127.0.0.1", self._port)
        self._client.loop_start()
        self._client.subscribe(f"{self._prefix}/{self._device}/#", qos=1)
        assert self._subscribed.wait(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        end_client(self._client)

    def _on_message(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        kind = parse(message.topic, self._prefix).kind
        payload = bytes(message.payload)
        self.heard.append((kind, payload))
        if self.answer is not None and kind is Kind.CHECK_IN:
            check_in = decode(kind, payload)
            assert isinstance(check_in, CheckIn)
            self.say(Kind.REPLY, self.answer(check_in))

    def say(self, kind: Kind, message: Message | bytes) -> None:
        """Send something down to the device; bytes as they are."""
        payload = message if isinstance(message, bytes) else encode(message)
        self._client.publish(Topic(self._device, kind).text(self._prefix), payload, qos=1)

    def offers_of(self, name: str) -> list[bytes]:
        """Return the replies with offers of a release that were heard, as they were sent."""
        replies = [payload for kind, payload in self.heard if kind is Kind.REPLY]
        return [
            payload for payload in replies if isinstance(o := _offer_in(payload), Offer) and o.artifact.name == name
        ]

    def wait_for_offer_of(self, name: str) -> tuple[bytes, Offer]:
        """Wait until a release was offered; return the reply as it was sent, and the offer in it."""
        payload = wait_until(lambda: self.offers_of(name), what=f"an offer of {name}")[0]
        offer = _offer_in(payload)
        assert isinstance(offer, Offer)
        return payload, offer

    def forget(self) -> None:
        """Forget what was heard so far."""
        self.heard.clear()


def _offer_in(payload: bytes) -> object:
    reply = decode(Kind.REPLY, payload)
    assert isinstance(reply, Reply)
    return reply.offer


def offering(offer: Offer) -> Callable[[CheckIn], Reply]:
    """Return the answer to a check-in that offers something, under the id that the device has just made."""
    return lambda check_in: Reply(check_in_id=check_in.id, check_in_after_s=600, send_inventory=False, offer=offer)
