"""docs/filters.md says what the program does."""

from __future__ import annotations

import re

from tests.controller.rules.filters import page
from wainwright_controller.rules.filters import parse
from wainwright_controller.rules.filters.terms import OPERATORS, SYSTEM_NAMES


def test_the_page_about_filters_is_up_to_date() -> None:
    text = page.PAGE.read_text(encoding="utf-8")

    assert text == page.written(text), "run: python -m tests.controller.rules.filters.page"
    assert all(f"`{meaning.mender}`" in text for meaning in OPERATORS.values())
    assert all(f"`{name}`" in text for name in SYSTEM_NAMES)


def test_the_first_example_is_a_filter() -> None:
    example = re.search(r"```\n(.*?)\n```", page.PAGE.read_text(encoding="utf-8"))

    assert example
    assert parse(example[1]).text == example[1]
