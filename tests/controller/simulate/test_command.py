"""What `wainwright simulate` takes."""

from __future__ import annotations

import click
import pytest

from wainwright_controller.simulate.command import attributes_of


def test_attributes_are_names_with_the_values_that_devices_take_turns_in() -> None:
    assert attributes_of(("site=north,south", "query=a=b")) == {"site": ("north", "south"), "query": ("a=b",)}


@pytest.mark.parametrize(
    ("given", "word"),
    [
        (["site"], "not NAME=VALUE"),
        (["=north"], "not NAME=VALUE"),
        (["site=north,"], "not NAME=VALUE"),
        (["site=north", "site=south"], "given twice"),
    ],
    ids=["no-value", "no-name", "empty-value", "twice"],
)
def test_attributes_that_cannot_be_read_are_refused(given: list[str], word: str) -> None:
    with pytest.raises(click.BadParameter, match=word):
        attributes_of(tuple(given))
