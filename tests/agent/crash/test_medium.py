"""The disk that forgets, itself: what it keeps and what it loses is what the schedules with a power cut rest on."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.crash.medium import Medium
from wainwright_agent.synced import sync_folder, write_synced


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/file").write_bytes(b"old")
    return tmp_path / "disk"


def test_what_was_not_synced_is_lost_names_and_contents(disk: Path) -> None:
    medium = Medium(disk)
    (disk / "file").write_bytes(b"new")
    (disk / "other").write_bytes(b"other")
    medium.lose(torn=False)
    assert {file.name: file.read_bytes() for file in disk.iterdir()} == {"file": b"old"}


def test_a_name_needs_its_folder_synced_and_a_content_its_file(disk: Path) -> None:
    medium = Medium(disk)
    (disk / "new").write_bytes(b"new")
    (disk / "new").replace(disk / "file")
    medium.synced(disk)
    medium.lose(torn=False)
    assert (disk / "file").read_bytes() == b""


def test_a_file_that_was_written_as_the_journal_is_stays(disk: Path) -> None:
    medium = Medium(disk)
    write_synced(disk / "new", b"new")
    medium.synced(disk / "new")
    (disk / "new").replace(disk / "file")
    sync_folder(disk)
    medium.synced(disk)
    medium.lose(torn=False)
    assert (disk / "file").read_bytes() == b"new"


def test_what_was_removed_comes_back_unless_the_folder_was_synced(disk: Path) -> None:
    medium = Medium(disk)
    (disk / "file").unlink()
    medium.lose(torn=False)
    assert (disk / "file").read_bytes() == b"old"


def test_a_torn_content_has_half_its_bytes(disk: Path) -> None:
    medium = Medium(disk)
    (disk / "file").write_bytes(b"newer!")
    medium.lose(torn=True)
    assert (disk / "file").read_bytes() == b"new"
