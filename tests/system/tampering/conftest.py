"""A real controller and real agents, with a man between them; and artifacts as an attacker builds them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest

from tests.support.meddler import Meddler
from tests.support.mosquitto import Mosquitto
from tests.support.system import System


@pytest.fixture(scope="module")
def meddler() -> Iterator[Meddler]:
    """The man in the middle."""
    with Meddler() as meddler:
        yield meddler


@pytest.fixture(scope="module")
def system(mosquitto: Mosquitto, meddler: Meddler, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """Two devices: press-01 has a verify key, lathe-01 has none. Both download through the man in the middle."""
    system = System(tmp_path_factory.mktemp("attacked"), mosquitto.url, agents=2, auto_accept=True)
    meddler.upstream = system.stage.url
    system.env["WAINWRIGHT_CONTROLLER_HTTP__PUBLIC_URL"] = meddler.url
    config = system.agent("lathe-01").config
    config.write_text(re.sub(r"(?m)^verify_keys = .*$", "", config.read_text()))
    with system:
        system.start_agents()
        yield system
