"""Log lines that say only what the program says: what others have sent, or a module has printed, may be in any of them.

What is no printable character is replaced, and every line of an event but the first is indented: so nobody can write on
the terminal of whoever reads the log, nor make up an event of his own.
"""

from __future__ import annotations

import logging
from typing import Final

INDENT: Final = "    "


class LineFormatter(logging.Formatter):
    """A formatter whose events begin at the first column, and nothing else does."""

    def format(self, record: logging.LogRecord) -> str:
        """Return an event, its traceback included."""
        text = super().format(record)
        if text.isprintable():
            return text
        safe = "".join(one if one.isprintable() or one in "\n\t" else "\N{REPLACEMENT CHARACTER}" for one in text)
        return safe.replace("\n", f"\n{INDENT}")
