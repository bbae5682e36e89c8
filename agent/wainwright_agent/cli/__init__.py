"""The technician's commands. Each command's code, and what it imports, is loaded only when it is called.

Data goes to standard output, talk and errors to standard error. The exit codes are those of `Exit`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from wainwright_agent.cli.exits import Exit, Refused
from wainwright_common import __version__
from wainwright_common.errors import WainwrightError
from wainwright_common.settings import ConfigError

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    arguments = _parser().parse_args(argv)
    try:
        return int(_run(arguments))
    except ConfigError as error:
        return _fail(str(error), Exit.USAGE)
    except Refused as error:
        return _fail(str(error), Exit.REFUSED)
    except WainwrightError as error:
        return _fail(str(error), Exit.FAILED)
    except KeyboardInterrupt:
        return int(Exit.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read our output has seen enough; keep the interpreter from complaining about it at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return int(Exit.DONE)


def _run(arguments: argparse.Namespace) -> Exit:
    from wainwright_agent.cli.commands import COMMANDS
    from wainwright_agent.config import load

    config = load(getattr(arguments, "config", None), os.environ)
    if arguments.command == "status" and "config" not in arguments:
        _note_missing_file()
    return COMMANDS[arguments.command](config, arguments)


def _note_missing_file() -> None:
    """Say so when all settings are the defaults: most likely the agent runs with a file that was not named here."""
    from wainwright_agent.config import DEFAULT_FILE, Config
    from wainwright_common.settings import ENV_PREFIX, ENV_SECTION_END, leaves

    variables = {ENV_PREFIX + ENV_SECTION_END.join(path).upper() for path, _, _ in leaves(Config)}
    if not DEFAULT_FILE.exists() and variables.isdisjoint(os.environ):
        text = f"note: there is no {DEFAULT_FILE}, so the defaults hold. Name the agent's file with --config."
        print(text, file=sys.stderr)  # noqa: T201  a command's talk


def _fail(text: str, code: Exit) -> int:
    for line in text.splitlines():
        print(f"error: {line}", file=sys.stderr)  # noqa: T201  a command's talk
    return int(code)


def _parser() -> argparse.ArgumentParser:
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        default=argparse.SUPPRESS,  # so that it may stand before or after the command
        help="configuration (default: /etc/wainwright/agent.toml)",
    )
    parser = argparse.ArgumentParser(
        prog="wain", description="Keeps this device's software current.", parents=[shared], epilog=_EPILOG
    )
    parser.add_argument("--version", action="version", version=f"wainwright {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, text: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, help=text, description=text[0].upper() + text[1:] + ".", parents=[shared])

    command("run", "run the service, until a signal ends it")
    status = command("status", "what runs, what is tried, what comes next; also with the agent stopped")
    status.add_argument("--watch", action="store_true", help="follow it: a live picture, or a line for each change")
    _output(status)
    check_in = command("check-in", "ask the controller now and print its answer")
    _output(check_in)
    _timeout(check_in)
    inventory = command("inventory", "print what this device tells of itself")
    inventory.add_argument("--send", action="store_true", help="let the agent collect it anew and send it")
    _output(inventory)
    _timeout(inventory)
    command("show-artifact", "print the name of the artifact that runs")
    _output(command("show-provides", "print what the installed artifacts provide"))
    install = command("install", "install an artifact by hand; the device is not restarted")
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
        help=f"hold the update there; may be repeated. One of {', '.join(STOPS)}",
    )
    command("commit", "keep what was installed by hand")
    command("rollback", "go back to what ran before it was installed by hand")
    command("resume", "go on with an update by hand that is held, or was interrupted")
    _output(command("test", "check clock, disk, broker, certificate, keys and modules, and say what to do"))
    diag = command("diag", "write one archive for support, secrets left out")
    diag.add_argument(
        "--to", metavar="DIR", type=Path, default=Path(), help="folder to write it to (default: this one)"
    )
    configuration = command("config", "show or check the configuration")
    what = configuration.add_subparsers(dest="what", required=True, metavar="show|check")
    show = what.add_parser("show", help="print every setting as it is in effect; without passwords", parents=[shared])
    show.add_argument("-o", "--output", choices=("toml", "json"), default="toml", help="form (default: toml)")
    what.add_parser("check", help="say whether the agent can start with it", parents=[shared])
    return parser


_EPILOG = (
    "Exit codes: 0 done; 1 tried and failed; 2 wrong command line or configuration; 3 cannot reach the agent or the "
    "broker; 4 refused; 5 nothing to do; 6 done, but the device must be restarted to finish; 8 no answer in time; "
    "130 interrupted."
)


def _output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("-o", "--output", choices=("table", "json"), default="table", help="form (default: table)")


def _timeout(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=_seconds, default=REPLY_S, help="how long to wait (default: 30)"
    )


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value <= 600:  # noqa: PLR2004  the bound of a waiting technician, as inquiries.py keeps it
        raise argparse.ArgumentTypeError("expected more than 0 and at most 600 seconds")
    return value
