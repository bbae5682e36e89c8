"""From a filter's words to its tree, by recursive descent.

term       = all { "or" all }
all        = factor { "and" factor }
factor     = "not" factor | "(" term ")" | comparison
comparison = name ( simple literal | "~" text | [ "not" ] "in" "(" literal { "," literal } ")" | [ "not" ] "exists" )
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from wainwright_controller.rules.filters.lexer import Kind, Word, words
from wainwright_controller.rules.filters.patterns import BadPattern, compiled
from wainwright_controller.rules.filters.problems import BadFilter
from wainwright_controller.rules.filters.terms import (
    MISTAKEN,
    SIMPLE,
    SYSTEM_NAMES,
    And,
    Comparison,
    Literal,
    Name,
    Not,
    Operator,
    Or,
    Scope,
    Term,
    joined,
)
from wainwright_controller.rules.filters.values import TEXT_SEEN

TEXT_MAX = 4_096  # characters, of the text as written and of the canonical one: five pages of conditions
LITERALS_MAX = 256  # in one filter; a query has a parameter for each, and SQLite allows 1,000 levels of conditions
DEPTH_MAX = 20  # of parentheses and `not`: more than a person can read, and far from Python's limit of recursion
NAME_MAX = 256  # characters, of a key: the protocol's limit for a name
LITERAL_MAX = TEXT_SEEN - 1  # characters: a comparison with what a filter sees of a value is then exact

_FACTOR = "the name of an attribute, `not` or `(`"
_OPERATOR = f"an operator ({', '.join(Operator)})"
_LITERAL = "a text in quotes or a number"


def tree(text: str) -> Term:
    """Return the tree of a filter's text; raises BadFilter."""
    if len(text) > TEXT_MAX:
        raise BadFilter(text, TEXT_MAX + 1, f"a filter has at most {TEXT_MAX} characters, this one has {len(text)}")
    term = _Parser(text).parse()
    if len(term.text) > TEXT_MAX:
        raise BadFilter(text, len(text) + 1, f"written out it has more than {TEXT_MAX} characters")
    return term


class _Parser:
    def __init__(self, text: str) -> None:
        self._text = text
        self._words = list(words(text))
        self._at = 0
        self._literals = 0

    def parse(self) -> Term:
        if self._is_at_end():
            self._refuse(self._word, f"it is empty; expected {_FACTOR}")
        term = self._term(0)
        if not self._is_at_end():
            self._expected("`and`, `or`, or the end")
        return term

    def _is_at_end(self) -> bool:
        return self._word.kind is Kind.END

    @property
    def _word(self) -> Word:
        return self._words[self._at]

    def _next(self) -> Word:
        word = self._word
        self._at += 1
        return word

    def _takes(self, *sources: str) -> bool:
        """Say whether the next words are these signs and keywords, and if so, go past them."""
        ahead = self._words[self._at : self._at + len(sources)]
        if [w.source.lower() if w.kind in {Kind.KEYWORD, Kind.SIGN} else None for w in ahead] != list(sources):
            return False
        self._at += len(sources)
        return True

    def _term(self, depth: int) -> Term:
        return self._chain("or", Or, lambda: self._chain("and", And, lambda: self._factor(depth)))

    def _chain(self, keyword: str, kind: type[And | Or], part: Callable[[], Term]) -> Term:
        parts = [part()]
        while self._takes(keyword):
            parts.append(part())
        return joined(kind, parts)

    def _factor(self, depth: int) -> Term:
        word = self._word
        if depth > DEPTH_MAX:
            self._refuse(word, f"it is nested more than {DEPTH_MAX} times")
        if self._takes("not"):
            return Not(self._factor(depth + 1))
        if self._takes("("):
            term = self._term(depth + 1)
            if not self._takes(")"):
                self._expected(f"`and`, `or`, or `)` for the `(` at column {word.column}")
            return term
        if word.kind is Kind.NAME:
            return self._comparison()
        return self._expected(_FACTOR)

    def _comparison(self) -> Comparison:
        name = self._name()
        for operator in (Operator.NOT_IN, Operator.IN, Operator.NOT_EXISTS, Operator.EXISTS):
            if self._takes(*operator.split()):
                is_list = operator in {Operator.IN, Operator.NOT_IN}
                return Comparison(name, operator, self._list() if is_list else ())
        if self._takes(Operator.FOUND):
            return Comparison(name, Operator.FOUND, (self._pattern(),))
        for operator in SIMPLE:
            if self._takes(operator):
                return Comparison(name, operator, (self._literal(),))
        return self._expected(_OPERATOR)

    def _name(self) -> Name:
        word = self._next()
        first, dot, key = word.source.partition(".")
        if dot and first in MISTAKEN:
            meant = MISTAKEN[first]
            self._refuse(word, f"there is no {first}.…: write {meant}.{key}, or inventory.{word.source}")
        if not dot or first not in set(Scope):
            return self._checked(
                word, Name(Scope.SYSTEM if word.source in SYSTEM_NAMES else Scope.INVENTORY, word.source)
            )
        after = self._word
        is_adjacent = after.column == word.column + len(word.source)
        if not key and is_adjacent and isinstance(after.value, str) and after.kind is Kind.LITERAL:
            self._at += 1
            return self._checked(after, Name(Scope(first), after.value))
        return self._checked(word, Name(Scope(first), key))

    def _checked(self, word: Word, name: Name) -> Name:
        if not name.key or (word.kind is Kind.NAME and name.key.endswith(".")):
            self._refuse(word, 'a name is missing after the dot: write inventory.cpu, tags."my tag"')
        if len(name.key) > NAME_MAX:
            self._refuse(word, f"a name has at most {NAME_MAX} characters")
        return name

    def _list(self) -> tuple[Literal, ...]:
        opening = self._word
        if not self._takes("("):
            self._expected('`(` and a list, such as ("north", "south")')
        found = [self._literal()]
        while self._takes(","):
            found.append(self._literal())
        if not self._takes(")"):
            self._expected(f"`,` or `)` for the `(` at column {opening.column}")
        return tuple(found)

    def _pattern(self) -> str:
        word = self._word
        if word.kind is not Kind.LITERAL or not isinstance(word.value, str):
            self._expected("a regular expression in quotes")
        self._at += 1
        self._count(word)
        try:
            compiled(word.value)
        except BadPattern as error:
            self._refuse(word, f"not a regular expression that RE2 knows: {error}")
        return word.value

    def _literal(self) -> Literal:
        word = self._word
        is_truth = word.kind is Kind.KEYWORD and word.source.lower() in {"true", "false"}
        if word.kind is not Kind.LITERAL and not is_truth:
            self._expected(_LITERAL)
        self._at += 1
        self._count(word)
        if is_truth:
            return word.source.lower()
        if isinstance(word.value, str) and len(word.value) > LITERAL_MAX:
            self._refuse(word, f"a text to compare with has at most {LITERAL_MAX} characters")
        return word.value

    def _count(self, word: Word) -> None:
        self._literals += 1
        if self._literals > LITERALS_MAX:
            self._refuse(word, f"a filter has at most {LITERALS_MAX} texts and numbers")

    def _expected(self, what: str) -> NoReturn:
        word = self._word
        found = "the end" if word.kind is Kind.END else word.source
        hint = f': a text is written in quotes, "{found}"' if what is _LITERAL and word.kind is Kind.NAME else ""
        self._refuse(word, f"expected {what}, found {found}{hint}")

    def _refuse(self, word: Word, reason: str) -> NoReturn:
        raise BadFilter(self._text, word.column, reason)
