"""What is a filter, how it is printed, and where a mistake is."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.controller.rules.filters.strategies import ALPHABET, CALM, TERMS
from wainwright_controller.rules.filters import BadFilter, Filter, parse
from wainwright_controller.rules.filters.parser import DEPTH_MAX, LITERAL_MAX, LITERALS_MAX, TEXT_MAX
from wainwright_controller.rules.filters.terms import Term

SOUP = st.lists(
    st.sampled_from(
        [
            "a",
            "tags.",
            "tags.b",
            '"x"',
            "'y'",
            '"open',
            "1",
            "-2",
            "1e9",
            "1x",
            "and",
            "or",
            "not",
            "in",
            "exists",
            "(",
            ")",
            ",",
            "=",
            "!=",
            "<",
            "<=",
            "~",
            "==",
            "!",
            "[",
            "true",
            "\n",
            "\\",
        ]
    )
).map(" ".join)


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("device_type='pi4'", 'device_type = "pi4"'),
        ("mem_mb>=512", "mem_mb >= 512"),
        ("inventory.mem_mb >= 5.120e2", "mem_mb >= 512"),
        ("a = -0.0", "a = 0"),
        ("a = 0.1", "a = 0.1"),
        ("a = 1e21", "a = 1e+21"),
        ("tags.site IN ('north',\n\t'south')", 'tags.site in ("north", "south")'),
        ('tags.site not  in ("north")', 'tags.site not in ("north")'),
        ("tags.site Not Exists", "tags.site not exists"),
        ("online = true", 'online = "true"'),
        ('a = 1 and (b = 2 and (c ~ "x"))', 'a = 1 and b = 2 and c ~ "x"'),
        ("a = 1 or b = 2 and c = 3", "a = 1 or b = 2 and c = 3"),
        ("(a = 1 or b = 2) and c = 3", "(a = 1 or b = 2) and c = 3"),
        ("not a = 1 and b = 2", "not a = 1 and b = 2"),
        ("not (a = 1 and b = 2)", "not (a = 1 and b = 2)"),
        ("((((a = 1))))", "a = 1"),
        (r'a ~ "^v\d+\.\"$"', r'a ~ "^v\\d+\\.\"$"'),
        (r"a = 'it\'s'", 'a = "it\'s"'),
        ('inventory."odd key" exists', 'inventory."odd key" exists'),
        ('tags."site" exists', "tags.site exists"),
        ("inventory.in exists", "inventory.in exists"),
        ("inventory.group exists", "inventory.group exists"),
        ("inventory.tags.site exists", "inventory.tags.site exists"),
        ("rootfs-image.version exists", "rootfs-image.version exists"),
        ("tags.4g exists", "tags.4g exists"),
    ],
)
def test_a_filter_has_one_canonical_text(written: str, canonical: str) -> None:
    assert parse(written).text == canonical
    assert parse(canonical) == parse(written)


@CALM
@given(TERMS)
def test_what_is_printed_is_read_as_the_same_filter(term: Term) -> None:
    assert parse(Filter(term).text) == Filter(term)


@CALM
@given(st.text(ALPHABET) | SOUP)
@example("a" * (TEXT_MAX + 1))
@example("(" * 2000)
@example("not " * 1000)
@example("a = " + "'" + "\\" * 4000 + "'")
def test_every_text_is_a_filter_or_has_a_mistake_at_a_column_inside_of_it(text: str) -> None:
    try:
        found = parse(text)
    except BadFilter as caught:
        error = caught
    else:
        assert parse(found.text) == found
        return

    assert 1 <= error.column <= len(text) + 1
    assert f"column {error.column}: " in error.reason


@pytest.mark.parametrize(
    ("written", "column", "words"),
    [
        ("", 1, "it is empty"),
        ("  ", 3, "it is empty"),
        ("device_type = pi4", 15, 'found pi4: a text is written in quotes, "pi4"'),
        ("device_type", 12, "expected an operator (=, !=, <"),
        ('device_type = "pi4" tags.site exists', 21, "expected `and`, `or`, or the end, found tags.site"),
        ('device_type = "pi4" and', 24, "expected the name of an attribute, `not` or `(`, found the end"),
        ("(a = 1 or (b = 2)", 18, "`)` for the `(` at column 1"),
        ("a in (1, 2", 11, "expected `,` or `)` for the `(` at column 6"),
        ("a in 1", 6, "expected `(` and a list"),
        ("a in ()", 7, "expected a text in quotes or a number, found )"),
        ("a = 1)", 6, "expected `and`, `or`, or the end, found )"),
        ("a == 1", 3, "`==` is written `=`"),
        ("a <> 1", 3, "`<>` is written `!=`"),
        ("a = 1 && b = 2", 7, "`&&` is written `and`"),
        ("!a = 1", 1, "`!` is written `not`"),
        ('a !~ "x"', 3, "`!~` is written with `not`"),
        ("a = 'open", 5, "this text has no end"),
        ("a = 512MB", 5, '512MB is not a number: if it is a text, write "512MB"'),
        ("a = 1e999", 5, "too large"),
        ('a ~ "(x"', 5, "missing ): (x"),
        ('a ~ "x(?=y)"', 5, "RE2"),
        ("a ~ 5", 5, "a regular expression in quotes"),
        ("tag.site = 'x'", 1, "write tags.site, or inventory.tag.site"),
        ("tags. = 'x'", 1, "a name is missing after the dot"),
        ('tags."" exists', 6, "a name is missing after the dot"),
        ("a = 1 and [", 11, "the character [ is not expected"),
        ("a = '\x00'", 6, "no filter has the character U+0000"),
        (f"a = '{'x' * (LITERAL_MAX + 1)}'", 5, f"at most {LITERAL_MAX} characters"),
        (f"a in ({','.join('1' * (LITERALS_MAX + 1))})", 7 + 2 * LITERALS_MAX, f"at most {LITERALS_MAX} texts"),
        (f"{'(' * (DEPTH_MAX + 1)}a = 1", DEPTH_MAX + 2, f"nested more than {DEPTH_MAX} times"),
        (f"a = '{'x' * TEXT_MAX}'", TEXT_MAX + 1, f"at most {TEXT_MAX} characters"),
        ("a in (" + ",".join(["'" + '"' * 200 + "'"] * 12) + ")", 2443, "written out it has more"),
    ],
    ids=lambda value: value[:30].encode("ascii", "backslashreplace").decode() if isinstance(value, str) else None,
)
def test_a_mistake_is_told_with_its_column_and_what_is_expected(written: str, column: int, words: str) -> None:
    with pytest.raises(BadFilter) as caught:
        parse(written)

    assert caught.value.column == column
    assert words in caught.value.reason


@pytest.mark.parametrize(
    ("written", "shown"),
    [
        ("device_type = pi4", ["  device_type = pi4", "                ^"]),
        ("a = 1 and\n\tb ==", ["  a = 1 and  b ==", "               ^"]),
        ("tags.ort = '東京' x", ["  tags.ort = '東京' x", "                    ^"]),
        ("a = 1 or " * 20 + "b", ["  …" + ("a = 1 or " * 20)[-49:] + "b", "   " + 49 * " " + " ^"]),
    ],
    ids=["one line", "several lines", "wide characters", "long"],
)
def test_a_caret_points_at_the_mistake(written: str, shown: list[str]) -> None:
    with pytest.raises(BadFilter) as caught:
        parse(written)

    assert str(caught.value).splitlines() == [caught.value.reason, *shown]
