"""docs/operations.md says what is so: its settings are generated, its example is read, its metrics exist.

To write the settings anew: python -m tests.controller.test_docs
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.settings_page import with_settings, write
from wainwright_common import settings
from wainwright_common.settings import ConfigError
from wainwright_controller import config
from wainwright_controller.config import Config
from wainwright_controller.pki import is_reserved

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "operations.md"


def test_the_table_of_settings_is_up_to_date() -> None:
    page = PAGE.read_text(encoding="utf-8")

    assert page == with_settings(page, Config), "run: python -m tests.controller.test_docs"
    assert page.count("| `http.public_url` |") == 1


def test_the_example_of_a_configuration_is_valid() -> None:
    example = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert example

    read = settings.read(Config, re.sub("(?m)^   ", "", example[1]), source="docs", env={})
    config.check(read)

    assert is_reserved(read.broker.username), "a device may have that name"


def test_every_file_that_the_guide_installs_exists() -> None:
    named = set(re.findall(r"(?<![\w/])(systemd/[\w.-]*\w)", PAGE.read_text(encoding="utf-8")))

    assert len(named) >= 2
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[http]\nhost = '0.0.0.0'", "http.allow_plain"),
        ("[broker]\nurl = 'mqtt://broker.example'", "mqtts://"),
        ("[broker]\nhost = '0.0.0.0'", "broker.allow_plain"),
        ("[broker]\nprefix = 'a//b'", "broker.prefix"),
        ("[broker]\nshare = 'all'", "broker.share"),
        ("[broker]\nurl = 'http://x'", "expected mqtt://"),
        ("[http]\nprot = 1", "c.toml:2: http.prot: unknown key (did you mean port?)"),
        ("[http]\nport = 'x'", "c.toml:2: http.port"),
        ("[http", "not TOML"),
    ],
)
def test_a_configuration_that_cannot_be_used_is_refused_with_what_to_change(
    tmp_path: Path, text: str, words: str
) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text, encoding="utf-8")

    with pytest.raises(ConfigError) as caught:
        config.load(file, {})

    assert words in str(caught.value)


def test_the_environment_wins_and_an_agents_variables_are_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text("[http]\nport = 1", encoding="utf-8")
    env = {"WAINWRIGHT_CONTROLLER_HTTP__PORT": "2", "WAINWRIGHT_UPDATE__MODULE_TIMEOUT_S": "5", "WAINWRIGHT_TOKEN": "x"}

    assert config.load(file, env).http.port == 2
    with pytest.raises(ConfigError, match="WAINWRIGHT_CONTROLLER_HTTP__PROT"):
        config.load(file, {"WAINWRIGHT_CONTROLLER_HTTP__PROT": "2"})


def test_a_file_that_was_named_must_exist(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        config.load(tmp_path / "none.toml", {})


if __name__ == "__main__":
    write(PAGE, Config)
