"""`wain status --watch`: a picture that is drawn anew on a terminal, one line for each change elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any, NoReturn

from wainwright_agent.cli.output import fitted, say
from wainwright_agent.cli.show import HANGING, read_status, table
from wainwright_agent.config import Config
from wainwright_agent.status import Status
from wainwright_common.texts import escaped, printable

INTERVAL_S = 1.0  # what an eye follows; the agent answers in a millisecond
HOME, CLEAR_LINE, CLEAR_BELOW = (
    "\x1b[H",
    "\x1b[K",
    "\x1b[J",
)  # ECMA-48; drawn over, not wiped, so that it never flickers
CLEAR = "\x1b[2J"


def watch_status(config: Config, output: str) -> NoReturn:
    """Show the status until the technician has seen enough (Ctrl+C)."""
    if output == "json":
        _print_documents(config)
    if sys.stdout.isatty():
        _draw(config)
    _print_changes(config)


def _draw(config: Config) -> NoReturn:
    sys.stdout.write(CLEAR)
    while True:
        lines = [*_fitted(table(read_status(config))), "", "Ctrl+C ends this, not the update."]
        sys.stdout.write(HOME + "".join(f"{line}{CLEAR_LINE}\n" for line in lines) + CLEAR_BELOW)
        sys.stdout.flush()
        time.sleep(INTERVAL_S)


def _fitted(lines: list[str]) -> list[str]:
    return [part for line in lines for part in fitted(line, sys.stdout, HANGING).splitlines()]


def _print_changes(config: Config) -> NoReturn:
    before: Status = {}
    while True:
        now = read_status(config)
        for sentence in changes(before, now):
            say(printable(f"{datetime.now(UTC):%FT%TZ} {sentence}"))
        sys.stdout.flush()
        before = now
        time.sleep(INTERVAL_S)


def _print_documents(config: Config) -> NoReturn:
    before: Status = {}
    while True:
        now = read_status(config)
        if any(changes(before, now)):
            say(escaped(json.dumps(now, ensure_ascii=False)))
            sys.stdout.flush()
        before = now
        time.sleep(INTERVAL_S)


def changes(before: Status, now: Status) -> Iterator[str]:
    """Return what a person would want to hear of the difference: no times, no countdowns."""
    for describe in (_agent, _software, _link, _update, _outcome):
        sentence = describe(now)
        if sentence and sentence != (describe(before) if before else ""):
            yield sentence


def _agent(status: Status) -> str:
    return f"{status['device_id']}: the agent is {status['agent']}"


def _software(status: Status) -> str:
    return f"runs {status['artifact_name']}"


def _link(status: Status) -> str:
    link = status.get("link")
    if link is None:
        return ""  # the agent is stopped, which has been said
    return (
        f"connected to {link['broker']}" if link["connected"] else f"not connected: {link.get('error', 'connecting')}"
    )


def _update(status: Status) -> str:
    trying = status.get("trying")
    return "" if trying is None else f"{_named(trying)}: {trying['state']}"


def _outcome(status: Status) -> str:
    last: dict[str, Any] | None = status.get("last")
    if last is None:
        return ""
    error = last.get("error")
    why = f" ({error['code']}: {error['text']})" if error else ""
    return f"{_named(last)}: {last['outcome']}{why}{', rolled back' if last['rolled_back'] else ''}"


def _named(update: dict[str, Any]) -> str:
    return f"{update['artifact_name']}, deployment {update['deployment_id']}, attempt {update['attempt']}"
