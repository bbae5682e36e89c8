"""A device and a controller that know each other, on the shared broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agent.service.peers import Agent, Controller, new_device_id
from tests.support.mosquitto import Mosquitto


@pytest.fixture
def agent(tmp_path: Path, mosquitto: Mosquitto) -> Iterator[Agent]:
    """A device whose agent is not started yet."""
    with Agent(tmp_path, mosquitto.url, new_device_id()) as agent:
        yield agent


@pytest.fixture
def controller(mosquitto: Mosquitto, agent: Agent) -> Iterator[Controller]:
    """A controller of that device, which has no deployment for it."""
    with Controller(mosquitto.port, agent.device_id) as controller:
        yield controller
