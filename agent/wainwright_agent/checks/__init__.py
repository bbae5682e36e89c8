"""What must be right for an update to work: small checks, each with what was found and what to do about it.

Each looks and changes nothing, but for one: with the agent stopped, the broker's check connects as the device for a
moment, so that the controller sees it come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from wainwright_agent.checks.broker import check_broker
from wainwright_agent.checks.finding import Finding
from wainwright_agent.checks.machine import check_clock, check_disk, check_modules
from wainwright_agent.checks.trust import check_certificate, check_keys
from wainwright_agent.config import Config

__all__ = ["CHECKS", "Finding", "check_all"]

CHECKS: tuple[Callable[[Config], Finding], ...] = (
    check_clock,
    check_disk,
    check_broker,
    check_certificate,
    check_keys,
    check_modules,
)


def check_all(config: Config) -> Iterator[Finding]:
    """Return the findings, each as soon as it is there; the broker's may take its time limits."""
    for check in CHECKS:
        yield check(config)
