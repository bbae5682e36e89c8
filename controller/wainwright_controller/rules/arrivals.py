"""How a device joins a dynamic deployment: the phase it gets, and when nobody joins any more.

1. A device joins when it checks in, matches the filter with what is known of it then, and has had no part in the
   deployment before.
2. It gets the first phase that has room. So phases fill in the order of arrival, and late joiners pass the same gates.
3. Nobody joins before the deployment has begun, after a person has finished it, or above `max_devices`; the device that
   fills the last place closes it.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from wainwright_common.statuses import DeploymentStatus, Hold
from wainwright_controller.records import Deployment, DeviceDeployment, Phase
from wainwright_controller.rules.lifecycle import grows
from wainwright_controller.rules.phases import is_full

_NOT_BEGUN = frozenset({Hold.AWAITING_APPROVAL, Hold.AWAITING_START, Hold.SCHEDULED})


def has_begun(deployment: Deployment, phases: Sequence[Phase]) -> bool:
    """Say whether a deployment has waited for its approval, its start or its time, and may since have been paused."""
    return deployment.hold not in _NOT_BEGUN and phases[0].opened_at is not None


def has_room(deployment: Deployment) -> bool:
    """Say whether a device that matches may join a deployment, now or once it has begun."""
    return (
        grows(deployment)
        and deployment.status is not DeploymentStatus.FINISHED
        and deployment.rollback_id is None
        and (deployment.max_devices is None or deployment.device_count < deployment.max_devices)
    )


def proposed(deployment: Deployment, phases: Sequence[Phase], device_id: str, now: float) -> DeviceDeployment | None:
    """Return the part that a matching device gets in a deployment that has begun, or would get; None without room."""
    if not has_room(deployment):
        return None
    phase = next((p for p in phases if not is_full(p, grows=True)), None)
    if phase is None:
        return None
    return DeviceDeployment(
        deployment_id=deployment.id,
        device_id=device_id,
        sequence=deployment.sequence,
        phase=phase.number,
        created_at=now,
        updated_at=now,
    )


def joined(
    deployment: Deployment, phases: Sequence[Phase], part: DeviceDeployment, now: float
) -> tuple[Deployment, list[Phase]]:
    """Return the deployment and its phases with one more device in them; the last one closes the deployment."""
    count = deployment.device_count + 1
    is_last = deployment.max_devices is not None and count >= deployment.max_devices
    grown = replace(deployment, device_count=count, closed_at=now if is_last else deployment.closed_at)
    return grown, [replace(p, size=p.size + 1) if p.number == part.phase else p for p in phases]
