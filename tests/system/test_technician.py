"""docs/technician.md is what a technician sees on a real device."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.technician_page import PAGE, Scene, rendered
from tests.support.transcripts import commands_of


@pytest.mark.long  # half a minute, as the page about an operator
@pytest.mark.timeout(300)
def test_the_page_about_a_technicians_day_is_current(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == rendered(page, tmp_path), "run: python -m tests.support.technician_page"


def test_the_page_has_everything_that_can_happen_in_its_scene(tmp_path: Path) -> None:
    assert set(commands_of(PAGE.read_text(encoding="utf-8"), "meanwhile")) == Scene(tmp_path).meanwhile.keys()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("last answer 8 s ago", "last answer never"),
        ("  ✓ disk         3.1 GB free in", "  ✗ disk         3.1 GB free in"),
        ("deployment d-1, attempt 1", "deployment d-1, attempt 2"),
        ("$ echo $?\n4\n", "$ echo $?\n5\n"),
    ],
    ids=["link", "check", "attempt", "exit-code"],
)
def test_what_matters_is_not_taken_for_what_differs_from_run_to_run(tmp_path: Path, before: str, after: str) -> None:
    scene = Scene(tmp_path)

    assert scene.constant(before) != scene.constant(after)
