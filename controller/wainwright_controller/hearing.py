"""Since when this controller has heard devices without a break: before that, their silence says nothing.

What a device says while the broker, the store or the controller is away waits for it. A break is what nobody has
listened in, and also what looks like it: the clock was set, or the process stood still.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum

STEP_MAX_S = 10.0  # between two beats, which are 0.5 s apart: more is a clock that was set, or a process that stood


class Need(StrEnum):
    """What a controller cannot hear devices without."""

    BROKER = "broker"
    STORE = "store"


class Hearing:
    """See the module; safe to share between threads. `missing` is what is not there at the beginning."""

    def __init__(self, *missing: Need, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._missing = set(missing)
        self._since = self._beat_at = clock()
        self._lock = threading.Lock()

    @property
    def since(self) -> float | None:
        """Since when, in seconds since the epoch; None while something is missing."""
        with self._lock:
            return None if self._missing else self._since

    def lost(self, need: Need) -> None:
        """Take note that devices are not heard from now on."""
        with self._lock:
            self._missing.add(need)

    def found(self, need: Need) -> None:
        """Take note that what was missing is there again; without effect if it was not missing."""
        with self._lock:
            if need in self._missing:
                self._missing.discard(need)
                self._since = self._clock()

    def begin_anew(self) -> None:
        """Take note that another controller may have been the one to hear devices until now."""
        with self._lock:
            self._since = self._clock()

    def beat(self) -> None:
        """Take note that time goes on; called again and again, so that a step of it is a break."""
        now = self._clock()
        with self._lock:
            if abs(now - self._beat_at) > STEP_MAX_S:
                self._since = now
            self._beat_at = now
