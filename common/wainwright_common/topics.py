"""MQTT topics as types: the only file that knows where the slashes go.

A topic is `{prefix}/{device}/{kind}`; the kind tells the direction and the message. Parsing and printing are inverses:

>>> parse("wain/v1/press-07/up/check-in")
Topic(device='press-07', kind=<Kind.CHECK_IN: 'up/check-in'>)
>>> Topic("press-07", Kind.CHECK_IN).text()
'wain/v1/press-07/up/check-in'
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from wainwright_common.errors import BadTopic

PREFIX = "wain/v1"
"""The default prefix. A fleet may use another: one or more levels of the characters of a device id."""

DEVICE_ID_MAX = 128  # characters; bounds a topic, a table key and a line on a screen
DEVICE_ID = re.compile(r"[A-Za-z0-9._:@-]{1,128}")
_PREFIX = re.compile(r"[A-Za-z0-9._:@-]{1,64}(/[A-Za-z0-9._:@-]{1,64}){0,7}")


class Kind(StrEnum):
    """What a topic carries; the value is the end of the topic."""

    PRESENCE = "up/presence"
    INVENTORY = "up/inventory"
    CHECK_IN = "up/check-in"
    REPORT = "up/report"
    LOG = "up/log"
    REPLY = "down/reply"
    ACK = "down/ack"
    COMMAND = "down/command"

    @property
    def is_up(self) -> bool:
        """True for what a device sends, False for what a controller sends."""
        return self.value.startswith("up/")


_KINDS = {kind.value: kind for kind in Kind}


@dataclass(frozen=True, slots=True)
class Topic:
    """One device's topic of one kind."""

    device: str
    kind: Kind

    def text(self, prefix: str = PREFIX) -> str:
        """Print the topic; the device id must have passed `check_device_id`."""
        return f"{prefix}/{self.device}/{self.kind.value}"


def parse(text: str, prefix: str = PREFIX) -> Topic:
    """Read a topic under `prefix`. Raises BadTopic for anything that `Topic.text` cannot have printed."""
    device, _, end = text[len(prefix) + 1 :].partition("/")
    kind = _KINDS.get(end)
    if kind is None or not text.startswith(f"{prefix}/") or not DEVICE_ID.fullmatch(device):
        raise BadTopic(f"{text[:200]!r} is not a topic of {prefix!r}: expected {prefix}/DEVICE/(up|down)/KIND.")
    return Topic(device, kind)


def check_device_id(text: str) -> str:
    """Return `text` if it is a device id; raises BadTopic otherwise."""
    if not DEVICE_ID.fullmatch(text):
        raise BadTopic(
            f"{text[:200]!r} is not a device id: use 1 to {DEVICE_ID_MAX} characters of A-Z a-z 0-9 . _ : @ -"
        )
    return text


def check_prefix(text: str) -> str:
    """Return `text` if it is a topic prefix; raises BadTopic otherwise."""
    if not _PREFIX.fullmatch(text):
        raise BadTopic(f"{text[:200]!r} is not a topic prefix: use levels of A-Z a-z 0-9 . _ : @ - separated by '/'.")
    return text


def downlinks(device: str, prefix: str = PREFIX) -> str:
    """Return the filter that a device subscribes to: all that controllers send to it."""
    return f"{prefix}/{device}/down/#"


def uplinks(prefix: str = PREFIX, share: str | None = None) -> str:
    """Return the filter that a controller subscribes to: all that devices send.

    With `share`, controllers of the same share group divide the messages among them (MQTT 5 section 4.8.2;
    Mosquitto grants it to 3.1.1 clients too).
    """
    plain = f"{prefix}/+/up/#"
    return f"$share/{share}/{plain}" if share else plain


def client_id(device: str) -> str:
    """Return the MQTT client id of a device: its id, with the dots escaped, which NATS refuses in client ids.

    Where the broker takes the client id from the certificate, it is the device id itself, and this one is not
    looked at.
    """
    return device.replace(".", "%2E")
