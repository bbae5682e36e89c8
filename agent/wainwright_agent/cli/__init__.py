"""The technician's commands. Each command's code, and what it imports, is loaded only when it is called.

Data goes to standard output, talk and errors to standard error. The exit codes are those of `Exit`.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from wainwright_agent.cli.exits import Exit, Refused
from wainwright_agent.cli.output import complain, talk
from wainwright_common.errors import WainwrightError
from wainwright_common.settings import ConfigError

if TYPE_CHECKING:
    from argparse import Namespace

    from wainwright_agent.spare import Spare


def main(argv: Sequence[str] | None = None, spare: Spare | None = None) -> int:
    """Run a command line and return its exit code; `spare` is a child that `install` may use."""
    _print_anything()
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        return int(_serve(words) if _is_service(words) else _run(words, spare))
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


def _is_service(words: Sequence[str]) -> bool:
    """Say whether this is `run` as service managers call it; other forms of it are for the parser."""
    match words:
        case ["run"]:
            return True
        case ["run", "--config", file] | ["--config", file, "run"]:
            return file != "run" and not file.startswith("-")
    return False


def _serve(words: Sequence[str]) -> Exit:
    """Run the service without the parser: it stays for weeks, and argparse would be 0.5 MB of its memory."""
    from wainwright_agent.cli.run import run
    from wainwright_agent.config import load

    file = next((Path(word) for word in words if word not in {"run", "--config"}), None)
    return run(load(file, os.environ))


def _run(words: Sequence[str], spare: Spare | None) -> Exit:
    from wainwright_agent.cli.commands import COMMANDS
    from wainwright_agent.cli.parser import parser
    from wainwright_agent.config import load

    arguments: Namespace = parser().parse_args(words)
    config = load(getattr(arguments, "config", None), os.environ)
    if arguments.command == "status" and "config" not in arguments:
        _note_missing_file()
    arguments.spare = spare
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
