"""What the system tests share: release names of their own, so that tests on one system do not meet."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian import build_root, require_machine


@pytest.fixture
def release(request: pytest.FixtureRequest) -> str:
    """A release name that no other test uses."""
    name: str = request.node.name
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")[:80]


@pytest.fixture(scope="session")
def debian(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder of a Debian with the agent, not configured. Needs root; says so and fails where there is none."""
    require_machine()
    assert request.config.cache is not None
    folder = tmp_path_factory.mktemp("debian")
    yield build_root(folder, request.config.cache.mkdir("nspawn"))
    shutil.rmtree(folder)
