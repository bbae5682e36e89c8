"""What a check-in changes, and its reply: the device as it is now, then the deployment whose turn it is.

Nothing is sent from here, and nothing is written before the ledger is flushed.
"""

from __future__ import annotations

from collections.abc import Callable

from msgspec import UNSET
from msgspec.structs import replace

from wainwright_common.messages import Action, CheckIn, Offer, Policy, Reason, Reply, Running, WhyCode
from wainwright_common.messages import Artifact as ArtifactLink
from wainwright_controller.ledger import Ledger
from wainwright_controller.records import Artifact, Device, DeviceDeployment, DeviceState
from wainwright_controller.regressions import note_regression
from wainwright_controller.rules import presence, timeouts
from wainwright_controller.rules.selection import choose

MakeLink = Callable[[Artifact, float], ArtifactLink]
_SOON = frozenset({WhyCode.RETRY_LATER})  # of whose turn comes drip.py wakes as many as get an offer


def take(ledger: Ledger, device: Device, check_in: CheckIn, make_link: MakeLink, interval_s: int) -> Reply:
    """Put what a known device says of itself, and return what it is told; `interval_s` is its usual pause."""
    wants_inventory = check_in.inventory_digest != device.inventory_digest
    running = None if check_in.running is UNSET else check_in.running.deployment_id
    device = presence.asked(_as_it_is(ledger, device, check_in), ledger.now)
    if check_in.running is not UNSET and device.state is DeviceState.ACCEPTED:
        _heard(ledger, device.id, check_in.running)
    candidates = [*ledger.candidates(device.id), *ledger.joinable(device)]
    choice = choose(device, candidates, ledger.now, running)
    for part in choice.changed:
        ledger.put_part(part, actor="controller")
    ledger.put_device(replace(device, last_why=choice.why[0] if choice.why else ""))
    after_s = interval_s
    if choice.retry_at is not None and choice.why is not None and choice.why[0] in _SOON:
        after_s = min(after_s, max(1, round(choice.retry_at - ledger.now)))
    return Reply(
        check_in_id=check_in.id,
        check_in_after_s=after_s,
        send_inventory=wants_inventory,
        why=Reason(code=choice.why[0], text=choice.why[1]) if choice.why else UNSET,
        offer=_offer(ledger, *choice.offer, make_link) if choice.offer is not None else UNSET,
    )


def _heard(ledger: Ledger, device_id: str, running: Running) -> None:
    part = ledger.parts.get((running.deployment_id, device_id))
    if part is not None:
        ledger.put_part(timeouts.heard(part, running.attempt, ledger.now))


NAME_MAX = (
    256  # characters, as of every artifact's name; what is provided may be longer, and PostgreSQL's column is not
)


def _as_it_is(ledger: Ledger, device: Device, check_in: CheckIn) -> Device:
    name = check_in.provides.get("artifact_name", "")[:NAME_MAX]
    is_by_hand = check_in.by_hand is True
    if name != device.artifact_name and is_by_hand:
        before = f" in place of {device.artifact_name}" if device.artifact_name else ""
        ledger.note("by-hand", f"{name} was installed{before} by hand", "device", device_id=device.id)
    if name != device.artifact_name and not is_by_hand:
        note_regression(ledger, device, name)
    return replace(
        device,
        last_seen_at=ledger.now,
        last_check_in_at=ledger.now,
        device_type=check_in.device_type,
        artifact_name=name,
        provides=check_in.provides,
        boot_id=check_in.boot_id,
        agent_version=check_in.agent_version,
    )


def _offer(ledger: Ledger, part: DeviceDeployment, artifact: Artifact, make_link: MakeLink) -> Offer:
    deployment = ledger.deployments[part.deployment_id]
    is_restore = deployment.rolls_back is not None
    return Offer(
        deployment_id=part.deployment_id,
        attempt=part.attempt,
        action=Action.RESTORE if is_restore else Action.INSTALL,
        artifact=make_link(artifact, ledger.now),
        policy=Policy() if is_restore else deployment.policy,
    )
