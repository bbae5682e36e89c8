"""Bad input of every kind on every topic, each with the reason under which the controller must count it."""

from __future__ import annotations

import itertools
import json
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from tests.support.clients import end_client
from wainwright_common.messages import PAYLOAD_MAX
from wainwright_controller.simulate import Broker

UP_KINDS = ("presence", "inventory", "check-in", "report", "log")
NOW = "2026-01-01T00:00:00Z"
SENT_TIMEOUT_S = 60.0
HUGE_EVERY = 200  # one message in so many is larger than the limit: 5,000 of them would test the loopback


class Bad(NamedTuple):
    """A message, and the reason under which it must be counted."""

    topic: str
    payload: bytes
    reason: str


GOOD: dict[str, dict[str, Any]] = {
    "presence": {"online": True, "since": NOW, "agent_version": "1"},
    "inventory": {"digest": "0" * 64, "attributes": {"a": 1}},
    "check-in": {
        "id": "c1",
        "reason": "timer",
        "device_type": "press",
        "provides": {"artifact_name": "evil"},
        "boot_id": "b",
        "agent_version": "1",
        "inventory_digest": "0" * 64,
    },
    "report": {"deployment_id": "d", "attempt": 1, "seq": 1, "status": "success", "boot_id": "b", "at": NOW},
    "log": {"deployment_id": "d", "attempt": 1, "first": 0, "lines": [{"at": NOW, "level": "info", "text": "x"}]},
}
"""A message of each kind that would be taken, to be spoilt."""

WRONG: Sequence[Any] = (None, [], {}, -1, 1.5, True, "", "x" * 5000, 10**30, ["x"] * 600, {"": None})
"""Values that are wrong in nearly every place; `spoilt` leaves out where they are not."""


def spoilt(kind: str) -> Iterator[bytes]:
    """Yield payloads of a kind in which one key is missing or has a value of the wrong type, size or range."""
    for key, value in GOOD[kind].items():
        rest = {k: v for k, v in GOOD[kind].items() if k != key}
        yield json.dumps(rest).encode()
        for wrong in WRONG:
            is_right = (
                isinstance(wrong, type(value))
                and not isinstance(wrong, str)
                and wrong not in (-1, 10**30, [], ["x"] * 600, {"": None})
            )
            if not (is_right or (key == "provides" and wrong == {})):
                yield json.dumps({**rest, key: wrong}).encode()


def payloads(kind: str) -> Iterator[tuple[bytes, str]]:
    """Yield bad payloads of a kind with their reasons, for ever."""
    good = json.dumps(GOOD[kind])
    yields: list[tuple[bytes, str]] = [(payload, "invalid") for payload in spoilt(kind)]
    yields += [(json.dumps(GOOD[other]).encode(), "invalid") for other in UP_KINDS if other != kind]
    yields += [(text.encode(), "invalid") for text in ("[]", "3", "null", '"text"', "true", "{}", "[" * 5000)]
    yields += [(text.encode(), "not-json") for text in ("", " ", "{", good[:-1], good + "}", "nonsense")]
    yields += [(b"\x00\x01\x02\x03", "not-json"), (b"\x1f\x8b\x08" + bytes(100), "not-json")]
    for number, (payload, reason) in enumerate(itertools.cycle(yields), 1):
        yield payload, reason
        if number % HUGE_EVERY == 0:
            yield b" " * PAYLOAD_MAX + good.encode(), "too-large"


def bad_topics(prefix: str, device_id: str) -> Iterator[str]:
    """Yield topics that a controller receives and no device has."""
    for wrong_id in ("", " ", "a b", "ü", "x" * 129, "a$b"):
        yield f"{prefix}/{wrong_id}/up/report"
    for end in ("up", "up/", "up/nothing", "up/report/", "up/report/more", "up/REPORT", "up/check_in"):
        yield f"{prefix}/{device_id}/{end}"


def bad_messages(prefix: str, ids: Sequence[str], number: int, seed: int = 1) -> list[Bad]:
    """Return `number` bad messages of all kinds, from devices that exist and from strangers, in random order."""
    chance = random.Random(seed)
    senders = [*ids, "stranger", "another-stranger"]
    sources = {kind: payloads(kind) for kind in UP_KINDS}
    topics = itertools.cycle(bad_topics(prefix, ids[0]))
    messages = []
    for kind in itertools.islice(itertools.cycle([*UP_KINDS, "topic"]), number):
        if kind == "topic":
            messages.append(Bad(next(topics), json.dumps(GOOD["report"]).encode(), "bad-topic"))
        else:
            payload, reason = next(sources[kind])
            messages.append(Bad(f"{prefix}/{chance.choice(senders)}/up/{kind}", payload, reason))
    chance.shuffle(messages)
    return messages


def reasons(messages: Sequence[Bad]) -> Counter[str]:
    """Return how many messages there are of each reason."""
    return Counter(message.reason for message in messages)


def publish(address: Broker, messages: Sequence[Bad]) -> None:
    """Publish messages at QoS 1; returns when the broker has them all."""
    client = paho.Client(CallbackAPIVersion.VERSION2)
    client.max_inflight_messages_set(1000)
    client.connect(address.endpoint.host, address.endpoint.port)
    client.loop_start()
    sent = [client.publish(topic, payload, qos=1) for topic, payload, _ in messages]
    for info in sent:
        info.wait_for_publish(SENT_TIMEOUT_S)
    end_client(client)
