"""The broker: asked of the running agent, which is connected or knows why not; else tried as the agent would."""

from __future__ import annotations

import contextlib
import fcntl
import os
from queue import Empty
from random import SystemRandom
from typing import Any

from wainwright_agent import identity
from wainwright_agent.checks.finding import Finding
from wainwright_agent.config import Config
from wainwright_agent.control import AgentUnreachable, ask
from wainwright_agent.events import Connected, Disconnected, EventQueue
from wainwright_agent.identity import IdentityError
from wainwright_agent.journal import LOCK

STATUS_S = 10.0  # the agent answers in milliseconds; on a busy device, behind silent clients, in seconds
STEPS = 4  # of connecting, each with the limit broker.connect_timeout_s: TCP, TLS, MQTT, the subscription

# fmt: off
REMEDIES = (
    # What the reason for a failure contains, and what to do then; the first that fits.
    ("enrolment/device.pem",         "The device has no certificate yet: see the line below."),
    ("Connection refused",           "Check broker.url, and whether a broker listens there."),
    ("Name or service not known",    "Check broker.url and the device's name servers."),
    ("name resolution",              "Check the device's name servers and its network."),
    ("unreachable",                  "Check the device's network."),
    ("timed out",                    "Check the device's network, and firewalls on the way."),
    ("certificate has expired",      "Renew the broker's certificate; if it is still valid, set the device's clock."),
    ("certificate is not yet valid", "Set the device's clock."),
    ("certificate verify failed",    "Check broker.ca: it has to be the authority of the broker's certificate."),
    ("refuses the subscription",     "Have the broker allow the device its own topics (docs/agent.md)."),
    ("refuses the connection",       "Check broker.certificate, or broker.username; the broker's log says more."),
    ("does not answer as an MQTT",   "Check the port in broker.url: 8883 with mqtts://, 1883 with mqtt://."),
)
# fmt: on
OTHERWISE = "See the log of the agent and of the broker."


def check_broker(config: Config) -> Finding:
    """Find out whether the device can connect, subscribe and publish; raises nothing."""
    try:
        return _of_status(config, next(iter(ask(config, "status", line_s=STATUS_S))))
    except AgentUnreachable as unreachable:
        if unreachable.is_forbidden:
            return Finding("broker", "unknown: the agent may not be asked", "Run this as root.")
    if _agent_runs(config):
        return Finding("broker", "unknown: the agent runs, but does not answer", "systemctl restart wainwright-agent")
    return _try_connecting(config)


def remedy_for(reason: str) -> str:
    """Return what to do about the reason of a failed connection."""
    return next((remedy for part, remedy in REMEDIES if part in reason), OTHERWISE)


def _of_status(config: Config, status: dict[str, Any]) -> Finding:
    link = status.get("link", {})
    if link.get("connected"):
        return Finding("broker", f"{config.broker.url}: connected as {status['device_id']} since {link['since']}")
    reason = str(link.get("error", f"{config.broker.url}: the agent has just begun to connect"))
    return Finding("broker", reason, remedy_for(reason))


def _agent_runs(config: Config) -> bool:
    """Say whether a process holds the journal. An agent that starts in this very moment would be refused it once."""
    with contextlib.suppress(OSError):
        lock = os.open(config.data_dir / LOCK, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
    return False


def _try_connecting(config: Config) -> Finding:
    from wainwright_agent.link import Link  # brings the MQTT library, which only this needs

    url, limit_s = config.broker.url, STEPS * config.broker.connect_timeout_s
    try:
        device_id = identity.device_id(config)
    except IdentityError as error:
        return Finding("broker", str(error).rstrip("."), "Set device_id, or install an identity program.")
    events: EventQueue = EventQueue()
    link = Link(config.broker, device_id, events, SystemRandom())
    link.start()
    try:
        event = events.get(timeout=limit_s)
    except Empty:
        return Finding("broker", f"{url}: no answer in {limit_s:g} s", remedy_for("timed out"))
    finally:
        link.stop()
    if isinstance(event, Connected):
        return Finding("broker", f"{url}: could connect as {device_id}; the agent is stopped")
    reason = event.reason if isinstance(event, Disconnected) else str(event)
    return Finding("broker", reason, remedy_for(reason))
