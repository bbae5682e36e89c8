"""Deployments, as the API gives them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field

from wainwright_common.statuses import DeploymentStatus, DeviceStatus, Hold, MargoState, Outcome
from wainwright_controller.api.models.base import known_moment
from wainwright_controller.api.models.orders import Limit, Pace, Policy, TimeLimits
from wainwright_controller.records import Event, Kind, Opens, Strategy
from wainwright_controller.rules.actions import Act


class PhaseOut(BaseModel):
    """A phase, and how many of its devices stand where.

    `capacity` is how many devices may join it, where there is a bound. `waits_for` says, as a clause, what a closed
    phase waits for; `ailment` what was wrong with a phase when the next one was due.
    """

    number: int
    size: int
    capacity: int | None = None
    opens: Opens
    opens_at: datetime | None = None
    delay_s: float
    soak_s: float
    opened_at: datetime | None = None
    done_at: datetime | None = None
    waits_for: str | None = None
    ailment: str | None = None
    counts: dict[DeviceStatus, int]


class RollbackOut(BaseModel):
    """How far the deployment is that undoes another; `ended_at` is when the other one was told so."""

    id: str
    name: str
    status: DeploymentStatus
    hold: Hold | None = None
    outcome: Outcome | None = None
    summary: str
    device_count: int
    counts: dict[DeviceStatus, int]
    ended_at: datetime | None = None


class RefusalOut(BaseModel):
    """Why something is refused: a stable word, and a sentence."""

    code: str
    text: str


class DeploymentOut(BaseModel):
    """A deployment; `hold` is what it waits for other than its devices, `outcome` how it ended.

    `allowed` is what a person may do with it now, `refused` why not the rest; who may do it is not considered.
    `regressed` counts devices that fell back after their success.
    `rollback` is the deployment that undoes this one, `rolls_back` the one that this undoes, `retry_of` the one whose
    failed devices this one tries again. `updated_at` is when anything last happened to it.
    """

    id: str
    sequence: int
    name: str
    artifact_name: str
    target: str
    kind: Kind
    where: str | None = Field(None, description="Of a dynamic one: its filter.")
    max_devices: int | None = None
    closed_at: datetime | None = Field(None, description="Of a dynamic one: since when no device may join.")
    strategy: Strategy
    status: DeploymentStatus
    hold: Hold | None = None
    hold_reason: str | None = None
    outcome: Outcome | None = None
    margo_state: MargoState
    allowed: list[Act]
    refused: dict[Act, RefusalOut] | None = Field(None, description="Not in lists: why what is not allowed is not.")
    device_count: int
    counts: dict[DeviceStatus, int]
    summary: str
    regressed: int
    phases: list[PhaseOut]
    retries: int
    force: bool
    in_progress_timeout_s: float
    time_limits: TimeLimits
    limits: list[Limit]
    pace: Pace
    policy: Policy
    created_at: datetime
    created_by: str
    approved_by: str | None = None
    started_at: datetime | None = None
    updated_at: datetime
    finished_at: datetime | None = None
    rolls_back: str | None = None
    rollback: RollbackOut | None = None
    retry_of: str | None = None


class ProgressOut(BaseModel):
    """Bytes done, of a total in bytes."""

    done: int
    total: int


class ErrorOut(BaseModel):
    """Why the last attempt failed; docs/protocol.md lists the codes."""

    code: str
    text: str


class FailureOut(BaseModel):
    """An error, how many devices ended with exactly this one, how many had it and try again, and some of both."""

    code: str
    text: str
    devices: int
    again: int
    first: list[str] = Field(description="The first 5 by their ids; those that ended first.")


class PartOut(BaseModel):
    """One device's part in one deployment."""

    deployment_id: str
    device_id: str
    phase: int
    status: DeviceStatus
    margo_state: MargoState
    attempt: int
    substate: str | None = None
    progress: ProgressOut | None = None
    error: ErrorOut | None = None
    inconsistent: bool = Field(description="A failed update could not be undone: the device may run a mix.")
    artifact_id: str | None = None
    former_name: str | None = Field(None, description="The release that it ran before.")
    restore_name: str | None = Field(None, description="In a rollback: the release that it gets back.")
    offered: bool = Field(description="Whether the present attempt was offered to it.")
    offered_at: datetime | None = None
    created_at: datetime
    started_at: datetime | None = None
    updated_at: datetime
    finished_at: datetime | None = None
    next_attempt_at: datetime | None = None
    deadline_at: datetime | None = Field(None, description="When a time limit may pass.")
    regressed_at: datetime | None = Field(None, description="When it was first seen without what it had installed.")


class HistoryOut(PartOut):
    """A part in a device's history."""

    deployment_name: str
    artifact_name: str


class DeploymentState(DeploymentOut):
    """A deployment as live listeners get it, with some of the devices under way and the most frequent failures."""

    active: list[PartOut]
    failures: list[FailureOut]


class EventOut(BaseModel):
    """A line of a timeline.

    `kind` says what it is about: device, phase, deployment, group or artifact; `by-hand` is what a technician did.
    """

    id: int
    at: datetime
    kind: str
    text: str
    actor: str
    deployment_id: str | None = None
    device_id: str | None = None

    @classmethod
    def of(cls, number: int, event: Event) -> EventOut:
        """Return the view of a record and its number."""
        fields: dict[str, Any] = {name: getattr(event, name) for name in event.__struct_fields__}
        return cls(id=number, **fields | {"at": known_moment(event.at)})
