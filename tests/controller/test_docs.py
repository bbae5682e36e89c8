"""docs/operations.md says what is so: its settings are generated, its example is read, its metrics exist.

To write the settings anew: python -m tests.controller.test_docs
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
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


def test_the_examples_of_a_configuration_are_valid() -> None:
    found = re.findall(r"^( *)```toml\n(.*?)^ *```", PAGE.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
    examples = [re.sub(f"(?m)^{indent}", "", text) for indent, text in found]
    one_server, embedded = [settings.read(Config, text, source="docs", env={}) for text in examples]
    config.check(one_server)
    config.check(embedded)

    assert is_reserved(one_server.broker.username), "a device may have that name"
    assert embedded.broker.tls


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
        ("[broker]\nhost = '0.0.0.0'", "broker.tls = true"),
        ("[broker]\nhost = '::'", "broker.allow_plain"),
        ("[http]\nhost = '192.0.2.1'", "http.tls = true"),
        ("[broker]\ntls = true\nurl = 'mqtts://b'", "broker.tls"),
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


@pytest.mark.parametrize("section", ["http", "broker"])
@pytest.mark.parametrize("how", ["tls", "allow_plain"])
def test_beyond_loopback_it_listens_when_that_was_said_in_so_many_words(tmp_path: Path, section: str, how: str) -> None:
    file = tmp_path / "c.toml"
    text = f"[{section}]\nhost = '0.0.0.0'\n"
    file.write_text(text + f"{how} = true\n", encoding="utf-8")

    assert getattr(config.load(file, {}), section).host == "0.0.0.0"  # noqa: S104  that is the point
    for other in {"http", "broker"} - {section}:
        file.write_text(f"{text}[{other}]\n{how} = true\n", encoding="utf-8")
        with pytest.raises(ConfigError, match=f"{section}.host: 0.0.0.0 is reachable"):
            config.load(file, {})


@pytest.mark.parametrize("section", ["http", "broker"])
def test_a_controller_does_not_start_where_a_network_could_read_it(tmp_path: Path, section: str) -> None:
    """The command itself: it ends before it has opened a port, made a file or started a broker."""
    env = {f"WAINWRIGHT_CONTROLLER_{section.upper()}__HOST": "0.0.0.0"}  # noqa: S104  as above
    env |= {"WAINWRIGHT_CONTROLLER_DATA_DIR": str(tmp_path / "data"), "PATH": os.environ["PATH"]}
    (tmp_path / "c.toml").touch()
    done = subprocess.run(
        [sys.executable, "-m", "wainwright_controller", "serve", "--config", str(tmp_path / "c.toml")],
        env=env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.returncode == 2
    assert f"{section}.host: 0.0.0.0 is reachable from other machines" in done.stderr
    assert not (tmp_path / "data").exists()


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
