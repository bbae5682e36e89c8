"""What the service manager gets and wants: readiness, the watchdog, log lines in its form."""

from __future__ import annotations

import logging
import os
import socket
import sys
import time
from collections.abc import Mapping

from wainwright_common.log_lines import LineFormatter

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
