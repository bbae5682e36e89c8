"""docs/agent.md says what is so: the settings are generated, commands and exit codes are compared.

To write the settings anew: python -m tests.agent.service.test_docs
"""

from __future__ import annotations

import re
import tomllib
import typing
from pathlib import Path
from typing import Any

import pytest

from wainwright_agent.config import OWN_MODULES, Config
from wainwright_common import settings
from wainwright_common.settings import description_of

PAGE = Path(__file__).parents[3] / "docs" / "agent.md"
SETTINGS = re.compile(r"(<!-- settings: .*? -->\n)(.*?)(<!-- end of settings -->)", re.DOTALL)


def settings_table() -> str:
    """Return the table of all settings."""
    lines = ["", "| key | default | bounds | meaning |", "|---|---|---|---|"]
    for path, kind, default in settings.leaves(Config):
        lines.append(f"| `{'.'.join(path)}` | {_default(default)} | {_bounds(kind)} | {description_of(kind)} |")
    return "\n".join([*lines, "", ""])


def _default(value: Any) -> str:  # noqa: ANN401  any setting's
    if isinstance(value, tuple):
        return ", ".join(f"`{one}`" for one in value if one != OWN_MODULES) or "none"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{value}`" if value not in ("", None) else "none"


def _bounds(kind: Any) -> str:  # noqa: ANN401  a type
    for meta in getattr(kind, "__metadata__", ()):
        if meta.ge is not None:
            return f"{meta.ge:g} to {meta.le:g}"
    options = [typing.get_args(one) for one in typing.get_args(kind) if typing.get_origin(one) is typing.Literal]
    return ", ".join(f"`{one}`" for one in options[0]) if options else ""


def with_settings(page: str) -> str:
    """Return the page with the table as it should be."""
    return SETTINGS.sub(lambda match: match[1] + settings_table() + match[3], page)


def test_the_table_of_settings_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == with_settings(page), "run: python -m tests.agent.service.test_docs"
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
    folder = Path(settings.__file__).parent / "cli"
    code = "".join(file.read_text(encoding="utf-8") for file in folder.glob("*.py"))
    used = set(re.findall(r"Exit\.([A-Z_]+)", code))
    from wainwright_agent.cli.exits import Exit

    page = PAGE.read_text(encoding="utf-8")
    for name in used:
        assert f"\n| {Exit[name].value} | " in page


if __name__ == "__main__":
    PAGE.write_text(with_settings(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
