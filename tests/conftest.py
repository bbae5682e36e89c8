"""What several test folders share: a real broker, and a keyboard that can interrupt."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from tests.support.mosquitto import Mosquitto
from tests.support.postgresql import Postgresql

# A shell starts what runs in its background with SIGINT ignored, and every process inherits that: then no test could
# press Ctrl+C. With a handler here, the processes that tests start have the default again.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Other work may share the machine: that an example takes long there says nothing of what it is an example of.
settings.register_profile("shared-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("shared-machine")


@pytest.fixture(scope="session")
def mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A Mosquitto shared by all tests that do not stop it; use a topic prefix or device ids of your own."""
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker


@pytest.fixture(scope="session")
def postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL shared by all tests that do not stop it; each makes databases of its own."""
    with Postgresql() as server:
        yield server


@pytest.fixture
def own_postgresql() -> Iterator[Postgresql]:
    """A PostgreSQL of the test's own, to be killed and restarted."""
    with Postgresql() as server:
        yield server


@pytest.fixture
def own_mosquitto(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mosquitto]:
    """A Mosquitto of the test's own, to be killed and restarted."""
    with Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker:
        yield broker
