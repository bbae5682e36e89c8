"""How the broker is told to read its files again, and to end a session, as the configuration says."""

from __future__ import annotations

import os
import signal
import subprocess
from functools import partial
from pathlib import Path

from wainwright_common.errors import WainwrightError
from wainwright_controller.config import EMBEDDED, BrokerSection
from wainwright_controller.ingest.link import take_over
from wainwright_controller.warden import BrokerOrders

TIMEOUT_S = 30.0  # for a command: a service manager waits no longer for a reload
CLIENT_ID = "{client_id}"  # in disconnect_command
SAID_MAX = 300  # characters of what a command said


class OrderFailed(WainwrightError):  # noqa: N818  the name is the sentence: "the order failed"
    """The broker could not be told something."""


def orders_of(broker: BrokerSection) -> BrokerOrders:
    """Return the ways that a configuration names."""
    reload = None
    if broker.reload_command:
        reload = partial(_run, broker.reload_command, "broker.reload_command")
    elif broker.pid_file:
        reload = partial(_hang_up, Path(broker.pid_file))
    end_session = None
    if broker.disconnect_command:
        end_session = partial(_disconnect, broker.disconnect_command)
    elif url := takeover_url(broker):
        end_session = partial(take_over, broker, url)
    return BrokerOrders(reload, end_session)


def takeover_url(broker: BrokerSection) -> str:
    """Return where sessions can be taken over: a listener that lets clients choose their id; "" if there is none."""
    if broker.takeover_url or broker.url == EMBEDDED:
        return broker.takeover_url
    return "" if broker.certificate else broker.url


def _hang_up(pid_file: Path) -> None:
    try:
        os.kill(int(pid_file.read_text(encoding="ascii")), signal.SIGHUP)
    except (OSError, ValueError) as error:
        said = error.strerror if isinstance(error, OSError) else "it has no number"
        raise OrderFailed(f"Cannot tell the broker of {pid_file} to read its files again: {said}.") from error


def _disconnect(command: tuple[str, ...], client_id: str) -> None:
    words = tuple(word.replace(CLIENT_ID, client_id) for word in command)
    _run(words, "broker.disconnect_command")


def _run(command: tuple[str, ...], setting: str) -> None:
    try:
        ran = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT_S, check=False, text=True
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        said = error.strerror if isinstance(error, OSError) else f"it takes longer than {TIMEOUT_S:.0f} s"
        raise OrderFailed(f"Cannot run {command[0]} of {setting}: {said}.") from error
    if ran.returncode != 0:
        words = " ".join(ran.stderr.split())[:SAID_MAX]
        raise OrderFailed(f"{command[0]} of {setting} ended with status {ran.returncode}: {words}")
