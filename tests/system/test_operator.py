"""docs/operator-session.md is a rollout as an operator really sees it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.operator_page import ARTIFACTS, FAULT, FLEET, MOMENTS, PAGE, Scene, form, rendered
from tests.support.transcripts import commands_of


@pytest.mark.long  # half a minute of one core: 200 devices and eleven commands in real terminals
@pytest.mark.timeout(300)
def test_the_page_about_an_operators_session_is_current(tmp_path: Path) -> None:
    page = PAGE.read_text(encoding="utf-8")

    shown = rendered(page, tmp_path)

    assert list(form(page)) == list(form(shown)), "run: python -m tests.support.operator_page"
    for sentence in (
        "awaiting-promotion  5/200 successful",
        " failed, at most 5 may",
        "gw-008: It failed in panel-2 after 1 attempt (install-failed: ",
        "These are 3 of 25 devices.",
        "panel-2 resumed: inprogress",
        "panel-2 (retry): success, ",
        "panel-2  2          gateway  10.2 kB  200 devices",
        "gw-008: In its last deployment, panel-2 (retry), it installed panel-2; no other concerns it.",
        "local       resume: panel-2 has an artifact for os-4 now",
    ):
        assert sentence in shown


def test_the_page_has_every_moment_and_tells_how_the_scene_is_made() -> None:
    page = PAGE.read_text(encoding="utf-8")

    named = {words for kind in ("frame", "leave") for words in commands_of(page, kind)}

    assert named == MOMENTS.keys()
    for text in (FAULT, FLEET, ARTIFACTS):
        assert text in page


def in_form(text: str) -> list[str]:
    return list(form(text))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("phase 2  ━━×───  40/195  5 failed, 35 succeeded\n", "phase 2  ━━━━×─  160/195  20 failed, 140 succeeded\n"),  # noqa: RUF001  the signs of bars.py
        ("  gw-001  ━━━  50 %  downloading\n  gw-002  downloading\nx", "  gw-007  ━━━  100 %  installing\nx"),
        ("5 failed: no-space (gw-008)\n", "7 failed: no-space (gw-008, gw-016,\n  gw-024 and 4 more)\n"),
    ],
    ids=["counts", "under-way", "devices"],
)
def test_what_differs_from_run_to_run_is_not_in_the_form(before: str, after: str) -> None:
    assert in_form(before) == in_form(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("paused: 6 failed, at most 5 may\n", "To go on\n"),
        ("phase 2  when promoted\n", "phase 2  after phase 1\n"),
        ("install-failed: panel\n", "no-space: panel\n"),
        ("$ wainwright deployment resume panel-2\n", "$ wainwright deployment retry panel-2\n"),
        ("STATUS  CREATED\n", "STATUS  AGE\n"),
    ],
    ids=["hold", "condition", "error", "command", "column"],
)
def test_what_matters_is_in_the_form(tmp_path: Path, before: str, after: str) -> None:
    scene = Scene(tmp_path)

    assert in_form(scene.constant(before)) != in_form(scene.constant(after))
