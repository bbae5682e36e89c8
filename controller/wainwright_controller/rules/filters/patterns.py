"""Regular expressions in time proportional to the text, whoever wrote them: RE2 (docs/decisions/0006-filters.md)."""

from __future__ import annotations

from functools import lru_cache
from typing import Protocol

import re2

MEMORY_MAX = 1 << 20  # bytes of one pattern: ten times what any in use needs; a counted repetition may ask for more
KEPT = 2_048  # compiled patterns; twice as many as the filters that a check-in is measured with


class Pattern(Protocol):
    """The part of a compiled pattern that is used here."""

    def search(self, text: str) -> object:
        """Return something true when the pattern is found in the text."""


class BadPattern(ValueError):  # noqa: N818  the name is the sentence: "refused: bad pattern"
    """A text is no regular expression that RE2 accepts; the text of this error says why."""


@lru_cache(KEPT)
def compiled(pattern: str) -> Pattern:
    """Return a pattern, compiled once; raises BadPattern."""
    options = re2.Options()
    options.max_mem = MEMORY_MAX
    options.never_capture = True
    options.log_errors = False
    try:
        made: Pattern = re2.compile(pattern, options)
    except re2.error as error:
        raise BadPattern(str(error)) from error
    return made


def found(pattern: str, text: str) -> bool:
    """Say whether a valid pattern is found anywhere in a text."""
    try:
        return bool(compiled(pattern).search(text))
    except UnicodeEncodeError:  # half of a surrogate pair: no text of a device has one, and no pattern finds it
        return False
