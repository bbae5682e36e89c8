"""A controller process for a module of attacks; whoever needs other settings starts another."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.mosquitto import Mosquitto
from tests.support.serve import Serve


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[Serve]:
    """A controller that asks for tokens."""
    with Serve(tmp_path_factory.mktemp("serve"), mosquitto.url) as running:
        yield running
