"""News inside one controller: after each commit, that something changed which somebody may be looking at.

Listeners (live pages, `deployment watch`) wait for a number to rise and then read the store; so a listener that is slow
misses numbers, never facts. What other controllers on the same store change, news.py makes heard here; while it cannot,
the listeners' wait ends by its time limit and they read the store then.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Collection


class Bulletin:
    """Counts postings; any thread posts, any event loop waits."""

    def __init__(self) -> None:
        self.on_post: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._number = 0
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    @property
    def number(self) -> int:
        """How many postings there have been."""
        return self._number

    def post(self, deployments: Collection[str], *, is_more: bool = False) -> None:
        """Say that these deployments changed, and with `is_more` something else that pages show; else say nothing."""
        if not deployments and not is_more:
            return
        self.hear()
        if (tell := self.on_post) is not None:
            tell()

    def hear(self) -> None:
        """Raise the number, without telling anybody else: another controller posted."""
        with self._lock:
            self._number += 1
            waiting, self._waiting = self._waiting, set()
        for loop, event in waiting:
            try:
                loop.call_soon_threadsafe(event.set)
            except RuntimeError:  # that loop has ended with its server
                continue

    async def wait(self, seen: int, timeout_s: float) -> int:
        """Return the number of postings, as soon as it is above `seen` or `timeout_s` has passed."""
        event = asyncio.Event()
        entry = (asyncio.get_running_loop(), event)
        with self._lock:
            if self._number > seen:
                return self._number
            self._waiting.add(entry)
        try:
            await asyncio.wait_for(event.wait(), timeout_s)
        except TimeoutError:
            pass
        finally:
            with self._lock:
                self._waiting.discard(entry)
        return self._number
