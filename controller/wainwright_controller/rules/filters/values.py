"""What a filter sees of an attribute's value: texts and numbers.

1. A value is one element, or a list of them; an empty list counts as no value.
2. Every element has a *text*: a number's is what Python prints, a truth value's is `true` or `false`. Of a long
   text a filter sees the first TEXT_SEEN characters.
3. An element has a *number* if it is one, or if it is a text that is nothing but one, because inventory scripts print
   every value as text. Numbers are doubles (IEEE 754, 64 bits), as in JSON; a larger one has no number.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

TEXT_SEEN = 256  # characters: name, value and device id together stay below the 2,704 bytes of PostgreSQL's index rows
Element = str | int | float
Value = Element | Sequence[str]

NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def elements(value: Value) -> Sequence[Element]:
    """Return the elements of a value."""
    return (value,) if isinstance(value, str | int | float) else value


def text_of(element: Element) -> str:
    """Return an element's text, as much of it as filters see."""
    if isinstance(element, str):
        return element[:TEXT_SEEN]
    if isinstance(element, bool):
        return "true" if element else "false"
    try:
        return str(element)[:TEXT_SEEN]
    except ValueError:  # Python prints no integer of more than 4,300 digits
        return "-inf" if element < 0 else "inf"


def number_of(element: Element) -> float | None:
    """Return an element's number, None when it has none."""
    if isinstance(element, bool):
        return None
    if isinstance(element, str) and (len(element) >= TEXT_SEEN or not NUMBER.fullmatch(element)):
        return None
    try:
        number = float(element) + 0.0  # there is one zero: -0.0 + 0.0 is 0.0
    except OverflowError:
        return None
    return number if math.isfinite(number) else None
