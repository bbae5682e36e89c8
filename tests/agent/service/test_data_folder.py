"""The data folder is believed, and some of what is in it is run as root: so nobody else may have had a hand in it."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from pathlib import Path

import pytest

from tests.agent.service.peers import Agent
from tests.support.wait import free_port
from wainwright_agent.journal import Journal, JournalError
from wainwright_common import data_folder

NOBODY = 65534
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.fixture
def device(tmp_path: Path) -> Agent:
    return Agent(tmp_path, f"mqtt://127.0.0.1:{free_port()}", "press-07")


def test_a_folder_that_is_not_there_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    data_folder.prepare(tmp_path / "a" / "data")
    assert stat.S_IMODE((tmp_path / "a" / "data").stat().st_mode) == 0o700


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o1777, 0o770], ids=oct)
def test_a_folder_that_was_open_is_closed(tmp_path: Path, mode: int, caplog: pytest.LogCaptureFixture) -> None:
    tmp_path.chmod(mode)
    Journal.open(tmp_path).close()
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    assert "was open to other users" in caplog.text


@as_root
@pytest.mark.parametrize("what", ["data", "data/journal.json", "data/logs", "data/link"])
def test_what_belongs_to_somebody_else_is_refused_with_the_remedy(tmp_path: Path, what: str) -> None:
    data = tmp_path / "data"
    (data / "logs").mkdir(parents=True)
    (data / "journal.json").write_text("{}")
    (data / "link").symlink_to("/etc/passwd")
    os.chown(tmp_path / what, NOBODY, NOBODY, follow_symlinks=False)

    with pytest.raises(JournalError, match=rf"{what} belongs to the user nobody, .*: chown -R root .*Else remove it"):
        Journal.open(data)
    assert not (data / "lock").exists()

    shutil.rmtree(data)
    Journal.open(data).close()


@as_root
def test_a_link_of_somebody_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "data").symlink_to("real")
    Journal.open(tmp_path / "data").close()
    os.chown(tmp_path / "data", NOBODY, NOBODY, follow_symlinks=False)

    with pytest.raises(JournalError, match="data belongs to the user nobody"):
        Journal.open(tmp_path / "data")


@as_root
def test_the_service_does_not_start_on_it_and_the_test_names_it(device: Agent) -> None:
    device.data_dir.mkdir()
    os.chown(device.data_dir, NOBODY, NOBODY)

    started = device.wain("run")
    tested = device.wain("test")

    assert started.returncode == 1
    assert "error: " in started.stderr
    assert "belongs to the user nobody" in started.stderr
    assert f"✗ disk         {device.data_dir} belongs to the user nobody" in tested.stdout
    assert f"chown -R root {device.data_dir}" in tested.stdout
    subprocess.run(["chown", "-R", "root", str(device.data_dir)], check=True)
    assert "✓ disk" in device.wain("test").stdout
