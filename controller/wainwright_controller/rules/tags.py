"""Tags: names with values that operators give to devices, and what they may be."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from wainwright_common.errors import WainwrightError
from wainwright_controller.rules.filters.parser import LITERAL_MAX

NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,62}[A-Za-z0-9_:-]|[A-Za-z0-9_]")  # as a filter writes it, unquoted
NAME_MAX = 64  # characters
VALUE_MAX = LITERAL_MAX  # characters: a filter can then compare with every one of them
TAGS_MAX = 64  # of one device: a page of a screen


class BadTag(WainwrightError):  # noqa: N818  the name is the sentence: "refused: bad tag"
    """A tag, or the number of a device's tags, is not allowed."""


def check(given: Mapping[str, str], removed: Collection[str]) -> None:
    """Raise BadTag, naming the tag, when tags cannot be given or removed."""
    for name in (*given, *removed):
        if not NAME.fullmatch(name):
            shown = ascii(name[:NAME_MAX])
            raise BadTag(
                f"{shown} cannot be the name of a tag: use 1 to {NAME_MAX} of A-Z a-z 0-9 _ . : -, with a letter, a"
                " digit or _ at the beginning, and no dot at the end."
            )
    for name, value in given.items():
        if not 1 <= len(value) <= VALUE_MAX or not value.isprintable():
            raise BadTag(f"The value of the tag {name} must have 1 to {VALUE_MAX} printable characters.")
    both = sorted(set(given) & set(removed))
    if both:
        raise BadTag(f"The tag {both[0]} is both given and removed: decide.")


def changed(
    device_id: str, before: Mapping[str, str], given: Mapping[str, str], removed: Collection[str]
) -> dict[str, str]:
    """Return a device's tags after a change that `check` allows; raises BadTag when it would have too many."""
    after = {name: value for name, value in before.items() if name not in removed} | dict(given)
    if len(after) > TAGS_MAX:
        raise BadTag(f"{device_id} would have {len(after)} tags; at most {TAGS_MAX} are allowed: remove some first.")
    return after
