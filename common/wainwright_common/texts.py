"""Texts from strangers, made safe to be repeated in an error, a log or on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text on one line and without control sequences, which would write what they like into logs."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def clipped(text: str, most: int, end: int = 0) -> str:
    """Return a text of at most `most` characters: its beginning, an ellipsis, and its last `end` characters."""
    if len(text) <= most:
        return text
    return f"{text[: most - end - 1]}…{text[len(text) - end :]}"
