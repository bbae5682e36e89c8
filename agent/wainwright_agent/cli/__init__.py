"""The technician's commands. Each command's code, and what it imports, is loaded only when it is called.

Data goes to standard output, talk and errors to standard error. The exit codes are those of `Exit`.
"""

from __future__ import annotations

import io
import os
import sys
from argparse import Namespace
from collections.abc import Sequence

from wainwright_agent.cli.exits import Exit, Refused
from wainwright_agent.cli.output import complain, talk
from wainwright_agent.cli.parser import parser
from wainwright_common.errors import WainwrightError
from wainwright_common.settings import ConfigError


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line and return its exit code."""
    _print_anything()
    arguments = parser().parse_args(argv)
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


def _run(arguments: Namespace) -> Exit:
    from wainwright_agent.cli.commands import COMMANDS
    from wainwright_agent.config import load

    config = load(getattr(arguments, "config", None), os.environ)
    if arguments.command == "status" and "config" not in arguments:
        _note_missing_file()
    return COMMANDS[arguments.command](config, arguments)


def _print_anything() -> None:
    """Show a mark for what the console has no sign for: a command must not fail by the words of a module."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _note_missing_file() -> None:
    """Say so when all settings are the defaults: most likely the agent runs with a file that was not named here."""
    from wainwright_agent.config import DEFAULT_FILE, Config
    from wainwright_common.settings import ENV_PREFIX, ENV_SECTION_END, leaves

    variables = {ENV_PREFIX + ENV_SECTION_END.join(path).upper() for path, _, _ in leaves(Config)}
    if not DEFAULT_FILE.exists() and variables.isdisjoint(os.environ):
        talk(f"note: there is no {DEFAULT_FILE}, so the defaults hold. Name the agent's file with --config.")


def _fail(text: str, code: Exit) -> int:
    for line in text.splitlines():
        complain(line)
    return int(code)
