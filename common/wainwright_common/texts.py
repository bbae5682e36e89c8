"""Texts from strangers, made safe to be repeated in an error, a log or on a terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text on one line and without control sequences, which would write what they like into logs."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)


def printable_lines(text: str) -> str:
    """Return a text of several lines, each as `printable` makes it."""
    return text if text.isprintable() else "\n".join(map(printable, text.split("\n")))


def encodable(text: str) -> str:
    """Return a text as UTF-8 can carry it: in the name of a file or device, which is bytes, not all need be text."""
    return text.encode(errors="replace").decode()


def escaped(text: str) -> str:
    """Return a JSON text that is safe on a terminal: JSON itself asks for the controls below U+0020 only."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() or one == "\n" else _escape(one) for one in text)


def _escape(one: str) -> str:
    units = one.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[i]:02x}{units[i + 1]:02x}" for i in range(0, len(units), 2))


def clipped(text: str, most: int, end: int = 0) -> str:
    """Return a text of at most `most` characters: its beginning, an ellipsis, and its last `end` characters."""
    if len(text) <= most:
        return text
    return f"{text[: most - end - 1]}…{text[len(text) - end :]}"
