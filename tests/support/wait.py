"""Waiting for something to become true, without fixed pauses."""

from __future__ import annotations

import os
import random
import socket
import time
from collections import deque
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")
PATIENCE_S = 60.0  # for what takes a moment on a machine that does nothing else
PORTS = (10_240, 32_768)  # from the first to before the last; ip(7), ip_local_port_range
_RANDOM = random.SystemRandom()
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_WORKERS = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
_GIVEN: deque[int] = deque(maxlen=1000)


def wait_until(check: Callable[[], T], timeout_s: float = PATIENCE_S, what: str = "the condition") -> T:
    """Return the first true value of `check`; raises AssertionError with `what` after `timeout_s`."""
    deadline = time.monotonic() + timeout_s
    while True:
        value = check()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {timeout_s} s for {what}, in vain; last value: {value!r}")
        time.sleep(0.01)


def free_port() -> int:
    """Return a TCP port of 127.0.0.1 that nobody listens on now, and that nobody else is given soon.

    It is below those that the kernel takes for connections: one of these may be taken before the port is used, and the
    kernel gives the same to two processes that ask one after the other. Of those below, each worker has its share, and
    gives none twice.
    """
    first, end = PORTS
    while True:
        port = _RANDOM.randrange(first + _WORKER, end, _WORKERS)
        if port in _GIVEN:
            continue
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            _GIVEN.append(port)
            return port


def is_listening(port: int) -> bool:
    """Say whether somebody accepts connections on a port of 127.0.0.1."""
    with socket.socket() as probe:
        probe.settimeout(0.2)
        return probe.connect_ex(("127.0.0.1", port)) == 0
