"""From a filter's text to its words. Each knows its column, counted from 1."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from wainwright_controller.rules.filters.problems import BadFilter
from wainwright_controller.rules.filters.terms import BARE, KEYWORDS, Literal
from wainwright_controller.rules.filters.values import NUMBER


class Kind(StrEnum):
    """What a word is."""

    NAME = "a name"
    KEYWORD = "a keyword"
    LITERAL = "a literal"
    SIGN = "a sign"
    END = "the end"


class Word(NamedTuple):
    """One word: `source` as it is written, keywords in small letters; a literal has its `value`, too."""

    kind: Kind
    source: str
    column: int
    value: Literal = ""


_SPACE = re.compile(r"[ \t\r\n]+")
_SIGN = re.compile(r"!=|<=|>=|[=<>~(),]")
_TEXT = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'""", re.DOTALL)
_ESCAPE = re.compile(r"""\\(["'\\])""")
_NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_GLUED = re.compile(r"[A-Za-z0-9_.:-]+")

HINTS = {
    "==": "`==` is written `=` here",
    "<>": "`<>` is written `!=` here",
    "&&": "`&&` is written `and` here",
    "||": "`||` is written `or` here",
    "!~": '`!~` is written with `not` in front here: not x ~ "…"',
    "=~": "`=~` is written `~` here",
    "!": "`!` is written `not` here",
}
"""What people bring from other languages, and how it is written here; longer ones first."""


def words(text: str) -> Iterator[Word]:
    """Yield the words of a filter, and at last its end; raises BadFilter."""
    strange = _NO_TEXT.search(text)
    if strange:
        raise BadFilter(text, strange.start() + 1, f"no filter has the character U+{ord(strange[0]):04X}")
    at = 0
    while at < len(text):
        if space := _SPACE.match(text, at):
            at = space.end()
            continue
        word = _word(text, at)
        yield word
        at += len(word.source)
    yield Word(Kind.END, "", len(text) + 1)


def _word(text: str, at: int) -> Word:
    column = at + 1
    for wrong, hint in HINTS.items():
        if text.startswith(wrong, at) and not text.startswith("!=", at):
            raise BadFilter(text, column, hint)
    if found := _SIGN.match(text, at):
        return Word(Kind.SIGN, found[0], column)
    if text[at] in "\"'":
        found = _TEXT.match(text, at)
        if not found:
            raise BadFilter(text, column, f"this text has no end: close it with {text[at]}")
        return Word(Kind.LITERAL, found[0], column, _ESCAPE.sub(r"\1", found[0][1:-1]))
    if found := BARE.match(text, at):
        is_keyword = found[0].lower() in KEYWORDS
        return Word(Kind.KEYWORD if is_keyword else Kind.NAME, found[0], column)
    if found := NUMBER.match(text, at):
        return _number(text, at, found[0])
    raise BadFilter(text, column, f"the character {text[at]} is not expected: texts are written in quotes")


def _number(text: str, at: int, source: str) -> Word:
    glued = _GLUED.match(text, at + len(source))
    if glued:
        written = source + glued[0]
        raise BadFilter(text, at + 1, f'{written} is not a number: if it is a text, write "{written}"')
    value = float(source) + 0.0
    if not math.isfinite(value):
        raise BadFilter(text, at + 1, "this number is too large: numbers go up to 1.8e308")
    return Word(Kind.LITERAL, source, at + 1, value)
