"""The plain values that the rules work on: what the store keeps, without the store.

All are immutable; a rule takes some and returns changed copies (`msgspec.structs.replace`). Times are seconds since the
epoch (UTC) as floats, so that rules can be run on any clock; None means "not yet" or "never".
"""

from __future__ import annotations

from enum import StrEnum

import msgspec

from wainwright_common.messages import Policy
from wainwright_common.prepared import prepare
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


class KeyState(StrEnum):
    """What a device's public key is good for."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REPLACED = "replaced"
    REVOKED = "revoked"


class DeviceKey(Record, frozen=True, kw_only=True):
    """A public key that asked for a device's name, or was given it; at most one of a device is accepted.

    `digest` is SHA-256 over its SubjectPublicKeyInfo; `decided_by` a person, or what stood in for one.
    """

    device_id: str
    digest: str
    state: KeyState = KeyState.PENDING
    asked_at: float | None = None
    last_asked_at: float | None = None
    address: str = ""
    decided_at: float | None = None
    decided_by: str = ""


class CertificateKind(StrEnum):
    """Whose a certificate is."""

    DEVICE = "device"
    SERVER = "server"
    CONTROLLER = "controller"


class Certificate(Record, frozen=True, kw_only=True):
    """A certificate that was issued; `serial` and `issuer`, the id of the issuing authority, are hexadecimal."""

    serial: str
    kind: CertificateKind
    name: str
    key_digest: str
    issuer: str
    begins_at: float
    ends_at: float
    issued_at: float
    issued_by: str
    pem: str
    revoked_at: float | None = None
    reason: str = ""
    session_ended_at: float | None = None


class EnrolmentToken(Record, frozen=True, kw_only=True):
    """A token by which devices are accepted: `used` of `budget` times so far; with `device_id`, only that device."""

    id: str
    digest: str
    budget: int
    used: int = 0
    expires_at: float
    device_id: str | None = None
    note: str = ""
    created_at: float
    created_by: str
    revoked_at: float | None = None


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
    soaked. `size` counts the devices that belong to it. In a dynamic deployment it grows with every arrival up to
    `capacity`, which is None for a phase that takes all that come, and unused in a static one. `ailment` says why the
    phase was not healthy when the next one was due.
    """

    deployment_id: str
    number: int
    size: int
    capacity: int | None = None
    opens: Opens
    opens_at: float | None = None
    delay_s: float = 0.0
    soak_s: float = 0.0
    opened_at: float | None = None
    done_at: float | None = None
    ailment: str = ""


class Strategy(StrEnum):
    """The word that an operator chose for a plan; phases are what counts."""

    IMMEDIATE = "immediate"
    CANARY = "canary"
    ROLLING = "rolling"
    PHASED = "phased"


class Kind(StrEnum):
    """Whether the devices of a deployment are fixed when it is made, or join as they match its filter."""

    STATIC = "static"
    DYNAMIC = "dynamic"


class OnFailures(StrEnum):
    """What happens when a limit on failures is broken."""

    PAUSE = "pause"
    ABORT = "abort"
    ROLLBACK = "rollback"


class Limit(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How many devices may fail: more than `count`, or more than `percent` of those that have finished, break it.

    A percentage is looked at from `min_sample` finished devices on. With `codes`, only failures with these error codes
    count; a device that fell back after its success counts as `regressed`.
    """

    count: int | None = None
    percent: float | None = None
    min_sample: int = 1
    codes: tuple[str, ...] = ()
    action: OnFailures = OnFailures.PAUSE


class Pace(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How fast a deployment makes offers: `per_minute`, and at most `concurrency` devices under way.

    With `factor` above 1 it is a ramp: the rate is multiplied after every `every` offers, up to `max_per_minute`.
    """

    per_minute: float | None = None
    factor: float = 1.0
    every: int | None = None
    max_per_minute: float | None = None
    concurrency: int | None = None


class TimeLimits(Record, frozen=True, kw_only=True, omit_defaults=True):
    """How long an attempt, and each status in it, may last in seconds; None is without a limit."""

    attempt_s: float | None = None
    downloading_s: float | None = None
    installing_s: float | None = None
    rebooting_s: float | None = None


class Deployment(Record, frozen=True, kw_only=True):
    """A release, to devices, by a plan. `sequence` is the order in which deployments were made.

    `filter`, `max_devices` and `closed_at` (when no device may join any more) belong to dynamic ones. `tokens` is how
    many offers the pace allowed at `tokens_at`, `offers` how many were made. `seen_failures` among `seen_tried` devices
    are what a person acknowledged by resuming at `resumed_at`, `seen_codes` the same by error code. `rolls_back` names
    the deployment that this one undoes, `rollback_id` the latest one that undoes this, `retry_of` the one whose failed
    devices this one tries again.
    """

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
    kind: Kind = Kind.STATIC
    filter: str | None = None
    max_devices: int | None = None
    closed_at: float | None = None
    limits: tuple[Limit, ...] = ()
    pace: Pace = Pace()
    time_limits: TimeLimits = TimeLimits()
    policy: Policy = Policy()
    status: DeploymentStatus = DeploymentStatus.PENDING
    hold: Hold | None = None
    hold_reason: str = ""
    outcome: Outcome | None = None
    started_at: float | None = None
    finished_at: float | None = None
    approved_by: str | None = None
    tokens: float = 1.0
    tokens_at: float = 0.0
    offers: int = 0
    regressed: int = 0
    resumed_at: float | None = None
    seen_failures: int = 0
    seen_tried: int = 0
    seen_codes: dict[str, int] = {}
    rolls_back: str | None = None
    rollback_id: str | None = None
    rollback_ended_at: float | None = None
    retry_of: str | None = None


class DeviceDeployment(Record, frozen=True, kw_only=True):
    """One device's part in one deployment.

    `offered` says whether this attempt was offered: a device may report only then. `last_seq` and `seen` tell a
    repeated report from a late one: bit n of `seen` is set when report `last_seq - n` was taken. `deadline_at` is
    when to look whether a time limit has passed (timeouts.py). `former_name` is the release that ran when this one was
    offered, `restore_name` the one that a rollback brings back; `regressed_at` is when a device was first seen without
    the release that it had installed with success.
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
    restore_name: str | None = None
    substate: str = ""
    progress_done: int | None = None
    progress_total: int | None = None
    error_code: str | None = None
    error_text: str | None = None
    inconsistent: bool = False
    created_at: float = 0.0
    started_at: float | None = None
    offered_at: float | None = None
    status_at: float | None = None
    updated_at: float = 0.0
    finished_at: float | None = None
    next_attempt_at: float | None = None
    deadline_at: float | None = None
    regressed_at: float | None = None


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


prepare(Device, Artifact, Phase, Deployment, DeviceDeployment, Event, DeviceKey, Certificate, EnrolmentToken)
