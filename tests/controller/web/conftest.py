"""A controller that wants tokens, and people of every role who look at its pages."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controller.api.served import Served
from tests.controller.web.looking import Looker
from tests.support.mosquitto import Mosquitto


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running controller with a broker of its own; use devices, groups and releases of your own."""
    with (
        Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker,
        Served(tmp_path_factory.mktemp("controller"), broker, token="sesame") as running,
    ):
        yield running


@pytest.fixture(scope="module")
def admin(served: Served) -> Looker:
    """Who may do everything."""
    return Looker(served, served.token)


@pytest.fixture(scope="module")
def operator(served: Served) -> Looker:
    """Who runs the fleet."""
    return Looker.of_role(served, "operator")


@pytest.fixture(scope="module")
def viewer(served: Served) -> Looker:
    """Who only looks."""
    return Looker.of_role(served, "viewer")
