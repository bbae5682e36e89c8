"""`wain test` and `wain diag`: is all well here, and what support needs to know if not."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from wainwright_agent import diag
from wainwright_agent.checks import Finding, check_all
from wainwright_agent.cli.exits import Exit
from wainwright_agent.cli.output import complain, say, say_json, tell
from wainwright_agent.cli.show import read_status
from wainwright_agent.config import Config
from wainwright_common.errors import WainwrightError

NAME_WIDTH = 12  # the longest is `certificate`
MARKS = {True: "✓", False: "✗"}
PLAIN_MARKS = {True: "ok", False: "!!"}


def run_tests(config: Config, output: str) -> Exit:
    """Print one line for each check, and what to do about those that found something."""
    _keep_quiet()
    findings: list[Finding] = []
    for finding in check_all(config):
        findings.append(finding)
        if output != "json":
            _print(finding)
            sys.stdout.flush()  # the next one may take its time
    if output == "json":
        say_json([_plain(finding) for finding in findings])
    return Exit.DONE if all(finding.ok for finding in findings) else Exit.FAILED


def write_archive(config: Config, folder: Path) -> Exit:
    """Write the archive for support and print its path."""
    _keep_quiet()
    try:
        status = read_status(config)
    except WainwrightError as error:  # a damaged journal, for example: then the archive matters most
        status = {"error": str(error)}
        complain(f"{error} The archive says so, too.")
    path = diag.write(folder, config, status, list(check_all(config)), os.environ)
    say(str(path.absolute()))
    return Exit.DONE


def _print(finding: Finding) -> None:
    marks = MARKS if _can_print("".join(MARKS.values())) else PLAIN_MARKS
    begin = len(f"  {marks[True]} ") + NAME_WIDTH + 1
    tell(f"  {marks[finding.ok]} {finding.name:<{NAME_WIDTH}} {finding.text}", hanging=begin)
    if finding.remedy:
        tell(f"{'':<{begin}}{finding.remedy}", hanging=begin)


def _plain(finding: Finding) -> dict[str, object]:
    found: dict[str, object] = {"name": finding.name, "ok": finding.ok, "text": finding.text}
    return found | ({} if finding.ok else {"remedy": finding.remedy})


def _can_print(text: str) -> bool:
    try:
        text.encode(sys.stdout.encoding or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def _keep_quiet() -> None:
    """Keep the link's own log off the screen: the findings say what it would."""
    logging.getLogger().addHandler(logging.NullHandler())
