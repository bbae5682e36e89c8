"""A filter: a condition on a device's attributes."""

from __future__ import annotations

import msgspec

from wainwright_controller.rules.filters.matching import Attributes, holds
from wainwright_controller.rules.filters.parser import tree
from wainwright_controller.rules.filters.terms import Term


class Filter(msgspec.Struct, frozen=True):
    """A parsed filter; equal to another one with the same tree."""

    root: Term

    @property
    def text(self) -> str:
        """The canonical text: `parse(text)` is this filter again."""
        return self.root.text

    def matches(self, attributes: Attributes) -> bool:
        """Say whether a device with these attributes (`attributes_of`) meets the filter; never raises."""
        return holds(self.root, attributes)


def parse(text: str) -> Filter:
    """Return the filter of a text; raises BadFilter, which says at which column what is expected."""
    return Filter(tree(text))
