"""What a deployment, or a rollback, would do: as the API gives it."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field

from wainwright_controller.records import Kind, Opens


class LeftOut(BaseModel):
    """A device that would not get the release: `already-installed` or `no-artifact`, and why as a sentence."""

    device_id: str
    code: str
    text: str


class ShareOut(BaseModel):
    """An artifact, its size in bytes, how many devices would get it, and what they would download together."""

    artifact_id: str
    devices: int
    size: int
    bytes: int


class PlannedPhaseOut(BaseModel):
    """A phase, how many devices would be in it as things are now, and how many of them would get an artifact."""

    number: int
    size: int
    updated: int
    opens: Opens
    opens_at: datetime | None = None
    delay_s: float
    soak_s: float


class PlanOut(BaseModel):
    """What an order would do; nothing was written.

    Lists name the first 1,000 devices, counts are of all. `bytes` is what all would download, without retries.
    """

    target: str
    kind: Kind
    devices: int = Field(description="Devices that the order is for, now.")
    updated: int = Field(description="Those of them that would get an artifact.")
    bytes: int
    artifacts: list[ShareOut]
    left: list[LeftOut]
    left_counts: dict[str, int]
    waiting: int = Field(description="Devices that an older deployment comes first for.")
    offline: int
    phases: list[PlannedPhaseOut]
    needs_approval: bool
    first: list[str] = Field(description="The devices, in the order in which they are given to phases.")


class RestoreOut(BaseModel):
    """A device that could not be given back what it ran before, and why."""

    device_id: str
    release: str | None = None
    obstacle: str | None = None


class RollbackPlanOut(BaseModel):
    """What a rollback would do; nothing was written. `releases` counts devices by what they get back."""

    devices: int
    restored: int
    releases: dict[str, int]
    not_restored: list[RestoreOut] = Field(description="The first 1,000.")
    not_restored_count: int
