"""A controller for a module of tests that asks for tokens; use users, releases and devices of your own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.controller.api.served import Json, Served
from tests.controller.web.looking import Looker
from tests.controller.web.visitor import Visitor
from tests.support.mosquitto import Mosquitto

TOKEN = "sesame"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running controller with a broker of its own, whose configuration has the token `sesame`."""
    with (
        Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker,
        Served(tmp_path_factory.mktemp("guarded"), broker, token=TOKEN) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running controller that asks for no token."""
    with (
        Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker,
        Served(tmp_path_factory.mktemp("controller"), broker) as running,
    ):
        yield running


@pytest.fixture
def visitor(guarded: Served) -> Visitor:
    """Somebody who has not signed in."""
    return Visitor(guarded)


def user(served: Served, name: str, role: str = "operator", **token: object) -> Json:
    """Make a user with a token; returns what the API said of the token."""
    served.post("users", {"name": name, "role": role})
    return served.post("tokens", {"user": name} | token)


@pytest.fixture(scope="module")
def admin(guarded: Served) -> Looker:
    """Who may do everything."""
    return Looker(Visitor.signed_in(guarded, TOKEN))


@pytest.fixture(scope="module")
def operator(guarded: Served) -> Looker:
    """Who runs the fleet."""
    return Looker(Visitor.signed_in(guarded, user(guarded, "one-operator")["token"]))


@pytest.fixture(scope="module")
def viewer(guarded: Served) -> Looker:
    """Who only looks."""
    return Looker(Visitor.signed_in(guarded, user(guarded, "one-viewer", "viewer")["token"]))
