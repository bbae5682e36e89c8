"""Devices and groups, as the API takes and gives them."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import BaseModel, Field

from wainwright_common.messages import Attributes
from wainwright_controller.api.models.base import Flag, GroupName, Ids, Taken, Where
from wainwright_controller.api.models.enrolment import KeyOut
from wainwright_controller.records import DeviceState


class GroupKind(StrEnum):
    """What a group is."""

    STATIC = "static"
    DYNAMIC = "dynamic"


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
    """A device with all that it reported, its tags, and the keys that ask for its name or had it."""

    boot_id: str | None = None
    provides: dict[str, str]
    attributes: Attributes
    tags: dict[str, str]
    keys: list[KeyOut]


class IdsIn(Taken):
    """Which devices."""

    ids: Ids


class AcceptIn(Taken):
    """Which devices: these, or all that are pending."""

    ids: Ids = Field(default_factory=list)
    all_pending: Flag = False


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


class LoggedOut(LogLineOut):
    """A line of one of several devices."""

    device_id: str


class TagsIn(Taken):
    """Which devices, by `ids` or by a filter, get tags and lose tags."""

    ids: Ids | None = None
    where: Where | None = None
    given: dict[str, str] = Field(default_factory=dict)
    removed: list[str] = Field(default_factory=list)


class GroupIn(Taken):
    """A new group: a static one, with its first devices, or with `where` a dynamic one."""

    name: GroupName
    ids: Ids = Field(default_factory=list)
    where: Where | None = None


class FilterOut(BaseModel):
    """A filter as it is understood, the number of accepted devices that meet it, and names in it that no device has."""

    where: str
    devices: int
    unknown: list[str]


class FilterIn(Taken):
    """A filter."""

    where: Where


class GroupOut(BaseModel):
    """A group; `device_count` counts its present members. A dynamic one has `where`, its filter in canonical form."""

    name: str
    kind: GroupKind
    where: str | None = None
    device_count: int
    created_at: datetime
