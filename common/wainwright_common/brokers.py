"""A broker's address, as both sides write it: mqtt://HOST[:PORT] or mqtts://HOST[:PORT]."""

from __future__ import annotations

import ipaddress
from typing import NamedTuple
from urllib.parse import urlsplit

from wainwright_common.errors import WainwrightError
from wainwright_common.topics import PREFIX

PORTS = {"mqtt": 1883, "mqtts": 8883}  # registered with IANA


class BadBroker(WainwrightError):  # noqa: N818  the name is the sentence: "refused: bad broker"
    """A broker's address cannot, or must not, be used; the text begins with the setting that is wrong."""


class Endpoint(NamedTuple):
    """Where the broker is."""

    host: str
    port: int
    tls: bool


def endpoint_of(url: str) -> Endpoint:
    """Return host, port and encryption of a broker's URL; raises BadBroker when it is not one."""
    if "@" in url:  # and the address is not repeated: a password would stand in terminals and logs
        raise BadBroker("broker.url: user and password do not belong there, but to broker.username, broker.password.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadBroker(f"broker.url: {url!r}: {error}.") from error
    if parts.scheme not in PORTS or not parts.hostname or parts.path.strip("/") or parts.query:
        raise BadBroker(f"broker.url: {url!r}: expected mqtt://HOST[:PORT] or mqtts://HOST[:PORT].")
    return Endpoint(parts.hostname, port or PORTS[parts.scheme], parts.scheme == "mqtts")


class BrokerAddress(NamedTuple):
    """What a plain client needs: a tool, a simulated fleet."""

    url: str
    prefix: str = PREFIX
    username: str | None = None
    password: str | None = None
    ca: str | None = None

    @property
    def host(self) -> str:
        """The broker's host name or address."""
        return endpoint_of(self.url).host

    @property
    def port(self) -> int:
        """The broker's TCP port."""
        return endpoint_of(self.url).port

    @property
    def is_tls(self) -> bool:
        """Whether the connection is encrypted."""
        return endpoint_of(self.url).tls

    def check(self) -> None:
        """Raise BadBroker when the address is not one, or is another machine's and not encrypted."""
        check_encryption(self.url, allow_plain=False)


def check_encryption(url: str, *, allow_plain: bool) -> None:
    """Raise BadBroker when what is sent to this broker would be readable on a network, and nobody allowed that."""
    endpoint = endpoint_of(url)
    if not endpoint.tls and not allow_plain and not is_loopback(endpoint.host):
        raise BadBroker(
            f"broker.url: {url} would send everything readable to another machine. "
            "Use mqtts://, or set broker.allow_plain = true."
        )


def is_loopback(host: str) -> bool:
    """Say whether a host name or address is this machine's loopback."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
