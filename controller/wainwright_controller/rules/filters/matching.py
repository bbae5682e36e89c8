"""Whether a device's attributes meet a filter. Two-valued, like everything that a person says of a device.

1. A comparison holds if it holds for any element of the attribute's value. Without the attribute it does not hold.
2. `!=`, `not in` and `not exists` are the exact opposites of `=`, `in` and `exists`, and so is `not`: what has no
   such attribute meets them.
3. The literal says how it is compared: a number with the element's number, a text with its text.

What the store is asked (attribute_store.py) says the same in SQL.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from typing import Any

from wainwright_controller.rules.filters.patterns import found
from wainwright_controller.rules.filters.terms import OPERATORS, And, Comparison, Literal, Not, Operator, Or, Term
from wainwright_controller.rules.filters.values import Element, Value, elements, number_of, text_of

Attributes = Mapping[str, Value]
"""A device's attributes by their full names: see attributes.py."""

COMPARED: Mapping[Operator, Callable[[Any, Any], Any]] = {
    Operator.EQUAL: operator.eq,
    Operator.IN: operator.eq,
    Operator.LESS: operator.lt,
    Operator.AT_MOST: operator.le,
    Operator.GREATER: operator.gt,
    Operator.AT_LEAST: operator.ge,
}
"""The operators that compare with a literal; for SQL, too."""


def holds(term: Term, attributes: Attributes) -> bool:
    """Say whether the attributes meet a term; never raises."""
    match term:
        case And(terms):
            return all(holds(one, attributes) for one in terms)
        case Or(terms):
            return any(holds(one, attributes) for one in terms)
        case Not(one):
            return not holds(one, attributes)
        case Comparison(name, op, literals):
            value = attributes.get(name.full)
            opposite_of = OPERATORS[op].opposite_of
            if value is None:
                return opposite_of is not None
            positive = opposite_of or op
            is_met = any(is_true(element, positive, literals) for element in elements(value))
            return is_met is (opposite_of is None)


def is_true(element: Element, op: Operator, literals: tuple[Literal, ...]) -> bool:
    """Say whether one element meets an operator that is no opposite of another."""
    if op is Operator.EXISTS:
        return True
    if op is Operator.FOUND:
        return found(str(literals[0]), text_of(element))
    compare = COMPARED[op]
    return any(_compares(compare, element, literal) for literal in literals)


def _compares(compare: Callable[[Any, Any], Any], element: Element, literal: Literal) -> bool:
    if isinstance(literal, str):
        return bool(compare(text_of(element), literal))
    number = number_of(element)
    return number is not None and bool(compare(number, literal))
