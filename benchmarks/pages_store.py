"""A store as a large fleet fills it, for benchmarks/pages.py: written row by row, as nothing of ours would.

DEVICES devices with inventory, tags and groups; a thousand deployments, one of them, BIG, to all devices and in the
middle of its third phase; releases, a timeline, an audit log.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from sqlalchemy import Connection, insert, update

from benchmarks.filters import SYSTEM, made
from wainwright_common.statuses import FINISHED, DeploymentStatus, DeviceStatus, Hold, Outcome
from wainwright_controller import audit
from wainwright_controller.records import (
    Artifact,
    Deployment,
    DeviceDeployment,
    Event,
    Opens,
    Phase,
    Strategy,
)
from wainwright_controller.rows import (
    ARTIFACT,
    ATTRIBUTE,
    AUDIT,
    DEPLOYMENT,
    DEVICE,
    EVENT,
    GROUP,
    MEMBER,
    PART,
    PHASE,
    SETTING,
    TAG,
    TALLY,
    in_chunks,
    to_row,
)
from wainwright_controller.rules.filters.attributes import rows
from wainwright_controller.store import Store

DEVICES, DEPLOYMENTS, SMALL = 100_000, 1_000, 20  # SMALL is how many devices each deployment but one has
GROUPS, RELEASES, AUDITED, OPEN = 50, 60, 20_000, 10
BIG = "b" * 32  # the id of the large deployment
PHASES = (0.001, 0.01, 0.3, 1.0)  # of it: the part of all devices up to the end of each phase
BUSY = 2_000  # devices of its third phase that are downloading
SIZE = 50_000_000  # bytes of an artifact; nothing is downloaded
DAY_S = 86_400.0


def device_id(number: int) -> str:
    """Return the id of a device, as `benchmarks.filters.made` gives it."""
    return f"device-{number:06}"


def release(number: int) -> str:
    """Return the name of a release."""
    return f"release-{number}"


def fill(store: Store, devices: int, deployments: int) -> None:
    """Fill an empty store."""
    chance, now = random.Random(6), time.time()
    with store.write() as connection:
        _releases(connection, now)
        _devices(connection, devices, chance, now)
        _deployments(connection, devices, deployments, chance, now)
        _audit(connection, chance, now)
    with store.write() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("ANALYZE")  # PostgreSQL does it by itself


def _put(connection: Connection, table: Any, found: Iterator[dict[str, Any]]) -> None:  # noqa: ANN401  a Table
    for chunk in in_chunks(list(found)):
        connection.execute(insert(table), list(chunk))


def _releases(connection: Connection, now: float) -> None:
    _put(
        connection,
        ARTIFACT,
        (
            to_row(
                Artifact(
                    id=f"{number:031x}{kind}",
                    name=release(number),
                    size=SIZE,
                    sha256=f"{number:064x}",
                    payload_type="rootfs-image",
                    depends={"device_type": types},
                    provides={"rootfs-image.version": release(number)},
                    signed=True,
                    created_at=now - (RELEASES - number) * DAY_S,
                )
            )
            for number in range(RELEASES)
            for kind, types in enumerate((("pi3", "pi4"), ("pi5", "press")))
        ),
    )


def _devices(connection: Connection, devices: int, chance: random.Random, now: float) -> None:
    columns = ATTRIBUTE.c.keys()
    for begin in range(0, devices, 5_000):
        fleet = [made(number, chance) for number in range(begin, min(begin + 5_000, devices))]
        told = [
            to_row(
                msgspec.structs.replace(
                    device,
                    created_at=now - 90 * DAY_S,
                    last_seen_at=now - chance.random() * 1800,
                    last_check_in_at=now - chance.random() * 1800,
                    online_since=now - DAY_S if device.online else None,
                    boot_id="b" * 36,
                )
            )
            | {"attributes": msgspec.json.encode({k: v for k, v in known.items() if "." not in k}).decode()}
            for device, known in fleet
        ]
        _put(connection, DEVICE, iter(told))
        named = [
            (device.id, *row)
            for device, known in fleet
            for row in rows(known)
            if row[0] not in SYSTEM and not row[0].startswith("fact")  # filters.py measures those
        ]
        _put(connection, ATTRIBUTE, (dict(zip(columns, row, strict=True)) for row in named))
        tags = [(device.id, n, str(known[f"tags.{n}"])) for device, known in fleet for n in ("site", "serial")]
        _put(connection, TAG, ({"device_id": i, "name": name, "value": value} for i, name, value in tags))
    names = [f"hall-{number:02}" for number in range(GROUPS)]
    dynamic = {"west": 'tags.site in ("site-1", "site-2")', "small": "mem_mb < 1024"}
    filters: dict[str, str | None] = dict.fromkeys(names) | dynamic
    _put(connection, GROUP, ({"name": n, "created_at": now, "filter": f} for n, f in filters.items()))
    _put(
        connection,
        MEMBER,
        ({"device_id": device_id(n), "group_name": names[n % len(names)]} for n in range(0, devices, 2)),
    )


def _deployments(connection: Connection, devices: int, deployments: int, chance: random.Random, now: float) -> None:
    for number in range(1, deployments):
        at = now - (deployments - number) * 3600.0
        is_over = number <= deployments - 1 - OPEN
        chosen = [device_id(chance.randrange(devices)) for _ in range(SMALL)]
        one = _deployment(f"{number:032x}", number, at, SMALL, is_over=is_over)
        statuses = [DeviceStatus.SUCCESS] * 18 + [DeviceStatus.FAILURE] * 2 if is_over else [DeviceStatus.PENDING] * 20
        phases = [Phase(deployment_id=one.id, number=1, size=SMALL, opens=Opens.NOW, opened_at=at, done_at=at + 600)]
        parts = [_part(one, device, 1, s, at) for device, s in zip(dict.fromkeys(chosen), statuses, strict=False)]
        _rollout(connection, one, phases, parts)
    _big(connection, devices, deployments, chance, now)


def _deployment(deployment_id: str, number: int, at: float, count: int, *, is_over: bool) -> Deployment:
    return Deployment(
        id=deployment_id,
        sequence=number,
        name=f"{release(number % RELEASES)} to hall-{number % GROUPS:02}",
        artifact_name=release(number % RELEASES),
        target=f"group hall-{number % GROUPS:02}",
        strategy=list(Strategy)[number % 4],
        retries=2,
        in_progress_timeout_s=30 * DAY_S,
        force=False,
        device_count=count,
        created_at=at,
        created_by=f"operator-{number % 7}",
        started_at=at,
        status=DeploymentStatus.FINISHED if is_over else DeploymentStatus.INPROGRESS,
        outcome=Outcome.PARTIAL if is_over else None,
        hold=None if is_over or number % 2 else Hold.PAUSED,
        hold_reason="" if is_over or number % 2 else "waits for the night shift",
        finished_at=at + 900 if is_over else None,
    )


def _big(connection: Connection, devices: int, number: int, chance: random.Random, now: float) -> None:
    began = now - 7200
    one = msgspec.structs.replace(
        _deployment(BIG, number, began, devices, is_over=False),
        hold=None,
        hold_reason="",
        name="release-59 to everybody",
    )
    ends = [round(part * devices) for part in PHASES]
    phases = [
        Phase(
            deployment_id=BIG,
            number=n + 1,
            size=end - ([0, *ends][n]),
            opens=Opens.NOW if n == 0 else Opens.APPROVAL,
            opened_at=began + n * 1800 if n < 3 else None,
            done_at=began + (n + 1) * 1800 if n < 2 else None,
        )
        for n, end in enumerate(ends)
    ]
    _rollout(connection, one, phases, list(_big_parts(one, ends, chance, began)))


def _big_parts(one: Deployment, ends: list[int], chance: random.Random, began: float) -> Iterator[DeviceDeployment]:
    order = list(range(ends[-1]))
    chance.shuffle(order)
    for place, number in enumerate(order):
        phase = next(n for n, end in enumerate(ends, 1) if place < end)
        if place < ends[1] + (ends[2] - ends[1]) // 2:
            status = DeviceStatus.FAILURE if chance.random() < 0.02 else DeviceStatus.SUCCESS
        elif place < ends[2] and place < ends[1] + (ends[2] - ends[1]) // 2 + BUSY:
            status = DeviceStatus.DOWNLOADING
        else:
            status = DeviceStatus.PENDING
        yield _part(one, device_id(number), phase, status, began + (phase - 1) * 1800 + chance.random() * 1700)


def _part(one: Deployment, device: str, phase: int, status: DeviceStatus, at: float) -> DeviceDeployment:
    is_over, failed = status in FINISHED, status is DeviceStatus.FAILURE
    begun = status is not DeviceStatus.PENDING
    return DeviceDeployment(
        deployment_id=one.id,
        device_id=device,
        sequence=one.sequence,
        phase=phase,
        status=status,
        offered=begun,
        last_seq=1 if begun else 0,
        seen=1 if begun else 0,
        artifact_id=f"{one.sequence % RELEASES:031x}0",
        former_name="release-1",
        progress_done=SIZE // 4 if status is DeviceStatus.DOWNLOADING else None,
        progress_total=SIZE if status is DeviceStatus.DOWNLOADING else None,
        error_code="install-failed" if failed else None,
        error_text=f"rootfs-image: exit status {hash(device) % 5}: no space left on /data" if failed else None,
        created_at=one.created_at,
        started_at=at if begun else None,
        offered_at=at if begun else None,
        status_at=at,
        updated_at=at,
        finished_at=at + 60 if is_over else None,
    )


def _rollout(connection: Connection, one: Deployment, phases: list[Phase], parts: list[DeviceDeployment]) -> None:
    connection.execute(insert(DEPLOYMENT), to_row(one))
    _put(connection, PHASE, (to_row(phase) for phase in phases))
    _put(connection, PART, (to_row(part) for part in parts))
    tally = Counter((part.phase, part.status) for part in parts)
    told = ({"deployment_id": one.id, "phase": p, "status": str(s), "n": n} for (p, s), n in tally.items())
    _put(connection, TALLY, told)
    lines = [Event(at=one.created_at, kind="deployment", text="created", actor=one.created_by, deployment_id=one.id)]
    lines += [
        Event(
            at=phase.opened_at,
            kind="phase",
            text=f"phase {phase.number} opened",
            actor="controller",
            deployment_id=one.id,
        )
        for phase in phases
        if phase.opened_at
    ]
    lines += [
        Event(
            at=part.updated_at, kind="device", text=text, actor="device", deployment_id=one.id, device_id=part.device_id
        )
        for part in parts
        if part.offered
        for text in ("offered", "downloading", "installing", str(part.status))
    ]
    _put(connection, EVENT, (to_row(line) for line in lines))


def _audit(connection: Connection, chance: random.Random, now: float) -> None:
    _put(
        connection,
        AUDIT,
        (
            {
                "number": number + 1,
                "at": now - (AUDITED - number) * 300.0,
                "actor": f"operator-{chance.randrange(7)}",
                "role": "operator",
                "address": "192.0.2.1",
                "action": chance.choice(["create-deployment", "pause-deployment", "accept-devices", "set-tags"]),
                "object": device_id(number),
                "before": "{}",
                "after": '{"state": "accepted"}',
                "verdict": "allowed",
                "code": "",
                "hash": f"{number + 1:064x}",
            }
            for number in range(AUDITED)
        ),
    )
    last = {"value": f"{AUDITED}:{AUDITED:064x}"}
    connection.execute(update(SETTING).where(SETTING.c.key == audit.HEAD).values(last))
