"""What the API takes and gives, as types: OpenAPI is made from these.

Times are RFC 3339 in UTC, sizes bytes, spans seconds. A key without a value is absent, never null. What comes in may
have no unknown keys: a misspelt option of a deployment must not be ignored.
"""

from wainwright_controller.api.models.artifacts import ArtifactOut, ReleaseDetail, ReleaseOut
from wainwright_controller.api.models.base import (
    IDS_MAX,
    GroupName,
    Ids,
    Name,
    Page,
    Problem,
    Taken,
    known_moment,
    moment,
)
from wainwright_controller.api.models.controller import Connected, Liveness, Readiness, Status
from wainwright_controller.api.models.deployments import (
    DeploymentOut,
    DeploymentState,
    ErrorOut,
    EventOut,
    HistoryOut,
    OrderIn,
    PartOut,
    PhaseIn,
    PhaseOut,
    ProgressOut,
    ReasonIn,
)
from wainwright_controller.api.models.devices import (
    AcceptIn,
    Changed,
    DeviceDetail,
    DeviceOut,
    GroupIn,
    GroupOut,
    IdsIn,
    LogLineOut,
    Why,
)

__all__ = [
    "IDS_MAX",
    "AcceptIn",
    "ArtifactOut",
    "Changed",
    "Connected",
    "DeploymentOut",
    "DeploymentState",
    "DeviceDetail",
    "DeviceOut",
    "ErrorOut",
    "EventOut",
    "GroupIn",
    "GroupName",
    "GroupOut",
    "HistoryOut",
    "Ids",
    "IdsIn",
    "Liveness",
    "LogLineOut",
    "Name",
    "OrderIn",
    "Page",
    "PartOut",
    "PhaseIn",
    "PhaseOut",
    "Problem",
    "ProgressOut",
    "Readiness",
    "ReasonIn",
    "ReleaseDetail",
    "ReleaseOut",
    "Status",
    "Taken",
    "Why",
    "known_moment",
    "moment",
]
