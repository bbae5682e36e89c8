"""What must be right for an update to work: small checks, each with what was found and what to do about it.

Each looks and changes nothing, but for one: with the agent stopped, the broker's check connects as the device for a
moment, so that the controller sees it come and go.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from wainwright_agent.checks.broker import check_broker
from wainwright_agent.checks.finding import Finding
from wainwright_agent.checks.machine import check_clock, check_disk, check_modules
from wainwright_agent.checks.trust import check_certificate, check_keys
from wainwright_agent.config import Config

__all__ = ["CHECKS", "Finding", "check_all"]

# fmt: off
CHECKS: Mapping[str, Callable[[Config], Finding]] = {
    "clock":       check_clock,
    "disk":        check_disk,
    "broker":      check_broker,
    "certificate": check_certificate,
    "keys":        check_keys,
    "modules":     check_modules,
}
# fmt: on


def check_all(config: Config) -> Iterator[Finding]:
    """Return the findings, each as soon as it is there; the broker's may take its time limits."""
    for name, check in CHECKS.items():
        try:
            yield check(config)
        except OSError as error:  # rights that none of them expects: the other checks still say something
            yield Finding(name, f"cannot be checked: {error}", "Run this as root.")
