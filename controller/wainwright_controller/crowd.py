"""How much one peer, one person and all together may have open of the HTTP server, and how slow they may be."""

from __future__ import annotations

import ipaddress
from collections import Counter
from typing import NamedTuple

from wainwright_controller.buckets import neighbourhood
from wainwright_controller.config import Http
from wainwright_controller.turnstile import Turnstile

PROXIES = ("127.0.0.1", "::1")  # whose X-Forwarded-For is believed, and who bring the requests of everybody
STREAMS_EACH, STREAMS_ALL = 32, 512  # of events: each looks into the store whenever something happens
UPLOADS_EACH, UPLOADS_ALL = 8, 32  # received or waiting for their turn (api/uploads.py)


class Limits(NamedTuple):
    """What the configuration allows; times are in seconds."""

    connections_max: int
    per_address_max: int
    head_timeout_s: float
    stall_timeout_s: float

    @classmethod
    def of(cls, http: Http) -> Limits:
        """Return the limits of a configuration."""
        return cls(
            http.connections_max,
            http.connections_per_address_max,
            http.head_timeout_s,
            http.stall_timeout_s,
        )


class Crowd:
    """Everybody who has something open; `turned_away` counts, by reason, whose connection was refused or ended."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits.of(Http())
        each, total = self.limits.per_address_max, self.limits.connections_max
        self.connections = Turnstile("connections", each_max=each, all_max=total)
        self.requests = Turnstile("requests", each_max=each, all_max=total)
        self.streams = Turnstile("streams of events", each_max=STREAMS_EACH, all_max=STREAMS_ALL)
        self.uploads = Turnstile("uploads", each_max=UPLOADS_EACH, all_max=UPLOADS_ALL)
        self.turned_away: Counter[str] = Counter()
        self._handshakes = Turnstile("handshakes", each_max=each, all_max=total)
        self._arriving: dict[object, str | None] = {}

    def arrive(self, address: object, key: str | None) -> bool:
        """Let a connection begin its handshake, if there is room, and say so; `address` is its other end."""
        if not self._handshakes.enter(key):
            return False
        self._arriving[address] = key
        return True

    def is_arriving(self, address: object) -> bool:
        """Say whether a connection's handshake is under way."""
        return address in self._arriving

    def settle(self, address: object) -> None:
        """Count a connection among those no more; nothing happens if it is not."""
        if address in self._arriving:
            self._handshakes.leave(self._arriving.pop(address))


def key_of(address: str) -> str | None:
    """Return what an address is counted as; None for a proxy on this machine, behind which is everybody."""
    try:
        plain = str(ipaddress.ip_address(address))
    except ValueError:
        plain = address
    return None if plain in PROXIES else neighbourhood(plain)
