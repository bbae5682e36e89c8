"""A lab for each test, a web server for each module."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.update.lab import Lab
from tests.agent.update.web import Manners, Web


@pytest.fixture(scope="module")
def web() -> Iterator[Web]:
    server = Web()
    yield server
    server.close()


@pytest.fixture
def lab(tmp_path: Path, web: Web) -> Lab:
    web.manners = Manners()
    web.requests.clear()
    return Lab(tmp_path, web)
