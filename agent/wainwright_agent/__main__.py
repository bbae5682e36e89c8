"""`wainwright-agent`, `wain` and `python -m wainwright_agent`."""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from wainwright_agent.spare import Spare


def main() -> int:
    """Run this process's command line and return its exit code."""
    words = sys.argv[1:]
    with _spare(words) as spare:
        from wainwright_agent.cli import main as run

        code = run(words, spare)
    if spare is not None:
        # Everything is stored: to take the modules apart lasts as long as a dozen syncs.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code


def _spare(words: list[str]) -> Spare | nullcontext[None]:
    """Start what `install` begins with before anything else, so that both processes load their code side by side."""
    match words:
        case ["install", *rest] | ["--config", _, "install", *rest] if not {"-h", "--help"} & {*rest}:
            from wainwright_agent.spare import Spare

            return Spare()
    return nullcontext()


if __name__ == "__main__":
    sys.exit(main())
