"""The parts of docs/filters.md that follow from the program.

To write them: python -m tests.controller.rules.filters.page
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from wainwright_controller.rules.filters import BadFilter, Value, parse
from wainwright_controller.rules.filters.parser import (
    DEPTH_MAX,
    LITERAL_MAX,
    LITERALS_MAX,
    NAME_MAX,
    TEXT_MAX,
)
from wainwright_controller.rules.filters.terms import OPERATORS, SYSTEM_NAMES, Operator

PAGE = Path(__file__).parents[4] / "docs" / "filters.md"
NUMBERS: list[tuple[Value, list[str]]] = [
    ("1.10", ["{} = 1.1", '{} = "1.1"', "{} < 1.9", '{} < "1.9"']),
    (1024, ["{} > 512", '{} > "512"', '{} = "1024"']),
    ("2 GB", ["{} > 1", '{} ~ "^[0-9]+ GB$"']),
]
MISSING: list[tuple[Value | None, list[str]]] = [
    (None, ['{} = "north"', '{} != "north"', 'not {} = "north"', '{} != "north" and {} exists']),
    (["north", "east"], ['{} = "north"', '{} != "north"', '{} in ("east", "west")', '{} != "south"']),
]
MISTAKE = "device_type = pi4 and mem_mb >= 512"


def names() -> Iterator[str]:
    """Yield the table of names."""
    yield "| name | what it is |"
    yield "|---|---|"
    for name, meaning in SYSTEM_NAMES.items():
        yield f"| `{name}` | {meaning} |"
    yield "| `tags.NAME` | a tag, which operators give with `wainwright device label` |"
    yield "| `NAME`, `inventory.NAME` | what it reports, its identity included; `wainwright device show` has it |"
    yield "| `provides.NAME` | what the device says that it has, for artifacts to depend on |"


def operators() -> Iterator[str]:
    """Yield the table of operators."""
    yield "| written | in Mender | holds if |"
    yield "|---|---|---|"
    for operator, meaning in OPERATORS.items():
        if operator in {Operator.IN, Operator.NOT_IN}:
            written = f'NAME {operator} ("a", "b")'
        elif operator in {Operator.EXISTS, Operator.NOT_EXISTS}:
            written = f"NAME {operator}"
        else:
            written = f'NAME {operator} "a"'
        yield f"| `{written}` | `{meaning.mender}` | {meaning.text} |"


def examples(rows: list[tuple[Value | None, list[str]]]) -> Iterator[str]:
    """Yield a table of values, filters, and whether these are met, as the program says."""
    yield "| value of `x` | met | not met |"
    yield "|---|---|---|"
    for value, filters in rows:
        attributes = {} if value is None else {"inventory.x": value}
        written = [pattern.replace("{}", "x") for pattern in filters]
        met = [f"`{one}`" for one in written if parse(one).matches(attributes)]
        unmet = [f"`{one}`" for one in written if not parse(one).matches(attributes)]
        shown = "none" if value is None else f"`{str(value) if not isinstance(value, str) else repr(value)}`"
        yield f"| {shown} | {', '.join(met)} | {', '.join(unmet)} |"


def limits() -> Iterator[str]:
    """Yield the limits."""
    yield "| of | at most |"
    yield "|---|---|"
    yield f"| a filter | {TEXT_MAX:,} characters, {LITERALS_MAX} texts and numbers, {DEPTH_MAX} nested `(` and `not` |"
    yield f"| a text to compare with | {LITERAL_MAX} characters |"
    yield f"| a name | {NAME_MAX} characters |"


def mistake() -> Iterator[str]:
    """Yield what is said of a mistake."""
    try:
        parse(MISTAKE)
    except BadFilter as error:
        yield from ("```", *str(error).splitlines(), "```")


PARTS = {
    "names": names,
    "operators": operators,
    "examples: numbers": lambda: examples([*NUMBERS]),
    "examples: missing": lambda: examples(MISSING),
    "limits": limits,
    "mistake": mistake,
}


def written(page: str) -> str:
    """Return the page with all parts as the program says them."""
    for name, part in PARTS.items():
        start = f"<!-- generated: {name} -->\n"
        before, found, rest = page.partition(start)
        _, end, after = rest.partition("<!-- end -->")
        if not found or not end:
            raise ValueError(f"the page has no part {name}")
        lines = "\n".join(part())
        page = f"{before}{start}\n{lines}\n\n{end}{after}"
    return page


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
