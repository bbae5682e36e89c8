"""docs/agent.md says what is so: the settings are generated, commands and exit codes are compared.

To write the settings anew: python -m tests.agent.service.test_docs
"""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.support.settings_page import with_settings, write
from wainwright_agent import cli
from wainwright_agent.config import OWN_MODULES, Config
from wainwright_common import settings

PAGE = Path(__file__).parents[3] / "docs" / "agent.md"


def test_the_table_of_settings_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == with_settings(page, Config, OWN_MODULES), "run: python -m tests.agent.service.test_docs"
    assert page.count("| `update.module_timeout_s` |") == 1


def test_every_command_and_option_is_documented(capsys: pytest.CaptureFixture[str]) -> None:
    from wainwright_agent.cli import main

    with pytest.raises(SystemExit):
        main(["--help"])
    commands = re.findall(r"^    ([a-z-]+)", capsys.readouterr().out, re.MULTILINE)
    table = PAGE.read_text(encoding="utf-8").partition("## Commands")[2].partition("```")[0]

    assert len(commands) >= 7
    for command in commands:
        assert f"| `wain {command}" in table


def test_the_example_of_a_configuration_is_valid() -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example

    config = settings.read(Config, example[1], source="docs", env={})

    assert tomllib.loads(example[1])["device_type"] == config.device_type


def test_the_exit_codes_that_the_agent_uses_are_documented() -> None:
    folder = Path(cli.__file__).parent
    code = "".join(file.read_text(encoding="utf-8") for file in folder.glob("*.py"))
    used = set(re.findall(r"Exit\.([A-Z_]+)", code))
    from wainwright_agent.cli.exits import Exit

    page = PAGE.read_text(encoding="utf-8")
    assert len(used) >= 3
    for name in used:
        assert f"\n| {Exit[name].value} | " in page


if __name__ == "__main__":
    write(PAGE, Config, OWN_MODULES)
