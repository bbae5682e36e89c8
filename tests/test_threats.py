"""docs/security.md says who stops which attack: every test that it names is there, and is run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "security.md"
HEAD = "| attack | who stops it | test |"
NOT_RUN = {"skip", "skipif", "xfail"}
THE_LISTS = (  # of TUF and Uptane, by the words of the table
    "arbitrary software",
    "wrong recipient",
    "mix and match",
    "mixed bundles",
    "partial bundle",
    "rollback",
    "fast-forward",
    "freeze",
    "drop requests",
    "endless data",
    "slow retrieval",
    "extraneous dependencies",
    "malicious mirror",
    "eavesdrop",
    "compromise of a signing key",
)


class Row(NamedTuple):
    """An attack: who stops it, and the tests that try it."""

    attack: str
    who: str
    tests: list[str]


def rows() -> Iterator[Row]:
    """Yield the rows of all the tables of attacks."""
    for table in PAGE.read_text(encoding="utf-8").split(HEAD)[1:]:
        for line in table.split("\n\n")[0].strip().splitlines()[1:]:
            attack, who, tests = (cell.strip() for cell in line.strip().strip("|").split(" | ", 2))
            yield Row(attack, who, re.findall(r"`(test_\w+)`", tests))


def marks() -> dict[str, list[str]]:
    """Return the marks of every test of the repository, by its name."""
    found: dict[str, list[str]] = {}
    for file in (ROOT / "tests").rglob("test_*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_"):
                found.setdefault(node.name, []).extend(ast.unparse(one) for one in node.decorator_list)
    return found


def test_every_test_that_is_named_exists_and_is_not_left_out() -> None:
    known = marks()
    named = {name for row in rows() for name in row.tests}

    assert len(named) > 80
    assert named - set(known) == set()
    left_out = {name for name in named for mark in known[name] if set(re.findall(r"mark\.(\w+)", mark)) & NOT_RUN}
    assert left_out == set()


def test_every_attack_is_tried_or_it_is_said_that_nothing_stops_it() -> None:
    bad = [row.attack for row in rows() if not row.tests and "**nothing**" not in row.who.lower()]

    assert bad == []
    assert all(row.who for row in rows())


def test_no_attack_has_two_rows_and_none_of_the_known_lists_is_missing() -> None:
    attacks = [row.attack for row in rows()]

    assert len(attacks) == len(set(attacks)) > 80
    assert [word for word in THE_LISTS if not any(word in attack for attack in attacks)] == []
