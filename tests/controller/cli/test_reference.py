"""docs/cli.md is what the commands say of themselves."""

from __future__ import annotations

from pathlib import Path

from wainwright_controller.cli.reference import reference

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_about_the_command_line_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == reference(), "run `python -m wainwright_controller.cli.reference`"
