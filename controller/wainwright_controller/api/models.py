"""What the API takes and gives, as types: OpenAPI is made from these.

Times are RFC 3339 in UTC, sizes bytes, spans seconds. A key without a value is absent, never null. What comes in may
have no unknown keys: a misspelt option of a deployment must not be ignored.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, StringConstraints

from wainwright_common.messages import Attributes
from wainwright_common.statuses import DeploymentStatus, DeviceStatus, Hold, MargoState, Outcome
from wainwright_controller.operations import RETRIES_MAX
from wainwright_controller.records import Artifact, DeviceState, Event, Opens, Strategy
from wainwright_controller.rules.phases import PHASES_MAX

IDS_MAX = 100_000  # device ids in one request: the largest fleet that this is measured with
T = TypeVar("T")

Name = Annotated[str, StringConstraints(min_length=1, max_length=256)]
GroupName = Annotated[str, StringConstraints(pattern=r"^[^/\x00-\x1f\x7f]{1,128}$")]
Ids = Annotated[list[Annotated[str, StringConstraints(min_length=1, max_length=128)]], Field(max_length=IDS_MAX)]


def moment(seconds: float | None) -> datetime | None:
    """Return a record's time as a date."""
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC)


def known_moment(seconds: float) -> datetime:
    """Return a record's time, which is never missing, as a date."""
    return datetime.fromtimestamp(seconds, UTC)


class Taken(BaseModel):
    """Base of what comes in."""

    model_config = ConfigDict(extra="forbid")


class Page(BaseModel, Generic[T]):
    """A piece of a list. `total` counts all that match; `next`, if there, is the `cursor` of the following piece."""

    items: list[T]
    total: int | None = None
    next: str | None = None


class Problem(BaseModel):
    """An error (RFC 9457). `code` is a stable word, `detail` a sentence: what happened and what to do next."""

    type: str
    title: str
    status: int
    detail: str
    code: str


# ---- devices ------------------------------------------------------------------------------------------------------


class DeviceOut(BaseModel):
    """A device as last heard of; what it never told is absent."""

    id: str
    state: DeviceState
    online: bool
    online_since: datetime | None = Field(None, description="When it came online, or went offline.")
    last_seen_at: datetime | None = None
    last_check_in_at: datetime | None = None
    last_why: str | None = Field(None, description="Why its last check-in got no offer.")
    device_type: str | None = None
    artifact_name: str | None = None
    agent_version: str | None = None
    group: str | None = None
    created_at: datetime


class DeviceDetail(DeviceOut):
    """A device with all that it reported."""

    boot_id: str | None = None
    provides: dict[str, str]
    attributes: Attributes


class IdsIn(Taken):
    """Which devices."""

    ids: Ids


class AcceptIn(Taken):
    """Which devices: these, or all that are pending."""

    ids: Ids = []
    all_pending: bool = False


class Changed(BaseModel):
    """The ids that the request changed; those that were so already are not among them."""

    changed: list[str]


class Why(BaseModel):
    """Why a device is, or is not, being updated."""

    code: str
    text: str
    deployment_id: str | None = None


class LogLineOut(BaseModel):
    """One line of what a device logged in one attempt; `number` counts from 0."""

    attempt: int
    number: int
    at: datetime
    level: str
    text: str


# ---- groups -------------------------------------------------------------------------------------------------------


class GroupIn(Taken):
    """A new static group, with its first devices."""

    name: GroupName
    ids: Ids = []


class GroupOut(BaseModel):
    """A static group; `device_count` counts its members."""

    name: str
    device_count: int
    created_at: datetime


# ---- artifacts and releases ---------------------------------------------------------------------------------------


class ArtifactOut(BaseModel):
    """A stored artifact. `depends` has `device_type` with every other thing that a device must provide."""

    id: str
    name: str
    size: int
    sha256: str
    payload_type: str | None = None
    device_types: list[str]
    depends: dict[str, list[str]]
    provides: dict[str, str]
    signed: bool
    description: str | None = None
    created_at: datetime

    @classmethod
    def of(cls, artifact: Artifact) -> ArtifactOut:
        """Return the view of a record."""
        depends = {key: list(values) for key, values in artifact.depends.items()}
        return cls(
            id=artifact.id,
            name=artifact.name,
            size=artifact.size,
            sha256=artifact.sha256,
            payload_type=artifact.payload_type or None,
            device_types=depends.get("device_type", []),
            depends=depends,
            provides=artifact.provides,
            signed=artifact.signed,
            description=artifact.description or None,
            created_at=known_moment(artifact.created_at),
        )


class ReleaseOut(BaseModel):
    """All artifacts of one name, for all device types together; `created_at` is the newest one's."""

    name: str
    artifact_count: int
    size: int
    device_types: list[str]
    created_at: datetime


class ReleaseDetail(ReleaseOut):
    """A release with its artifacts."""

    artifacts: list[ArtifactOut]


# ---- deployments --------------------------------------------------------------------------------------------------


class PhaseIn(Taken):
    """A phase of a plan; without `count` and `percent` it takes the rest, which only the last one may."""

    count: Annotated[int, Field(ge=1)] | None = None
    percent: Annotated[float, Field(gt=0, le=100)] | None = None
    opens: Opens = Opens.NOW
    opens_at: AwareDatetime | None = Field(None, description="For `at`.")
    delay_s: Annotated[float, Field(ge=0)] = Field(0.0, description="For `after`: from the end of the phase before.")
    soak_s: Annotated[float, Field(ge=0)] = Field(0.0, description="How long the phase is watched after it is done.")


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
    in_progress_timeout_s: Annotated[float, Field(gt=0, le=365 * 86400)] | None = None
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
    """A line of a timeline; `kind` says what it is about: device, phase, deployment, group or artifact."""

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


# ---- the controller itself ----------------------------------------------------------------------------------------


class Connected(BaseModel):
    """Whether there is a connection."""

    connected: bool


class Status(BaseModel):
    """The controller at a glance."""

    version: str
    broker: Connected
    devices: dict[DeviceState, int]
    devices_online: int
    deployments: dict[DeploymentStatus, int]
    releases: int
    artifacts: int


class Readiness(BaseModel):
    """Whether the controller can do its work, and which part of it cannot."""

    ready: bool
    store: bool
    broker: bool


class Liveness(BaseModel):
    """The process answers."""

    alive: bool
