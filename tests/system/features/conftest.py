"""What the features are tried on: one controller and one broker, six real agents, and fleets that each test makes.

Simulated devices stand in where many are needed; they run `one` at first, and the releases `one` and `two` are for all.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

import pytest

from tests.support.fleets import wait_until_at_rest
from tests.support.mosquitto import Mosquitto
from tests.support.system import PATIENCE_S, System
from tests.support.wait import wait_until
from wainwright_common.messages import Offer
from wainwright_controller.demo.stage import DEVICE_TYPES
from wainwright_controller.simulate import Fleet, FleetSpec
from wainwright_controller.simulate.download import Fetched

PRESS, OTHER_PRESS, LATHE, NEWCOMER = "press-01", "press-02", "lathe-01", "lathe-02"
QUICK: dict[str, Any] = {
    "device_types": ("press",),
    "artifact_name": "one",
    "download_s": 0.1,
    "install_s": 0.05,
    "progress_steps": 2,
    "check_in_s": 600.0,  # they are woken: what is missed would be seen
    "resend_s": 1.0,
    "connects_per_s": 500.0,
}
_NUMBERS = itertools.count(1)


class MakeFleet(Protocol):
    """`fleet(5, failing=0.2)`: devices that are connected and accepted; each has the attribute `fleet`, its prefix."""

    def __call__(
        self,
        devices: int = 4,
        *,
        accepted: bool = True,
        **spec: Any,  # noqa: ANN401  as FleetSpec takes them
    ) -> Fleet: ...


def check_in(system: System, fleet: Fleet, *ids: str) -> None:
    """Have devices ask, all of a fleet without any id, and wait until each has its answer."""
    wait_until_at_rest(fleet, *ids)  # so that it is the answer to this
    asked = {i: fleet.devices[i].replies for i in ids or fleet.ids}
    system.api.call("POST", "/devices/check-in", json={"ids": list(asked)})
    wait_until(
        lambda: all(fleet.devices[i].replies > n for i, n in asked.items()), PATIENCE_S, f"answers to {list(asked)}"
    )


def accept(system: System, fleet: Fleet) -> None:
    """Accept a fleet's devices, and wait until they have asked what that means for them."""
    asked = {i: device.replies for i, device in fleet.devices.items()}
    changed = system.api.call("POST", "/devices/accept", json={"ids": fleet.ids})["changed"]
    wait_until(
        lambda: all(fleet.devices[i].replies > asked[i] for i in changed), PATIENCE_S, "those accepted to have asked"
    )


@contextmanager
def downloading(*fleets: Fleet) -> Iterator[None]:
    """Within, the downloads of these fleets do not end, however long a test takes to look at them."""
    is_over = threading.Event()

    def held(download: Callable[[Offer], Awaitable[Fetched]]) -> Callable[[Offer], Awaitable[Fetched]]:
        async def wait(offer: Offer) -> Fetched:
            while not is_over.is_set():  # noqa: ASYNC110  it is another thread's
                await asyncio.sleep(0.01)
            return await download(offer)

        return wait

    with pytest.MonkeyPatch.context() as patch:
        for device in (device for fleet in fleets for device in fleet.devices.values()):
            patch.setattr(device, "_download", held(device._download))
        try:
            yield
        finally:
            is_over.set()


@pytest.fixture(scope="package")
def system(mosquitto: Mosquitto, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """A controller with releases for everybody; the agents' fixture starts agents."""
    with System(tmp_path_factory.mktemp("features"), mosquitto.url, agents=6) as system:
        for name in ("one", "two"):
            system.release(name, *DEVICE_TYPES, size=2000)
        yield system


@pytest.fixture(scope="package")
def agents(system: System) -> System:
    """The same with three real agents that run `first`; a fourth one is the newcomers'."""
    system.start_agents(PRESS, OTHER_PRESS, LATHE)
    system.api.call("POST", "/devices/accept", json={"ids": [PRESS, OTHER_PRESS, LATHE]})
    system.release("first")
    system.finished(system.deploy("first", PRESS, OTHER_PRESS, LATHE))
    return system


@pytest.fixture(autouse=True)
def _undone(system: System) -> Iterator[None]:
    """After each test no device is slow or rigged."""
    yield
    for device in system.stage.devices:
        device.set_pace(None)
        device.repair()


@pytest.fixture
def fleet(system: System) -> Iterator[MakeFleet]:
    """Makes fleets that go with the test."""
    with ExitStack() as stack:

        def make(devices: int = 4, *, accepted: bool = True, **spec: Any) -> Fleet:  # noqa: ANN401  as above
            prefix = f"sim{next(_NUMBERS)}-"
            chosen = QUICK | {"id_prefix": prefix, "attributes": {"fleet": (prefix,)}} | spec
            made = stack.enter_context(Fleet(FleetSpec(devices=devices, **chosen), system.address))
            wait_until(lambda: all(d.replies for d in made.devices.values()), PATIENCE_S, f"{devices} devices to ask")
            if accepted:
                accept(system, made)
            return made

        yield make
