"""What the system tests share: release names of their own, so that tests on one system do not meet."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.debian import build_root, require_machine

TIMEOUT_S = 400.0  # for what takes ten seconds on a machine that does nothing else


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let tests here, which start several processes, take longer than others before they are ended."""
    for item in items:
        has_its_own = item.get_closest_marker("timeout") or item.get_closest_marker("long")
        if item.path.is_relative_to(Path(__file__).parent) and not has_its_own:
            item.add_marker(pytest.mark.timeout(TIMEOUT_S))


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
