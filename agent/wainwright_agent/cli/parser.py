"""The command line: its words, their help, and what they may be given.

The help of all commands fits a serial console of 80 columns and 24 rows, with the line on which it was asked for.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

from wainwright_agent.cli.exits import Exit
from wainwright_agent.cli.output import complain
from wainwright_common import __version__

# The keys of by_hand.STOPS, which would be slow to import for each command; a test holds the two together.
STOPS = (
    "ArtifactInstall_Enter",
    "ArtifactCommit_Enter",
    "ArtifactCommit_Leave",
    "ArtifactRollback_Enter",
    "ArtifactFailure_Enter",
    "Cleanup",
)
REPLY_S = 30.0  # how long `check-in` and `inventory --send` wait
ENROL_S = 86_400.0  # how long `enrol` waits: somebody has to accept the device
REPLY_MAX_S = 600.0  # the bound of a waiting technician, as inquiries.py keeps it

# fmt: off
SUMMARIES: Mapping[str, str] = {
    # What somebody needs who stands in front of a device, in the order in which he needs it.
    "status":        "what runs, what is tried, what comes next; needs no agent",
    "check-in":      "ask the controller now, and print its answer",
    "install":       "install an artifact from a file or link; restarts nothing",
    "commit":        "keep for good what was installed by hand",
    "rollback":      "go back to what ran before, as long as it is not committed",
    "resume":        "go on with an update by hand that waits, or was interrupted",
    "logs":          "what was done in the last update, and why it failed",
    "test":          "what is wrong on this device, and what to do about it",
    "diag":          "write an archive for support, secrets left out",
    "enrol":         "get this device's certificate from the controller",
    "inventory":     "print what this device tells of itself",
    "show-artifact": "print the name of the artifact that runs",
    "show-provides": "print what the installed artifacts provide",
    "config":        "show or check the configuration",
    "run":           "run the service, until a signal ends it",
}
# fmt: on

_HELP = """\
usage: wain [--config FILE] COMMAND ...     (its options: wain COMMAND --help)

{commands}

FILE is the configuration, /etc/wainwright/agent.toml if none is named.
Exit codes: 0 done; 1 tried and failed; 2 wrong command line or configuration;
3 cannot reach agent or broker; 4 refused; 5 nothing to do; 6 done, but the
device must be restarted; 8 no answer in time; 130 interrupted.
"""


class _Parser(argparse.ArgumentParser):
    """Says where to find help when it is not understood."""

    def error(self, message: str) -> NoReturn:
        complain(f"{message}. See: {self.prog} --help")
        sys.exit(Exit.USAGE)


class _WholeParser(_Parser):
    """The parser of all commands."""

    def format_help(self) -> str:
        return _HELP.format(commands="\n".join(f"    {name:<14} {text}" for name, text in SUMMARIES.items()))


def parser() -> argparse.ArgumentParser:
    """Return what takes the command line apart; `command` and, with `config`, `what` are always there."""
    shared = _Parser(add_help=False)
    shared.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=argparse.SUPPRESS,  # so that it may stand before or after the command
        help="configuration (default: /etc/wainwright/agent.toml)",
    )
    whole = _WholeParser(prog="wain", parents=[shared])
    whole.add_argument("--version", action="version", version=f"wainwright {__version__}")
    commands = whole.add_subparsers(dest="command", required=True, metavar="COMMAND", parser_class=_Parser)
    made = {
        name: commands.add_parser(name, description=f"{text[0].upper()}{text[1:]}.", parents=[shared])
        for name, text in SUMMARIES.items()
    }
    for name in ("status", "check-in", "inventory", "show-provides", "logs", "test", "enrol"):
        _output(made[name])
    made["status"].add_argument(
        "--watch", action="store_true", help="follow it: a live picture, or a line for each change"
    )
    _timeout(made["check-in"])
    made["inventory"].add_argument("--send", action="store_true", help="let the agent collect it anew and send it")
    _timeout(made["inventory"])
    _install(made["install"])
    _logs(made["logs"])
    _enrol(made["enrol"])
    made["diag"].add_argument(
        "--to", metavar="DIR", type=Path, default=Path(), help="folder to write it to (default: this one)"
    )
    _configuration(made["config"], shared)
    return whole


def _install(install: argparse.ArgumentParser) -> None:
    install.add_argument("source", metavar="FILE|URL", help="the artifact")
    install.add_argument(
        "--reboot-exit-code", action="store_true", help="end with 6 when the device must be restarted to go on"
    )
    install.add_argument(
        "--stop-before",
        metavar="STATE",
        action="append",
        default=[],
        choices=STOPS,
        help=f"hold the update there, for `wain resume`; may be repeated. One of {', '.join(STOPS)}",
    )
    install.epilog = (
        "If what is installed can be undone, it waits then for `wain commit` or `wain rollback`; else it is kept at "
        "once. `wain status` says what an update waits for."
    )


def _logs(logs: argparse.ArgumentParser) -> None:
    logs.add_argument("number", metavar="NUMBER", type=int, nargs="?", help="another update's, as --list counts them")
    logs.add_argument("--list", action="store_true", help="say which logs there are")


def _enrol(enrol: argparse.ArgumentParser) -> None:
    enrol.add_argument("--renew", action="store_true", help="ask for the next certificate although it is early")
    enrol.add_argument("--new-key", action="store_true", help="with another key, which takes the place of this one")
    enrol.add_argument(
        "--timeout",
        metavar="SECONDS",
        type=float,
        default=ENROL_S,
        help="how long to wait to be accepted (default: a day)",
    )


def _configuration(configuration: argparse.ArgumentParser, shared: _Parser) -> None:
    what = configuration.add_subparsers(dest="what", required=True, metavar="show|check", parser_class=_Parser)
    show = what.add_parser("show", help="print every setting as it is in effect; without passwords", parents=[shared])
    show.add_argument("-o", "--output", choices=("toml", "json"), default="toml", help="form (default: toml)")
    what.add_parser("check", help="say whether the agent can start with it", parents=[shared])


def _output(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form (default: table)")


def _timeout(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=REPLY_S, help="how long to wait (default: 30)"
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= REPLY_MAX_S:
        raise argparse.ArgumentTypeError(f"expected more than 0 and at most {REPLY_MAX_S:g} seconds")
    return value
