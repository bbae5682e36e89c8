"""A secured system, a device that keeps the rules, and one that does not. Both have valid certificates."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.device import Device
from tests.system.security.attacker import PATIENCE_S, Attacker
from tests.system.security.secured import SecureSystem, accept
from wainwright_common.messages import Presence, encode
from wainwright_common.topics import Kind, Topic

Attack = Callable[..., Attacker]
_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureSystem]:
    """A controller behind the broker as we print it; tests bring devices of their own."""
    with SecureSystem(tmp_path_factory.mktemp("secured")) as running:
        yield running


def new_id(kind: str) -> str:
    """Return a device id that no other test uses."""
    return f"{kind}-{os.getpid()}-{next(_numbers)}"


@pytest.fixture
def victim(system: SecureSystem) -> Iterator[Device]:
    """An accepted device that is connected. It has checked in, so that the controller knows it."""
    with system.device(new_id("victim")) as device:
        device.patience_s = PATIENCE_S
        presence = Presence(online=True, since=datetime.now(UTC), agent_version="1")
        device.send_raw(Topic(device.id, Kind.PRESENCE).text(system.stage.prefix), encode(presence), retain=True)
        device.check_in()
        yield device


@pytest.fixture
def evil(system: SecureSystem) -> str:
    """The id of another accepted device, which has a certificate and is not connected."""
    device_id = new_id("evil")
    accept(system, device_id)
    return device_id


@pytest.fixture
def attack(system: SecureSystem, evil: str) -> Iterator[Attack]:
    """`attack(...)` is a connection of `evil`, open until the test ends; the arguments are those of Attacker."""
    with ExitStack() as connections:

        def connect(**how: Any) -> Attacker:  # noqa: ANN401  arguments of Attacker
            how.setdefault("credentials", system.credentials(evil))
            attacker = Attacker(system.port, name=evil, prefix=system.stage.prefix, **how)
            return connections.enter_context(attacker)

        yield connect


def assert_undisturbed(victim: Device) -> None:
    """Assert that a device is answered, has never lost its connection, and heard nothing but answers to itself."""
    before = len(victim.heard)
    reply = victim.check_in()

    assert victim.heard[before:] == [reply], "it was told what nobody may tell it"
    assert victim.connections == 1, "it lost its connection"
