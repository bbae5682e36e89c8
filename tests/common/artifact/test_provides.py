"""What an update needs and leaves behind, row by row, and the order of the rules."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.common.artifact.build import Recipe, header_info
from wainwright_common.artifact import ArtifactReader, Header, apply_provides, unmet_depends
from wainwright_common.artifact.provides import matches

HEADER = ArtifactReader(io.BytesIO(Recipe().blob())).header
BEFORE = {"artifact_name": "old", "artifact_group": "blue", "rootfs-image.version": "1", "app.version": "1"}


def header(
    *,
    provides: dict[str, str] | None = None,
    clears: tuple[str, ...] | None = None,
    group: str | None = None,
) -> Header:
    return replace(
        HEADER, name="new", group=group, provides=provides or {}, has_provides=provides is not None, clears=clears
    )


@pytest.mark.parametrize(
    ("new", "after"),
    [
        # Neither provides nor clears: everything goes but the group.
        (header(), {"artifact_name": "new", "artifact_group": "blue"}),
        # Provides alone clear everything, the group too.
        (header(provides={"a": "1"}), {"artifact_name": "new", "a": "1"}),
        (header(provides={}), {"artifact_name": "new"}),
        # Clears alone, and an empty list of them.
        (header(clears=("app.*",)), {"artifact_name": "new", "artifact_group": "blue", "rootfs-image.version": "1"}),
        (header(clears=()), BEFORE | {"artifact_name": "new"}),
        # Both: clears first, then the overlay.
        (
            header(provides={"app.version": "2", "x": "y"}, clears=("*.version",)),
            {"artifact_name": "new", "artifact_group": "blue", "app.version": "2", "x": "y"},
        ),
        # The group: cleared by a pattern, set by the artifact, set after being cleared.
        (
            header(clears=("artifact_group",)),
            {k: v for k, v in BEFORE.items() if k != "artifact_group"} | {"artifact_name": "new"},
        ),
        (header(clears=(), group="green"), BEFORE | {"artifact_name": "new", "artifact_group": "green"}),
        (header(clears=("*",), group="green"), {"artifact_name": "new", "artifact_group": "green"}),
        # The name is there whatever is cleared.
        (header(clears=("artifact_name",)), BEFORE | {"artifact_name": "new"}),
    ],
)
def test_the_provides_after_an_update(new: Header, after: dict[str, str]) -> None:
    before = dict(BEFORE)
    assert apply_provides(before, new) == after
    assert before == BEFORE


def test_applying_twice_is_applying_once() -> None:
    new = header(provides={"app.version": "2"}, clears=("app.*",))
    once = apply_provides(BEFORE, new)
    assert apply_provides(once, new) == once


@pytest.mark.parametrize(
    ("glob", "key", "expected"),
    [
        ("a", "a", True),
        ("a", "ab", False),
        ("", "", True),
        ("", "a", False),
        ("*", "", True),
        ("*", "anything.at.all", True),
        ("a*", "b", False),
        ("a.*", "a.", True),
        ("a.*", "axb", False),
        ("*b*", "abc", True),
        ("a*a", "a", False),
        ("a*a", "aa", True),
        ("a*bc*c", "abcc", True),
        ("a*bc*c", "abc", False),
        ("a?", "ab", False),
        ("[ab]", "a", False),
    ],
)
def test_only_the_star_is_special_in_a_pattern(glob: str, key: str, expected: bool) -> None:  # noqa: FBT001  a row
    assert matches(glob, key) is expected


@given(glob=st.text("ab*.", max_size=8), key=st.text("ab.", max_size=8))
def test_patterns_match_as_the_regular_expression_says(glob: str, key: str) -> None:
    pattern = ".*".join(re.escape(piece) for piece in glob.split("*"))
    assert matches(glob, key) is bool(re.fullmatch(pattern, key))


def test_a_pattern_of_many_stars_costs_little() -> None:
    assert not matches("*a" * 100 + "b", "a" * 20_000)


def test_a_device_that_has_all_is_compatible() -> None:
    needs = replace(
        HEADER, depends_names=("older", "old"), depends_groups=("blue",), depends={"app.version": ("1", "2")}
    )
    assert unmet_depends(needs, device_type="press", provides=BEFORE) == []


def test_each_unmet_depend_is_one_sentence() -> None:
    needs = replace(
        HEADER,
        device_types=("press", "mill"),
        depends_names=("older",),
        depends_groups=("green",),
        depends={"app.version": ("2",), "boot": ("1",), "never": ()},
    )
    assert unmet_depends(needs, device_type="lathe", provides=BEFORE) == [
        "The artifact needs device_type 'press' or 'mill', but the device has 'lathe'.",
        "The artifact needs artifact_name 'older', but the device has 'old'.",
        "The artifact needs artifact_group 'green', but the device has 'blue'.",
        "The artifact needs app.version '2', but the device has '1'.",
        "The artifact needs boot '1', but the device has none.",
        "The artifact needs never of an empty list, which nothing satisfies, but the device has none.",
    ]


def test_a_device_cannot_provide_its_own_device_type() -> None:
    assert unmet_depends(HEADER, device_type="lathe", provides={"device_type": "press"})


def test_a_list_among_the_depends_is_read_like_a_string() -> None:
    info = header_info(artifact_depends={"device_type": ["press"], "artifact_name": None})
    types = b'{"type":"single-file","artifact_depends":{"a":"1","b":["1","2"]}}'
    read = ArtifactReader(io.BytesIO(replace(Recipe(), header_info=info, type_info=types).blob())).header
    assert read.all_depends() == {"device_type": ("press",), "a": ("1",), "b": ("1", "2")}
    assert not read.has_provides
