"""Devices and groups, as the API takes and gives them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from wainwright_common.messages import Attributes
from wainwright_controller.api.models.base import GroupName, Ids, Taken
from wainwright_controller.records import DeviceState


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

    ids: Ids = Field(default_factory=list)
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


class GroupIn(Taken):
    """A new static group, with its first devices."""

    name: GroupName
    ids: Ids = Field(default_factory=list)


class GroupOut(BaseModel):
    """A static group; `device_count` counts its members."""

    name: str
    device_count: int
    created_at: datetime
