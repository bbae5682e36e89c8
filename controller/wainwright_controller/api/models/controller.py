"""The controller itself, as the API gives it."""

from __future__ import annotations

from pydantic import BaseModel

from wainwright_common.statuses import DeploymentStatus
from wainwright_controller.records import DeviceState


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
