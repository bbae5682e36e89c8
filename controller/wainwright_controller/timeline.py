"""What bounds the timelines, so that no device can fill the store, and no fleet does in years.

Three bounds, none of which touches a deployment's own lines, or how a device's part in one ended:

- A device that turns from installing to rebooting and back for ever has STEPS_MAX such lines in a deployment.
- Of the lines about a device that belong to no deployment the newest `lines_max` stay.
- Steps of a device on its way, and lines that belong to no deployment, go after `age_s`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from msgspec.structs import replace
from sqlalchemy import Connection, and_, delete, func, or_, select

from wainwright_common.statuses import ACTIVE, DeviceStatus
from wainwright_controller.records import Event
from wainwright_controller.rows import EVENT, in_chunks

Key = tuple[str, str]
"""A device deployment: (deployment id, device id)."""

STEPS_MAX = 50  # lines of one device in one deployment; an update has two for each restart, and restarts a few times
AT_ONCE_MAX = 1000  # lines deleted in one transaction: others write in between

TURNING = frozenset({DeviceStatus.INSTALLING, DeviceStatus.REBOOTING})
_TAIL = "; further turns between installing and rebooting are not noted"
_STEPS = [text for status in sorted(TURNING) for text in (status.value, status.value + _TAIL)]
_OF_A_DEVICE_ALONE = and_(EVENT.c.device_id.is_not(None), EVENT.c.deployment_id.is_(None))


class Keep(NamedTuple):
    """How much of the timelines stays: `age_s` in seconds, `lines_max` a device."""

    age_s: float
    lines_max: int


def within_steps_max(connection: Connection, events: Sequence[Event], turned: Collection[Key]) -> list[Event]:
    """Return `events` without the steps beyond STEPS_MAX of the device deployments that have turned.

    The last step that is noted says that those after it are not.
    """
    if not turned:
        return list(events)
    noted = _steps_noted(connection, turned)
    kept = []
    for event in events:
        key = (event.deployment_id or "", event.device_id or "")
        if key in turned and event.text in TURNING:
            noted[key] += 1
            if noted[key] > STEPS_MAX:
                continue
            if noted[key] == STEPS_MAX:
                kept.append(replace(event, text=event.text + _TAIL))
                continue
        kept.append(event)
    return kept


def _steps_noted(connection: Connection, keys: Collection[Key]) -> Counter[Key]:
    noted: Counter[Key] = Counter()
    deployments = sorted({deployment for deployment, _ in keys})
    for devices in in_chunks(sorted({device for _, device in keys})):
        query = select(EVENT.c.deployment_id, EVENT.c.device_id, func.count()).where(
            EVENT.c.device_id.in_(devices), EVENT.c.deployment_id.in_(deployments), EVENT.c.text.in_(_STEPS)
        )
        for deployment, device, n in connection.execute(query.group_by(EVENT.c.deployment_id, EVENT.c.device_id)):
            noted[deployment, device] = n
    return noted


def surplus(connection: Connection, keep: Keep, now: float) -> list[int]:
    """Return the lines that have to go, AT_ONCE_MAX at most; reads only."""
    passing = and_(EVENT.c.device_id.is_not(None), EVENT.c.text.in_([*_STEPS, *ACTIVE]))
    old = select(EVENT.c.id).where(EVENT.c.at < now - keep.age_s, or_(passing, _OF_A_DEVICE_ALONE))
    ids = list(connection.execute(old.order_by(EVENT.c.id).limit(AT_ONCE_MAX)).scalars())
    if ids:
        return ids
    loud = select(EVENT.c.device_id).where(_OF_A_DEVICE_ALONE).group_by(EVENT.c.device_id)
    for device_id in connection.execute(loud.having(func.count() > keep.lines_max)).scalars():
        of_it = select(EVENT.c.id).where(_OF_A_DEVICE_ALONE, EVENT.c.device_id == device_id)
        newest = of_it.order_by(EVENT.c.id.desc()).offset(keep.lines_max).limit(AT_ONCE_MAX - len(ids))
        ids += connection.execute(newest).scalars()
        if len(ids) >= AT_ONCE_MAX:
            break
    return ids


def remove(connection: Connection, ids: Sequence[int]) -> None:
    """Delete lines."""
    for chunk in in_chunks(ids):
        connection.execute(delete(EVENT).where(EVENT.c.id.in_(chunk)))
