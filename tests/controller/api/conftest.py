"""A controller for a module of tests; use releases, devices and deployments of your own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controller.api.est_lab import LIFETIME_S, NAMES, Make
from tests.controller.api.served import Served
from tests.support.est import EstDevice
from tests.support.mosquitto import Mosquitto
from wainwright_controller.config import Enrolment


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A running controller with a broker of its own."""
    with (
        Mosquitto(tmp_path_factory.mktemp("mosquitto")) as broker,
        Served(tmp_path_factory.mktemp("controller"), broker) as running,
    ):
        yield running


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[Served]:
    """A controller that gives certificates."""
    enrolment = Enrolment(enabled=True, certificate_lifetime_s=LIFETIME_S)
    with Served(tmp_path_factory.mktemp("est"), mosquitto, enrolment=enrolment) as served:
        yield served


@pytest.fixture
def make(est: Served, tmp_path: Path) -> Make:
    """`make()` is a new device; `make("name")` one that says that it is somebody."""

    def made(name: str | None = None, folder: str = "") -> EstDevice:
        place = tmp_path / (folder or f"{next(NAMES)}")
        place.mkdir(exist_ok=True)
        return EstDevice(est.url, est.config.pki_folder / "root.pem", place, name or f"press-{next(NAMES):03d}")

    return made
