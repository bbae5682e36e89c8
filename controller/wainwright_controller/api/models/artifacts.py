"""Artifacts and releases, as the API gives them."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel

from wainwright_controller.api.models.base import known_moment
from wainwright_controller.records import Artifact


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
    """All artifacts of one name, for all device types together; `created_at` is the newest one's.

    `running` counts the devices that run it, as of their last check-in.
    """

    name: str
    artifact_count: int
    size: int
    device_types: list[str]
    running: int
    created_at: datetime


class ReleaseDetail(ReleaseOut):
    """A release with its artifacts, and the deployments that have not finished with it: they keep it from deletion."""

    artifacts: list[ArtifactOut]
    deployments: list[str]
