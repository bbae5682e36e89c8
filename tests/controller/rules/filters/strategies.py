"""Random filters and fleets that are close enough to each other to match now and then."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from wainwright_controller.rules.filters import Value
from wainwright_controller.rules.filters.terms import (
    OPERATORS,
    SYSTEM_NAMES,
    And,
    Comparison,
    Name,
    Not,
    Operator,
    Or,
    Scope,
    Term,
    joined,
)

CALM = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])  # other work may share the machine
KEYS = ["site", "mem_mb", "4g.modem", "odd key", "in", "group", "tags.site", "tag.x", "größe"]
WORDS = ["", "a", "A", "b", "pi4", "10", "9", "1e1", "-3.5", "007", 'say "hi"', "c:\\temp", "north-1", "é", "𝄞", "true"]
PATTERNS = ["^a", "b$", r"\d+", "(?i)PI", "", "[é𝄞]", "(a+)+$", "north-[0-9]"]

NUMBERS = st.sampled_from([0.0, 1.0, 9.0, 10.0, -3.5, 7.0, 1e21, 0.1, 512.0]) | st.floats(
    allow_nan=False, allow_infinity=False
).map(lambda number: number + 0.0)
ALPHABET = "aAbé𝄞19.-e\"'\\ \t\n\x7f(),=<~"  # a few characters of each kind: those of Unicode take seconds to set up
TEXTS = st.sampled_from(WORDS) | st.text(ALPHABET[:15], max_size=5)
SYSTEM = st.sampled_from(sorted(SYSTEM_NAMES)).map(lambda key: Name(Scope.SYSTEM, key))
NAMES = SYSTEM | st.builds(Name, st.sampled_from([Scope.INVENTORY, Scope.TAGS, Scope.PROVIDES]), st.sampled_from(KEYS))
VALUES: st.SearchStrategy[Value] = (
    TEXTS | st.sampled_from([9, 10, 512, 2**53 + 1, 10**400, 0.1, -0.0]) | st.integers() | st.lists(TEXTS, max_size=3)
)


@st.composite
def comparisons(draw: st.DrawFn) -> Term:
    """Return a comparison of any operator."""
    name, operator = draw(NAMES), draw(st.sampled_from(list(Operator)))
    if operator is Operator.FOUND:
        return Comparison(name, operator, (draw(st.sampled_from(PATTERNS)),))
    if "exists" in operator:
        return Comparison(name, operator)
    most = 3 if OPERATORS[operator].opposite_of is Operator.IN or operator is Operator.IN else 1
    return Comparison(name, operator, tuple(draw(st.lists(TEXTS | NUMBERS, min_size=1, max_size=most))))


def _grown(inner: st.SearchStrategy[Term]) -> st.SearchStrategy[Term]:
    some = st.lists(inner, min_size=1, max_size=3)
    return inner.map(Not) | some.map(lambda t: joined(And, t)) | some.map(lambda t: joined(Or, t))


TERMS: st.SearchStrategy[Term] = st.recursive(comparisons(), _grown, max_leaves=12)
