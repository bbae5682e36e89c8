"""One event is one line of a log, whatever others wrote into it: a forged entry must not look like one of ours.

1. In a message, every character that is not printable is escaped: line ends, terminal controls, marks of direction.
2. What follows it (a trace, a stack) is indented, line by line, and escaped in the same way.
"""

from __future__ import annotations

import logging

INDENT = "    "


def escaped(text: str) -> str:
    """Return a text on one line, without anything that a terminal or a journal would act on."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode("ascii") for one in text)


class LineFormatter(logging.Formatter):
    """See the module."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802  the base class's
        return escaped(super().formatMessage(record))

    def formatException(self, ei: object) -> str:  # noqa: N802  as above
        return _indented(super().formatException(ei))  # type: ignore[arg-type]  # as the base class has it

    def formatStack(self, stack_info: str) -> str:  # noqa: N802  as above
        return _indented(super().formatStack(stack_info))


def _indented(text: str) -> str:
    return "\n".join(INDENT + escaped(line) for line in text.split("\n"))
