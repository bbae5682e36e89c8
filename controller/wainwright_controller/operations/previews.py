"""What a deployment, or a rollback, would do: who would get what, who not and why, in which phases, how many bytes.

The same rules decide as when it happens; nothing is written.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from sqlalchemy import and_, func, select

from wainwright_controller import rollbacks
from wainwright_controller.ledger import Ledger
from wainwright_controller.operations.orders import Order, Target
from wainwright_controller.records import Artifact, Deployment, Device, Kind, Opens
from wainwright_controller.rows import PART, in_chunks
from wainwright_controller.rules import phases
from wainwright_controller.rules.phases import PhaseSpec
from wainwright_controller.rules.possible import check_worth
from wainwright_controller.rules.selection import choose_artifact, unmet

LISTED_MAX = 1_000  # devices that are named in each list of a preview; the counts are of all


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """A device that would not get the release, and why."""

    device_id: str
    code: str
    text: str


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """An artifact and how many devices would get it."""

    artifact_id: str
    devices: int
    size: int
    bytes: int


class PlannedPhase(msgspec.Struct, frozen=True, kw_only=True):
    """A phase and how many devices would be in it; `size` of the last one of a dynamic deployment is as of now.

    `updated` is how many of them would get an artifact: a canary of devices that the release is not for shows nothing.
    """

    number: int
    size: int
    updated: int
    opens: Opens
    opens_at: float | None
    delay_s: float
    soak_s: float


class Preview(msgspec.Struct, frozen=True, kw_only=True):
    """What an order would do; `bytes` is what the devices would download, retries not counted."""

    target: str
    kind: Kind
    devices: int
    updated: int
    bytes: int
    artifacts: list[Share]
    left: list[Left]
    left_counts: dict[str, int]
    waiting: int
    offline: int
    phases: list[PlannedPhase]
    needs_approval: bool
    first: list[str]


class RestorePlan(msgspec.Struct, frozen=True, kw_only=True):
    """What a device would get back, or why it cannot."""

    device_id: str
    release: str | None
    obstacle: str | None


class RollbackPreview(msgspec.Struct, frozen=True, kw_only=True):
    """What a rollback would do: how many devices get which release back, and who cannot be restored."""

    devices: int
    restored: int
    releases: dict[str, int]
    not_restored: list[RestorePlan]
    not_restored_count: int


def preview(
    ledger: Ledger, order: Order, target: Target, specs: Sequence[PhaseSpec], *, needs_approval: bool
) -> Preview:
    """Return what `order` would do with the devices of `target` as they are now."""
    ids = target.device_ids[: order.max_devices] if order.max_devices else target.device_ids
    ledger.load_devices(ids)
    ledger.load_artifacts({order.release})
    artifacts = ledger.artifacts[order.release]
    chosen: Counter[str] = Counter()
    left = []
    updated = []
    for device_id in ids:
        device = ledger.devices[device_id]
        artifact = choose_artifact(artifacts, device)
        obstacle = _obstacle(device, artifact, artifacts, order)
        updated.append(obstacle is None)
        if obstacle is not None:
            left.append(obstacle)
        elif artifact is not None:
            chosen[artifact.id] += 1
    sizes = {artifact.id: artifact.size for artifact in artifacts}
    shares = [Share(artifact_id=i, devices=n, size=sizes[i], bytes=n * sizes[i]) for i, n in sorted(chosen.items())]
    return Preview(
        target=target.words,
        kind=target.kind,
        devices=len(ids),
        updated=sum(chosen.values()),
        bytes=sum(share.bytes for share in shares),
        artifacts=shares,
        left=left[:LISTED_MAX],
        left_counts=dict(Counter(one.code for one in left)),
        waiting=_waiting(ledger, ids),
        offline=sum(not ledger.devices[i].online for i in ids),
        phases=_phases(ledger, order, target, specs, updated),
        needs_approval=needs_approval,
        first=ids[:LISTED_MAX],
    )


def _obstacle(device: Device, artifact: Artifact | None, artifacts: Sequence[Artifact], order: Order) -> Left | None:
    if device.artifact_name == order.release and not order.force:
        return Left(device_id=device.id, code="already-installed", text=f"It runs {order.release} already.")
    if artifact is None:
        reasons = "; ".join(f"{a.id[:8]} {', '.join(unmet(a, device))}" for a in artifacts[:3])
        return Left(device_id=device.id, code="no-artifact", text=f"No artifact fits it: {reasons}.")
    return None


def _waiting(ledger: Ledger, ids: Sequence[str]) -> int:
    """Count the devices that an older deployment comes first for."""
    total = 0
    for chunk in in_chunks(ids):
        waits = and_(PART.c.device_id.in_(chunk), PART.c.finished_at.is_(None))
        query = select(func.count(PART.c.device_id.distinct())).where(waits)
        total += ledger.connection.execute(query).scalar_one()
    return total


def _phases(
    ledger: Ledger, order: Order, target: Target, specs: Sequence[PhaseSpec], updated: Sequence[bool]
) -> list[PlannedPhase]:
    """Return the phases; `updated` says of each device, in their order, whether it would get an artifact."""
    is_dynamic = target.kind is Kind.DYNAMIC
    count = len(target.device_ids)
    plan = phases.lay_out("", specs, order.max_devices or count, ledger.now, is_dynamic=is_dynamic)
    begin, planned = 0, []
    for phase in plan:
        left = len(updated) - begin
        size = phase.size if not is_dynamic else left if phase.capacity is None else min(left, phase.capacity)
        planned.append(
            PlannedPhase(
                number=phase.number,
                size=size,
                updated=sum(updated[begin : begin + size]),
                opens=phase.opens,
                opens_at=phase.opens_at,
                delay_s=phase.delay_s,
                soak_s=phase.soak_s,
            )
        )
        begin += size
    return planned


def rollback_preview(ledger: Ledger, deployment: Deployment) -> RollbackPreview:
    """Return what a rollback of a deployment would do as things are now; raises Refused when that is nothing."""
    parts, restores = rollbacks.what_it_restores(ledger, deployment)
    check_worth(deployment, has_release=bool(parts))
    good = [restore for restore in restores if restore.obstacle is None]
    bad = [restore for restore in restores if restore.obstacle is not None]
    return RollbackPreview(
        devices=len(restores),
        restored=len(good),
        releases=dict(Counter(restore.name or "" for restore in good)),
        not_restored=[
            RestorePlan(device_id=r.device_id, release=r.name, obstacle=r.obstacle) for r in bad[:LISTED_MAX]
        ],
        not_restored_count=len(bad),
    )
