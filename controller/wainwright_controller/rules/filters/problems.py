"""What is wrong with a filter, and where."""

from __future__ import annotations

import unicodedata

from wainwright_common.errors import WainwrightError

SHOWN_BEFORE, SHOWN_AFTER = 50, 26  # characters of a long filter around the mistake: a line of a terminal, 80 wide


class BadFilter(WainwrightError):  # noqa: N818  the name is the sentence: "refused: bad filter"
    """A text is not a filter.

    `column` is where, counted from 1 in characters of the text; one past the end where something is missing there.
    `reason` is the first line of the text of this error, which shows the place, too.
    """

    def __init__(self, text: str, column: int, reason: str) -> None:
        self.column = column
        self.reason = f"The filter cannot be read at column {column}: {reason}."
        super().__init__(f"{self.reason}\n{_pointed(text, column)}")


def _pointed(text: str, column: int) -> str:
    """Return the part of a filter around a column, and a second line with a caret below that column."""
    at = column - 1
    start = max(0, at - SHOWN_BEFORE)
    end = at + SHOWN_AFTER
    before, after = _printable(text[start:at]), _printable(text[at:end])
    left = "…" if start else ""
    right = "…" if end < len(text) else ""
    return f"  {left}{before}{after}{right}\n  {' ' * (len(left) + sum(map(_width, before)))}^"


def _printable(text: str) -> str:
    """Return as many characters, without those that would end the line or cannot be printed."""
    return "".join(c if c.isprintable() else " " if c.isspace() else "\N{REPLACEMENT CHARACTER}" for c in text)


def _width(char: str) -> int:
    """Return how many columns of a terminal a character takes."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
