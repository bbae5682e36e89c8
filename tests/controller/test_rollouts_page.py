"""docs/rollouts.md says what is so: its table of actions, its table of tests, its options, its words."""

from __future__ import annotations

import re

import click
import pytest

from tests.controller.rules.test_actions import IN, _dynamic
from tests.support import features_page
from tests.support.rollouts_page import PAGE, render
from wainwright_controller.cli.deployment import deployment as deployment_group
from wainwright_controller.rules.actions import Act, Refused, Stage, check_allowed


def _cells() -> dict[tuple[str, str], str]:
    """Return what the page says of (stage, action), read from its text alone."""
    block = PAGE.read_text(encoding="utf-8").split("<!-- actions: generated -->")[1]
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in block.splitlines()
        if line[:2] == "| "
    ]
    heading = rows[0]
    stages = [row for row in rows[1:] if row[0] in set(Stage)]
    return {(row[0], act): cell for row in stages for act, cell in zip(heading[1:], row[1:], strict=True)}


def test_its_tables_are_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == render(page), "run: python -m tests.support.rollouts_page"


def test_the_table_has_every_stage_and_every_action() -> None:
    assert _cells().keys() == {(str(stage), str(act)) for stage in Stage for act in Act}


@pytest.mark.parametrize("act", list(Act))
@pytest.mark.parametrize("stage", list(Stage))
def test_what_the_page_says_is_what_is_done(stage: Stage, act: Act) -> None:
    said = _cells()[stage, act]
    if said == "yes":
        check_allowed(act, _dynamic(IN[stage]))
        return
    with pytest.raises(Refused) as refused:
        check_allowed(act, _dynamic(IN[stage]))
    assert refused.value.code == said


def test_every_feature_has_tests_that_exist_and_every_test_of_a_feature_is_in_the_table() -> None:
    named = [test for tests in features_page.ROWS.values() for test in tests]
    assert all(features_page.ROWS.values())
    assert len(named) == len(set(named))
    assert set(named) == features_page.defined()


def _options(*commands: str) -> set[str]:
    return {
        option
        for name in commands
        for parameter in deployment_group.commands[name].params
        if isinstance(parameter, click.Option)
        for option in parameter.opts
        if option.startswith("--")
    }


def test_every_option_that_the_page_names_exists_and_every_condition_is_named() -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", PAGE.read_text(encoding="utf-8")))

    assert named - _options(*deployment_group.commands) == set()
    everywhere = {"--output", "--yes", "--quiet", "--name", "--watch", "--strategy", "--force"}
    assert _options("create", "plan", "show", "pause") - named - everywhere == set()
