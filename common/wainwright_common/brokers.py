"""A broker's address and credentials, as both sides write them in their configuration."""

from __future__ import annotations

from typing import Literal
from urllib.parse import urlsplit

import msgspec

from wainwright_common.errors import BadTopic, WainwrightError
from wainwright_common.topics import PREFIX, check_prefix

PORTS = {"mqtt": 1883, "mqtts": 8883}  # registered with IANA
LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


class BadBroker(WainwrightError):  # noqa: N818  the name is the sentence: "refused: bad broker"
    """A broker's address cannot be used."""


class BrokerAddress(msgspec.Struct, frozen=True, kw_only=True):
    """Where the broker is, and how to be let in.

    `protocol` is the version of MQTT. `allow_plain` lets credentials and commands cross a network unencrypted.
    """

    url: str = "mqtt://127.0.0.1:1883"
    prefix: str = PREFIX
    protocol: Literal["3.1.1", "5"] = "3.1.1"
    username: str | None = None
    password: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    allow_plain: bool = False

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return urlsplit(self.url).scheme == "mqtts"

    @property
    def host(self) -> str:
        """The broker's host name or address."""
        return urlsplit(self.url).hostname or ""

    @property
    def port(self) -> int:
        """The broker's TCP port."""
        parts = urlsplit(self.url)
        return parts.port or PORTS[parts.scheme]

    def check(self) -> None:
        """Raise BadBroker, saying what to change, when this address cannot or must not be used."""
        try:
            parts = urlsplit(self.url)
            port = parts.port
        except ValueError as error:
            raise BadBroker(f"broker.url {self.url!r} is no address: {error}.") from error
        if parts.scheme not in PORTS or not parts.hostname or port == 0:
            raise BadBroker(f"broker.url {self.url!r}: write mqtt://HOST:PORT or mqtts://HOST:PORT.")
        if parts.username or parts.path or parts.query:
            raise BadBroker(
                f"broker.url {self.url!r} has more than a host and a port: credentials have keys of their own."
            )
        if not self.is_tls and parts.hostname not in LOOPBACK and not self.allow_plain:
            raise BadBroker(
                f"broker.url {self.url!r} would cross the network unencrypted: use mqtts://,"
                " or set broker.allow_plain = true if you accept that."
            )
        try:
            check_prefix(self.prefix)
        except BadTopic as error:
            raise BadBroker(f"broker.prefix: {error}") from error
