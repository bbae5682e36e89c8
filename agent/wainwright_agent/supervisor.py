"""What the service manager gets and wants: readiness, the watchdog, log lines in its form."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping

from wainwright_common.log_lines import LineFormatter

PATIENCE_S = 300.0  # for the medium to store something; what a module writes to a slow card keeps it busy for a minute
SYSLOG_LEVELS = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}


def notify(state: str, env: Mapping[str, str] = os.environ) -> None:
    """Tell systemd a state (`READY=1`, `WATCHDOG=1`, `STOPPING=1`), as sd_notify(3) does; without it, do nothing."""
    address = env.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notifier:
        try:
            notifier.sendto(state.encode(), "\0" + address[1:] if address.startswith("@") else address)
        except OSError as error:
            logging.getLogger(__name__).warning("cannot tell the service manager %s: %s", state, error)


def watchdog_interval_s(env: Mapping[str, str] = os.environ) -> float | None:
    """Return how often the watchdog wants a sign, half its limit as sd_watchdog_enabled(3) advises; None for never."""
    try:
        return int(env["WATCHDOG_USEC"]) / 2 / 1_000_000
    except (KeyError, ValueError):
        return None


class Watchdog:
    """The signs of life that the service manager wants, if it wants any: given only while `is_healthy` says so."""

    def __init__(
        self, is_healthy: Callable[[], bool], env: Mapping[str, str] = os.environ, patience_s: float = PATIENCE_S
    ) -> None:
        self._is_healthy = is_healthy
        self._interval_s = watchdog_interval_s(env) or math.inf
        self._patience_s = patience_s
        self.due_at = math.inf if self._interval_s == math.inf else time.monotonic()
        """When the next sign is due, in monotonic seconds."""

    def feed(self) -> None:
        """Give a sign."""
        if self._is_healthy():
            notify("WATCHDOG=1")
        self.due_at = time.monotonic() + self._interval_s

    @contextlib.contextmanager
    def patience(self) -> Iterator[None]:
        """Give the signs for the main thread while it waits for the medium in this context, for a bounded time."""
        if self._interval_s == math.inf or threading.current_thread() is not threading.main_thread():
            yield
            return
        is_over = threading.Event()
        feeder = threading.Thread(target=self._feed_until, args=(is_over,), name="watchdog", daemon=True)
        with contextlib.suppress(RuntimeError):  # without room for a thread: the medium may well be quick
            feeder.start()
        try:
            yield
        finally:
            is_over.set()

    def _feed_until(self, is_over: threading.Event) -> None:
        until = time.monotonic() + self._patience_s
        while not is_over.wait(max(0.0, self.due_at - time.monotonic())):
            if time.monotonic() > until:
                logging.getLogger(__name__).critical("the medium has not answered for %g s", self._patience_s)
                return
            self.feed()


def log_to_stderr(level: str, env: Mapping[str, str] = os.environ) -> None:
    """Send the agent's log to standard error, one line per event.

    What is less than `level` goes only to handlers that want it, as the logs of deployments.
    What others wrote into an event stays on its line (log_lines.py): modules say anything.
    Under systemd each line begins with its level, as sd-daemon(3) wants it, and has no time: the journal has one.
    """
    handler = logging.StreamHandler(sys.stderr)
    if "JOURNAL_STREAM" in env:
        handler.setFormatter(_JournalFormatter("%(name)s: %(message)s"))
    else:
        formatter = LineFormatter("%(asctime)s.%(msecs)03dZ %(levelname)-7s %(name)s: %(message)s", "%FT%T")
        formatter.converter = time.gmtime
        handler.setFormatter(formatter)
    handler.setLevel(level.upper())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(handler.level)


class _JournalFormatter(LineFormatter):
    def format(self, record: logging.LogRecord) -> str:
        return f"<{SYSLOG_LEVELS.get(record.levelno, 6)}>{super().format(record)}"
