"""What both sides write during a whole update is for their own users alone, whatever umask they were started with."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.mosquitto import Mosquitto
from tests.support.system import System
from tests.support.wait import wait_until
from wainwright_agent.worktree import PLACE
from wainwright_common.data_folder import FOR_OTHERS

MODULES = PLACE / "files"  # what the module writes by itself, in a folder that nobody else can enter


@contextmanager
def careless() -> Iterator[None]:
    """Have what is started from here leave everything open to everybody, as far as it does not say otherwise."""
    before = os.umask(0)
    try:
        yield
    finally:
        os.umask(before)


def open_to_others(folder: Path) -> dict[str, str]:
    """Return what in a folder others may read, write or enter, with its mode."""
    found = {path.relative_to(folder): path.lstat().st_mode for path in (folder, *folder.rglob("*"))}
    return {
        str(path): oct(mode)
        for path, mode in found.items()
        if mode & FOR_OTHERS and not stat.S_ISLNK(mode) and not path.is_relative_to(MODULES)
    }


@pytest.mark.timeout(300)
def test_nothing_that_either_side_stores_is_open_to_others(mosquitto: Mosquitto, tmp_path: Path, release: str) -> None:
    """Looked at all through the update: what is there for a moment only counts, too."""
    with careless(), System(tmp_path, mosquitto.url, agents=1, auto_accept=True) as system:
        [device] = system.stage.devices
        system.start_agents()
        system.release(release, device.type)
        deployment = system.deploy(release, device.id)
        data = device.folder / "data"
        found: dict[str, str] = {}

        def look() -> bool:
            for folder in (data, system.stage.folder / "controller"):
                try:
                    found.update(open_to_others(folder))
                except FileNotFoundError:  # it was there for a moment only
                    continue
            return bool(system.api.deployment(deployment)["status"] == "finished")

        wait_until(look, 200, "the end of the update")
        assert system.part(deployment, device.id)["status"] == "success"
        assert not found, found
        seen = {path.name for path in data.iterdir()}  # below it the agent may be tidying up
        assert {"journal.json", "lock", "logs"} <= seen
