"""Breaking what people read at spaces, where a terminal would break it within words. Elsewhere nothing is broken."""

from __future__ import annotations

import os
import re
import textwrap
from typing import IO, Any

WIDTH = 80  # columns of a terminal that does not say how wide it is
WIDTH_MIN = 20  # of what says that it is narrower, nothing would be left
_COMMAND = re.compile("`[^`]*`")
_KEPT = "\N{NO-BREAK SPACE}"


def columns(stream: IO[Any]) -> int | None:
    """Return how wide the terminal of a stream is; None when it is none."""
    if not stream.isatty():
        return None
    try:
        width = os.get_terminal_size(stream.fileno()).columns
    except OSError:
        return WIDTH
    return max(width or WIDTH, WIDTH_MIN)


def fitted(text: str, width: int | None, hanging: int = 0) -> str:
    """Return a text with its lines broken at spaces; those after a break begin `hanging` columns in.

    A command in backticks is not broken. A line that begins with a space is laid out already: it stays as it is.
    """
    if width is None:
        return text
    wrapper = textwrap.TextWrapper(
        width=width, subsequent_indent=" " * hanging, break_long_words=False, break_on_hyphens=False
    )
    lines = [line if line.startswith(" ") else wrapper.fill(_kept(line)) for line in text.split("\n")]
    return "\n".join(lines).replace(_KEPT, " ")


def pieces(text: str, width: int) -> list[str]:
    """Return a text in pieces of at most `width` columns, broken at spaces; one empty piece for no text."""
    return textwrap.wrap(text, max(width, 1), break_on_hyphens=False) or [""]


def _kept(line: str) -> str:
    return _COMMAND.sub(lambda match: match[0].replace(" ", _KEPT), line)
