"""`wain status` says when it looked at no configuration: its defaults are hardly those of the agent that runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from wainwright_agent import config
from wainwright_agent.cli import main


@pytest.fixture(autouse=True)
def _no_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(config, "DEFAULT_FILE", tmp_path / "agent.toml")
    for name in [name for name in os.environ if name.startswith("WAINWRIGHT_")]:
        monkeypatch.delenv(name)


def test_a_status_by_the_defaults_alone_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    main(["status"])
    assert "agent.toml, so the defaults hold" in capsys.readouterr().err


def test_a_status_of_a_configured_agent_says_nothing_more(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("WAINWRIGHT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("WAINWRIGHT_CONTROL_SOCKET", str(tmp_path / "agent.sock"))
    main(["status"])
    assert "defaults" not in capsys.readouterr().err
