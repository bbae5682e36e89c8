"""A real controller on a real store and a real broker, in this process and without its HTTP server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mosquitto import Mosquitto
from tests.support.postgresql import Postgresql
from tests.support.wait import PATIENCE_S
from wainwright_controller.config import BrokerSection, Config, StoreSection
from wainwright_controller.controller import Controller
from wainwright_controller.records import Artifact
from wainwright_controller.store import Store

ON_BOTH = {"test_store.py", "test_desk.py", "test_attribute_store.py", "test_claims.py", "test_databases.py"}
"""Where a difference between the databases would show: always on both. The rest is, too, in the long run."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave PostgreSQL to the long run where SQLite has shown the same."""
    for item in items:
        database = getattr(item, "callspec", None) and item.callspec.params.get("store_url")  # type: ignore[attr-defined]
        if database == "postgresql" and item.path.name not in ON_BOTH:
            item.add_marker(pytest.mark.long)


def make_artifact(name: str = "panel-2", artifact_id: str = "a1", device_type: str = "pi4") -> Artifact:
    """Return a record of an artifact, without any bytes."""
    return Artifact(
        id=artifact_id,
        name=name,
        size=100,
        sha256="0" * 64,
        payload_type="single-file",
        depends={"device_type": (device_type,)},
        provides={},
        signed=False,
        created_at=1.0,
    )


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of an empty database; what uses it runs on SQLite and, see ON_BOTH, on PostgreSQL."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store.db'}"
    server: Postgresql = request.getfixturevalue("postgresql")
    return server.database()


@pytest.fixture
def store(store_url: str) -> Iterator[Store]:
    """An empty store."""
    opened = Store(store_url)
    opened.upgrade()
    yield opened
    opened.close()


@pytest.fixture
def controller(tmp_path: Path, own_mosquitto: Mosquitto, store_url: str) -> Iterator[Controller]:
    """A running controller, with release panel-2 for the device type pi4 in its store."""
    broker = BrokerSection(url=own_mosquitto.url)
    config = Config(data_dir=tmp_path / "controller", broker=broker, store=StoreSection(url=store_url))
    running = Controller(config, "http://127.0.0.1:9")
    running.operations.add_artifact(make_artifact(), "test")
    running.start()
    assert running.link.connected.wait(PATIENCE_S)
    yield running
    running.stop()


def accepted(controller: Controller, *ids: str) -> None:
    """Accept devices before they are heard of."""
    controller.operations.preauthorize(ids, "test")
