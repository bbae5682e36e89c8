"""What a filter is made of: an immutable tree, and its one canonical text.

`parse(term.text)` is the same tree again (parser.py); the store keeps that text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from typing import NamedTuple

import msgspec

Literal = str | float
KEYWORDS = frozenset({"and", "or", "not", "in", "exists", "true", "false"})
BARE = re.compile(r"[A-Za-z_][A-Za-z0-9_.:-]*")
_BARE_KEY = re.compile(r"[A-Za-z0-9_.:-]*[A-Za-z0-9_:-]")
_INTEGER_MAX = 1e15  # up to here a double's digits are those of the integer


class Scope(StrEnum):
    """Where an attribute comes from."""

    SYSTEM = ""
    INVENTORY = "inventory"
    TAGS = "tags"
    PROVIDES = "provides"


SYSTEM_NAMES = {
    "device_id": "the device's id",
    "device_type": "what the device said at its last check-in",
    "artifact_name": "the release that runs, as of the last check-in",
    "agent_version": "the version of its agent",
    "state": "`pending`, `accepted`, `rejected` or `decommissioned`",
    "online": "`true` or `false`: whether its agent is connected to the broker",
    "group": "its static group; none when it is in none",
}
"""Every attribute that the controller itself knows, and its meaning."""

MISTAKEN = {
    "tag": "tags",
    "label": "tags",
    "labels": "tags",
    "attributes": "inventory",
    "identity": "inventory",
    "provide": "provides",
}
"""Words in front of a dot that look like a scope, and the scope that is meant: as a name they would match nothing."""


class Operator(StrEnum):
    """How an attribute is compared."""

    EQUAL = "="
    UNEQUAL = "!="
    LESS = "<"
    AT_MOST = "<="
    GREATER = ">"
    AT_LEAST = ">="
    IN = "in"
    NOT_IN = "not in"
    EXISTS = "exists"
    NOT_EXISTS = "not exists"
    FOUND = "~"


class Meaning(NamedTuple):
    """What an operator does: `mender` is its name in Mender's filters; `opposite_of` whose opposite it is."""

    mender: str
    text: str
    opposite_of: Operator | None = None


# fmt: off
OPERATORS: dict[Operator, Meaning] = {
    Operator.EQUAL:      Meaning("$eq", "the value is this text, or this number"),
    Operator.UNEQUAL:    Meaning("$ne", "the opposite of `=`", Operator.EQUAL),
    Operator.LESS:       Meaning("$lt", "the value is smaller; texts by the order of their Unicode code points"),
    Operator.AT_MOST:    Meaning("$lte", "smaller, or the same"),
    Operator.GREATER:    Meaning("$gt", "the value is greater"),
    Operator.AT_LEAST:   Meaning("$gte", "greater, or the same"),
    Operator.IN:         Meaning("$in", "the value is one of these"),
    Operator.NOT_IN:     Meaning("$nin", "the opposite of `in`", Operator.IN),
    Operator.EXISTS:     Meaning("$exists", "the device has this attribute"),
    Operator.NOT_EXISTS: Meaning("$exists: false", "the opposite of `exists`", Operator.EXISTS),
    Operator.FOUND:      Meaning("$regex", "this regular expression is found in the value's text"),
}
# fmt: on
SIMPLE = (
    Operator.EQUAL,
    Operator.UNEQUAL,
    Operator.LESS,
    Operator.AT_MOST,
    Operator.GREATER,
    Operator.AT_LEAST,
)
"""The operators that take one text or number."""


class Node(msgspec.Struct, frozen=True):
    """Base of everything in the tree."""


class Name(Node, frozen=True):
    """The name of an attribute."""

    scope: Scope
    key: str

    @property
    def full(self) -> str:
        """The name with its scope, under which attributes are found."""
        return f"{self.scope}.{self.key}" if self.scope else self.key

    @property
    def text(self) -> str:
        """The name as it is written in a filter, as short as it can be."""
        if self.scope is Scope.SYSTEM or (self.scope is Scope.INVENTORY and _is_bare(self.key)):
            return self.key
        return f"{self.scope}.{self.key if _BARE_KEY.fullmatch(self.key) else quoted(self.key)}"


class Comparison(Node, frozen=True):
    """One attribute, one operator, and the literals that the operator takes: texts, and numbers as floats."""

    name: Name
    operator: Operator
    literals: tuple[Literal, ...] = ()

    @property
    def text(self) -> str:
        """The canonical text."""
        start = f"{self.name.text} {self.operator}"
        if self.operator in {Operator.IN, Operator.NOT_IN}:
            return f"{start} ({', '.join(map(_printed, self.literals))})"
        return " ".join([start, *map(_printed, self.literals)])


class Not(Node, frozen=True):
    """The opposite of a term."""

    term: Term

    @property
    def text(self) -> str:
        """The canonical text."""
        return f"not {_inside(self.term, (And, Or))}"


class And(Node, frozen=True):
    """All of two or more terms, none of which is an And itself."""

    terms: tuple[Term, ...]

    @property
    def text(self) -> str:
        """The canonical text."""
        return " and ".join(_inside(term, (Or,)) for term in self.terms)


class Or(Node, frozen=True):
    """At least one of two or more terms, none of which is an Or itself."""

    terms: tuple[Term, ...]

    @property
    def text(self) -> str:
        """The canonical text."""
        return " or ".join(term.text for term in self.terms)


Term = Comparison | Not | And | Or


def names_in(term: Term) -> Iterator[Name]:
    """Yield the names of all attributes that a term asks for."""
    match term:
        case Comparison(name=name):
            yield name
        case Not(term=one):
            yield from names_in(one)
        case And(terms=terms) | Or(terms=terms):
            for one in terms:
                yield from names_in(one)


def joined(kind: type[And | Or], terms: Sequence[Term]) -> Term:
    """Return the And, or the Or, of one or more terms; those inside that are of the same kind are taken apart."""
    flat: list[Term] = []
    for term in terms:
        flat += term.terms if isinstance(term, And | Or) and isinstance(term, kind) else (term,)
    return flat[0] if len(flat) == 1 else kind(tuple(flat))


def quoted(text: str) -> str:
    """Return a text as a literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _is_bare(key: str) -> bool:
    """Say whether an inventory's key may stand without its scope."""
    if not (BARE.fullmatch(key) and _BARE_KEY.fullmatch(key)):
        return False
    first, dot, _ = key.partition(".")
    taken = first in MISTAKEN or first in set(Scope)
    return key.lower() not in KEYWORDS and key not in SYSTEM_NAMES and not (dot and taken)


def _inside(term: Term, kinds: tuple[type[Node], ...]) -> str:
    return f"({term.text})" if isinstance(term, kinds) else term.text


def _printed(literal: Literal) -> str:
    if isinstance(literal, str):
        return quoted(literal)
    return str(int(literal)) if literal.is_integer() and abs(literal) < _INTEGER_MAX else repr(literal)
