"""A world for each test, with the releases os-1 and os-2 in its store."""

from __future__ import annotations

import pytest

from tests.controller.rollouts.world import World
from wainwright_controller.store import Store


@pytest.fixture
def world(store: Store) -> World:
    made = World(store)
    made.release("os-1")
    made.release("os-2")
    return made
