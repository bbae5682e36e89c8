"""Bars that can be read without colour: what is done well, what failed, what is left are three different signs."""

from __future__ import annotations

from rich.text import Text

SIGNS = ("\N{BOX DRAWINGS HEAVY HORIZONTAL}", "\N{MULTIPLICATION SIGN}", "\N{BOX DRAWINGS LIGHT HORIZONTAL}")
SIGNS_ASCII = ("=", "x", "-")
_STYLES = ("green", "red", "dim")


def bar(good: int, bad: int, total: int, width: int, *, ascii_only: bool = False) -> Text:
    """Return `good` and `bad` of `total` as a bar of `width` signs."""
    signs = SIGNS_ASCII if ascii_only else SIGNS
    drawn = Text(no_wrap=True)
    for sign, style, cells in zip(signs, _STYLES, parts(good, bad, total, width), strict=True):
        drawn.append(sign * cells, style)
    return drawn


def parts(good: int, bad: int, total: int, width: int) -> tuple[int, int, int]:
    """Return how many signs of a bar are for what is good, bad and left.

    What is there has one at least, where all three have room; so a bar is full when nothing is left, not before.
    """
    left = total - good - bad
    if total <= 0:
        return width, 0, 0
    cells = [_cells(n, total, width) for n in (good, bad, left)]
    surplus = sum(cells) - width
    for _ in range(abs(surplus)):  # taken from, or given to, the longest part, where it is seen least
        longest = max(range(3), key=lambda i: cells[i])
        cells[longest] -= 1 if surplus > 0 else -1
    return cells[0], cells[1], cells[2]


def _cells(n: int, total: int, width: int) -> int:
    return max(1, round(width * n / total)) if n else 0
