"""Deployments, as the API takes and gives them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from wainwright_common.statuses import DeploymentStatus, DeviceStatus, Hold, MargoState, Outcome
from wainwright_controller.api.models.base import Ids, Moment, Name, Taken, known_moment
from wainwright_controller.operations import RETRIES_MAX
from wainwright_controller.records import Event, Opens, Strategy
from wainwright_controller.rules.phases import PHASES_MAX

YEAR_S = 365 * 86400  # nobody waits for longer
Span = Annotated[float, Field(ge=0, le=YEAR_S, allow_inf_nan=False)]
"""A time in seconds."""


class PhaseIn(Taken):
    """A phase of a plan; without `count` and `percent` it takes the rest, which only the last one may."""

    count: Annotated[int, Field(ge=1)] | None = None
    percent: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] | None = None
    opens: Opens = Opens.NOW
    opens_at: Moment | None = Field(None, description="For `at`.")
    delay_s: Span = Field(0.0, description="For `after`: from the end of the phase before.")
    soak_s: Span = Field(0.0, description="How long the phase is watched after it is done.")


class OrderIn(Taken):
    """A deployment: a release, exactly one of `devices`, `all_devices` and `group`, and a plan."""

    release: Name
    devices: Ids | None = None
    all_devices: bool = False
    group: str | None = None
    name: Name | None = Field(None, description="By default, the release and its target.")
    phases: Annotated[list[PhaseIn], Field(max_length=PHASES_MAX)] = Field(
        [], description="By default, one that opens now."
    )
    strategy: Strategy = Field(Strategy.IMMEDIATE, description="A word for people: the phases are what counts.")
    retries: Annotated[int, Field(ge=0, le=RETRIES_MAX)] = 0
    in_progress_timeout_s: Annotated[float, Field(gt=0, le=YEAR_S, allow_inf_nan=False)] | None = None
    force: bool = Field(False, description="Installs also where the release runs already.")  # noqa: FBT003  pydantic's default
    manual: bool = Field(False, description="The first phase waits for a start by a person.")  # noqa: FBT003  as above


class ReasonIn(Taken):
    """Why a person does it; kept in the timeline."""

    reason: Annotated[str, StringConstraints(max_length=1000)] = ""


class PhaseOut(BaseModel):
    """A phase, and how many of its devices stand where."""

    number: int
    size: int
    opens: Opens
    opens_at: datetime | None = None
    delay_s: float
    soak_s: float
    opened_at: datetime | None = None
    done_at: datetime | None = None
    counts: dict[DeviceStatus, int]


class DeploymentOut(BaseModel):
    """A deployment; `hold` is what it waits for other than its devices, `outcome` how it ended."""

    id: str
    sequence: int
    name: str
    artifact_name: str
    target: str
    strategy: Strategy
    status: DeploymentStatus
    hold: Hold | None = None
    outcome: Outcome | None = None
    margo_state: MargoState
    device_count: int
    counts: dict[DeviceStatus, int]
    summary: str
    phases: list[PhaseOut]
    retries: int
    force: bool
    in_progress_timeout_s: float
    created_at: datetime
    created_by: str
    started_at: datetime | None = None
    finished_at: datetime | None = None


class ProgressOut(BaseModel):
    """Bytes done, of a total in bytes."""

    done: int
    total: int


class ErrorOut(BaseModel):
    """Why the last attempt failed; docs/protocol.md lists the codes."""

    code: str
    text: str


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
    created_at: datetime
    started_at: datetime | None = None
    updated_at: datetime
    finished_at: datetime | None = None
    next_attempt_at: datetime | None = None
    deadline_at: datetime | None = None


class HistoryOut(PartOut):
    """A part in a device's history."""

    deployment_name: str
    artifact_name: str


class DeploymentState(DeploymentOut):
    """A deployment as live listeners get it, with some of the devices that are under way."""

    active: list[PartOut]


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
