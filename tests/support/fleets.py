"""What a test may ask of a simulated fleet that runs beside it, in a thread of its own."""

from __future__ import annotations

import asyncio

from tests.support.wait import PATIENCE_S, wait_until
from wainwright_controller.simulate import Fleet


def wait_until_at_rest(fleet: Fleet, *ids: str) -> None:
    """Wait until devices, all without any id, have said all that they have to say, and were answered.

    After the end of an update a device still sends its log, and asks what is next.
    """
    devices = [fleet.devices[device_id] for device_id in ids or fleet.devices]

    async def look() -> bool:
        return all(
            (device._work is None or device._work.done())
            and not (device.memory.outbox or device._unanswered or device._wanted.is_set())
            for device in devices
        )

    loop = fleet._loop
    assert loop is not None
    wait_until(lambda: asyncio.run_coroutine_threadsafe(look(), loop).result(PATIENCE_S), what="devices to be at rest")
