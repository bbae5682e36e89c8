"""Token buckets by key, in bounded memory: how often something may happen, for each address and in all.

A bucket holds `burst` and gains one every `refill_s` seconds. The keys that were seen longest ago are forgotten first,
which gives them a full bucket back: whoever has that many addresses is not held by a limit for each of them.
"""

from __future__ import annotations

import ipaddress
import threading
from collections import OrderedDict

IPV6_PREFIX = 64  # bits: a customer of an internet provider has at least that many addresses to himself (RFC 6177)


class Buckets:
    """See the module; times are seconds of a clock that never goes back. Safe to share between threads."""

    def __init__(self, *, burst: int, refill_s: float, keys_max: int) -> None:
        self._burst = burst
        self._refill_s = refill_s
        self._keys_max = keys_max
        self._lock = threading.Lock()
        self._full_at: OrderedDict[str, float] = OrderedDict()  # when each bucket will be, or was, full again

    def __len__(self) -> int:
        return len(self._full_at)

    def wait_s(self, key: str, now: float) -> float:
        """Return the seconds until `take` would take, 0 if it would now."""
        with self._lock:
            return self._wait_s(key, now)

    def take(self, key: str, now: float) -> bool:
        """Take one, if there is one."""
        with self._lock:
            if self._wait_s(key, now) > 0:
                return False
            self._full_at[key] = max(self._full_at.get(key, now), now) + self._refill_s
            self._full_at.move_to_end(key)
            while len(self._full_at) > self._keys_max:
                self._full_at.popitem(last=False)
            return True

    def _wait_s(self, key: str, now: float) -> float:
        return max(0.0, self._full_at.get(key, now) - now - (self._burst - 1) * self._refill_s)


def neighbourhood(address: str) -> str:
    """Return what stands for an address in a bucket: itself, or the network of an IPv6 address."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return address
    if found.version == 4 or found.ipv4_mapped is not None:  # noqa: PLR2004  the protocol's name
        return address
    return str(ipaddress.ip_network(f"{found}/{IPV6_PREFIX}", strict=False))
