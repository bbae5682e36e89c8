"""The plain values that the rules work on: what the store keeps, without the store.

All are immutable; a rule takes some and returns changed copies (`msgspec.structs.replace`). Times are seconds since the
epoch (UTC) as floats, so that rules can be run on any clock; None means "not yet" or "never".
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from wainwright_common.statuses import DeploymentStatus, DeviceStatus, Hold, Outcome


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Base of the records."""


class DeviceState(StrEnum):
    """Whether a device belongs to the fleet."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    DECOMMISSIONED = "decommissioned"


class Device(Record, frozen=True, kw_only=True):
    """A device as last heard of, without its inventory, which no rule here needs."""

    id: str
    state: DeviceState = DeviceState.PENDING
    created_at: float = 0.0
    last_seen_at: float = 0.0
    online: bool = False
    online_since: float | None = None
    device_type: str = ""
    artifact_name: str = ""
    provides: dict[str, str] = {}
    boot_id: str = ""
    agent_version: str = ""
    inventory_digest: str = ""
    last_check_in_at: float | None = None
    last_why: str = ""


class Artifact(Record, frozen=True, kw_only=True):
    """One stored file; `depends` maps every key, `device_type` included, to its acceptable values."""

    id: str
    name: str
    size: int
    sha256: str
    payload_type: str
    depends: dict[str, tuple[str, ...]]
    provides: dict[str, str]
    signed: bool
    created_at: float
    description: str = ""


class Opens(StrEnum):
    """What opens a phase."""

    NOW = "now"
    AT = "at"
    AFTER = "after"
    APPROVAL = "approval"


class Phase(Record, frozen=True, kw_only=True):
    """A part of a deployment's devices that starts together; numbers count from 1.

    `opens_at` belongs to `at`; `delay_s` to `after`, counted from the moment that the phase before was done and had
    soaked.
    """

    deployment_id: str
    number: int
    size: int
    opens: Opens
    opens_at: float | None = None
    delay_s: float = 0.0
    soak_s: float = 0.0
    opened_at: float | None = None
    done_at: float | None = None


class Strategy(StrEnum):
    """The word that an operator chose for a plan; phases are what counts."""

    IMMEDIATE = "immediate"
    CANARY = "canary"
    ROLLING = "rolling"
    PHASED = "phased"


class Deployment(Record, frozen=True, kw_only=True):
    """A release, to devices, by a plan. `sequence` is the order in which deployments were made."""

    id: str
    sequence: int
    name: str
    artifact_name: str
    target: str
    strategy: Strategy
    retries: int
    in_progress_timeout_s: float
    force: bool
    device_count: int
    created_at: float
    created_by: str
    status: DeploymentStatus = DeploymentStatus.PENDING
    hold: Hold | None = None
    outcome: Outcome | None = None
    started_at: float | None = None
    finished_at: float | None = None


class DeviceDeployment(Record, frozen=True, kw_only=True):
    """One device's part in one deployment.

    `offered` says whether this attempt was offered: a device may report only then. `last_seq` and `seen` tell a
    repeated report from a late one: bit n of `seen` is set when report `last_seq - n` was taken. `deadline_at` is
    when to look whether the device has been silent for too long (ticker.py).
    """

    deployment_id: str
    device_id: str
    sequence: int
    phase: int
    status: DeviceStatus = DeviceStatus.PENDING
    attempt: int = 1
    offered: bool = False
    last_seq: int = 0
    seen: int = 0
    artifact_id: str | None = None
    former_name: str | None = None
    substate: str = ""
    progress_done: int | None = None
    progress_total: int | None = None
    error_code: str | None = None
    error_text: str | None = None
    inconsistent: bool = False
    created_at: float = 0.0
    started_at: float | None = None
    updated_at: float = 0.0
    finished_at: float | None = None
    next_attempt_at: float | None = None
    deadline_at: float | None = None


class Event(Record, frozen=True, kw_only=True):
    """A line of a timeline: of a deployment, of a device, or of both."""

    at: float
    kind: str
    text: str
    actor: str
    deployment_id: str | None = None
    device_id: str | None = None


Tally = dict[tuple[int, DeviceStatus], int]
"""How many device deployments of one deployment stand where: (phase number, status) to count."""
