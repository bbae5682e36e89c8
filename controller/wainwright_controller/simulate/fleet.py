"""A fleet of simulated devices: in the event loop of the caller, or in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping
from types import TracebackType
from typing import NamedTuple, Self

from wainwright_controller.simulate.behaviour import Broker, FleetSpec, behaviours
from wainwright_controller.simulate.device import SimulatedDevice
from wainwright_controller.simulate.memory import Attempt, Memory

FILES_PER_DEVICE = 3  # a socket, and the pair that paho wakes itself with
FILES_SPARE = 200
STOP_TIMEOUT_S = 30.0


class Standing(NamedTuple):
    """A fleet at a glance."""

    connected: int
    under_way: int
    unacknowledged: int
    outcomes: Counter[str]
    trouble: str = ""
    """Why one of the devices could not connect when it last tried; none when all are connected."""


class Fleet:
    """Simulated devices. Either `await run()`, or use it with `with`, which runs it in a thread."""

    def __init__(self, spec: FleetSpec, broker: Broker) -> None:
        self.spec = spec
        self.address = f"{broker.endpoint.host}:{broker.endpoint.port}"
        self.devices: Mapping[str, SimulatedDevice] = {
            behaviour.id: SimulatedDevice(spec, behaviour, broker) for behaviour in behaviours(spec)
        }
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._thread: threading.Thread | None = None

    async def run(self) -> None:
        """Connect all devices, paced, and keep them running until this is cancelled."""
        allow_files(self.spec.devices * FILES_PER_DEVICE + FILES_SPARE)
        async with asyncio.TaskGroup() as group:
            for device in self.devices.values():
                group.create_task(device.run())
                await asyncio.sleep(1 / self.spec.connects_per_s)

    # ---- in a thread --------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=self._run_in_thread, args=(started,), name="fleet", daemon=True)
        self._thread.start()
        started.wait(STOP_TIMEOUT_S)
        return self

    def __exit__(
        self, _type: type[BaseException] | None, _value: BaseException | None, _trace: TracebackType | None
    ) -> None:
        if self._loop is not None and self._task is not None and self._thread is not None:
            self._loop.call_soon_threadsafe(self._task.cancel)
            self._thread.join(STOP_TIMEOUT_S)
            if self._thread.is_alive():
                raise TimeoutError(f"the simulated fleet did not end within {STOP_TIMEOUT_S:.0f} s")
            if not self._task.cancelled() and (problem := self._task.exception()) is not None:
                raise problem
        for device in self.devices.values():
            if device.problem is not None:
                raise device.problem

    def _run_in_thread(self, started: threading.Event) -> None:
        async def main() -> None:
            self._loop, self._task = asyncio.get_running_loop(), asyncio.ensure_future(self.run())
            started.set()
            await asyncio.wait([self._task])

        asyncio.run(main())

    # ---- what they did ------------------------------------------------------------------------------------------

    @property
    def memories(self) -> dict[str, Memory]:
        """What each device remembers, by its id."""
        return {device_id: device.memory for device_id, device in self.devices.items()}

    @property
    def ids(self) -> list[str]:
        """The devices' ids."""
        return list(self.devices)

    def installed_more_than_once(self) -> list[tuple[str, Attempt, int]]:
        """Return every attempt that a device carried out more than once; there must be none."""
        return [
            (device_id, attempt, times)
            for device_id, memory in self.memories.items()
            for attempt, times in memory.installed.items()
            if times > 1
        ]

    def standing(self) -> Standing:
        """Return the fleet at a glance; safe from any thread, exact when nothing moves."""
        memories = list(self.memories.values())
        return Standing(
            connected=sum(device.is_connected for device in self.devices.values()),
            under_way=sum(memory.offer is not None for memory in memories),
            unacknowledged=sum(len(memory.outbox) for memory in memories),
            outcomes=Counter(str(status) for memory in memories for status in dict(memory.outcomes).values()),
            trouble=next((device.trouble for device in self.devices.values() if device.trouble), ""),
        )


def allow_files(number: int) -> None:
    """Raise this process's limit of open files to `number`, as far as the system lets it."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = number if hard == resource.RLIM_INFINITY else min(number, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
