"""A controller for a module of tests; use releases, devices and deployments of your own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controller.api.served import Served
from tests.support.mosquitto import Mosquitto


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running controller with a broker of its own."""
    with (
        Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker,
        Served(tmp_path_factory.mktemp("controller"), broker) as running,
    ):
        yield running
