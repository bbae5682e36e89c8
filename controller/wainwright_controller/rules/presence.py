"""Whether a device is connected: what it and the broker say of its connection, and what its questions prove.

1. A device tells its presence when it has connected, and the broker its last will when the connection has ended; both
   carry the time when the connection began. The end of an older connection says nothing about a newer one.
2. Who asks is connected, although its presence may have been lost: a broker keeps the last one for whoever subscribes
   later, but need not for a shared subscription, and one that was told while a subscription was being made may have
   fallen between the two. So a check-in makes a device online whose presence was never heard.
3. But a question may be older than the last will that was heard before it: it waited in the broker, or with another
   controller. So it makes nobody online whose end is not longer past than anything waits. One that is as far ahead was
   dated by a clock that has been set back since.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from msgspec.structs import replace

from wainwright_common.messages import Presence
from wainwright_controller.records import Device

LATE_MAX_S = 60.0  # twice what a controller waits for a store that another one holds (store.BUSY_TIMEOUT_MS)


def told(device: Device, presence: Presence, now: float, *, is_retained: bool) -> Device:
    """Return the device with a presence that it, or the broker for it, has told.

    A retained one comes again at every subscription, and tells nothing about when the device was heard.
    """
    since, before = presence.since.timestamp(), device.online_since
    if not presence.online and device.online and before is not None and since < before:
        return device
    went_offline = before is None or device.online
    offline_since = now if went_offline else before
    return replace(
        device,
        online=presence.online,
        online_since=since if presence.online else offline_since,
        last_seen_at=device.last_seen_at if is_retained and before is not None else now,
        agent_version=presence.agent_version,
    )


def asked(device: Device, now: float) -> Device:
    """Return the device as it is known to be once it has asked.

    When its connection began is not known then: its last will, whenever that began, ends it.
    """
    if device.online or (device.online_since is not None and abs(now - device.online_since) < LATE_MAX_S):
        return device
    return replace(device, online=True, online_since=None)
