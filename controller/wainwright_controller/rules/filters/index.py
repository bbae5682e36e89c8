"""Which of many filters a device meets, without trying them all.

From each filter follow conditions of which a device must meet at least one: `name = literal`, or that it has the
attribute at all. Only filters with such a condition that the device meets are tried, and those without any.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping
from typing import Generic, TypeVar

from wainwright_controller.rules.filters.filter import Filter
from wainwright_controller.rules.filters.matching import Attributes
from wainwright_controller.rules.filters.terms import OPERATORS, And, Comparison, Literal, Not, Operator, Or, Term
from wainwright_controller.rules.filters.values import elements, number_of, text_of

K = TypeVar("K", bound=Hashable)
Condition = tuple[str, Literal | None]
"""A full name, and a literal that its value must have; None where any value does."""


class FilterIndex(Generic[K]):
    """Filters by their keys; immutable."""

    def __init__(self, filters: Mapping[K, Filter]) -> None:
        self._filters = dict(filters)
        self._order = {key: number for number, key in enumerate(self._filters)}
        self._always: list[K] = []
        self._by_name: dict[str, dict[Literal | None, list[K]]] = defaultdict(lambda: defaultdict(list))
        shared = Counter(condition for one in self._filters.values() for condition in _mentioned(one.root))
        for key, one in self._filters.items():
            conditions = needed(one.root, shared)
            if conditions is None:
                self._always.append(key)
            for name, literal in conditions or ():
                self._by_name[name][literal].append(key)

    def matching(self, attributes: Attributes) -> list[K]:
        """Return the keys of the filters that the attributes meet, in the order of the mapping."""
        tried = set(self._always)
        for name, by_literal in self._by_name.items():
            value = attributes.get(name)
            if value is None:
                continue
            tried.update(by_literal.get(None, ()))
            for element in elements(value):
                tried.update(by_literal.get(text_of(element), ()))
                number = number_of(element)
                if number is not None:
                    tried.update(by_literal.get(number, ()))
        return [key for key in sorted(tried, key=self._order.__getitem__) if self._filters[key].matches(attributes)]


def needed(term: Term, shared: Mapping[Condition, int]) -> frozenset[Condition] | None:
    """Return conditions of which at least one is met whenever the term is; None when there are none.

    `shared` says how many filters mention each: of an And, the conditions that fewest others share tell most.
    """
    match term:
        case Comparison(name, op, literals):
            if OPERATORS[op].opposite_of is not None:
                return None
            if op in {Operator.EQUAL, Operator.IN}:
                return frozenset((name.full, literal) for literal in literals)
            return frozenset({(name.full, None)})
        case And(terms):
            found = [conditions for one in terms if (conditions := needed(one, shared)) is not None]
            return min(found, key=lambda conditions: _cost(conditions, shared), default=None)
        case Or(terms):
            union: frozenset[Condition] = frozenset()
            for one in terms:
                conditions = needed(one, shared)
                if conditions is None:
                    return None
                union |= conditions
            return union
        case Not():
            return None


def _cost(conditions: frozenset[Condition], shared: Mapping[Condition, int]) -> tuple[bool, int]:
    """Return what such conditions let through, for a comparison: any value is more than a few literals."""
    return any(literal is None for _, literal in conditions), sum(shared.get(one, 0) for one in conditions)


def _mentioned(term: Term) -> set[Condition]:
    """Return the equalities in a term."""
    match term:
        case And(terms) | Or(terms):
            return set().union(*map(_mentioned, terms))
        case Comparison():
            return set(needed(term, {}) or ())
        case Not():
            return set()
