"""What operators do: each call is one transaction, written to the timeline; it wakes whom it concerns after the commit.

Raises Refused (not possible in this state), NotFound (no such thing) or BadPlan (cannot be carried out as written); the
store is then as it was.
"""

from __future__ import annotations

from wainwright_controller.operations.artifacts import ArtifactOperations
from wainwright_controller.operations.base import NotFound, listed
from wainwright_controller.operations.deployments import DeploymentOperations
from wainwright_controller.operations.devices import DeviceOperations
from wainwright_controller.operations.enrolment import EnrolmentOperations
from wainwright_controller.operations.groups import GroupOperations
from wainwright_controller.operations.orders import RETRIES_MAX, TIMEOUT_S, Order
from wainwright_controller.operations.people import NewToken, PeopleOperations
from wainwright_controller.operations.tags import TagOperations

__all__ = ["RETRIES_MAX", "TIMEOUT_S", "NewToken", "NotFound", "Operations", "Order", "listed"]


class Operations(
    DeviceOperations,
    EnrolmentOperations,
    GroupOperations,
    TagOperations,
    ArtifactOperations,
    DeploymentOperations,
    PeopleOperations,
):
    """All operations of one controller; safe to share between threads."""
