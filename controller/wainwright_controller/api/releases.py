"""/api/v1/releases: all artifacts of one name."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from sqlalchemy import Connection, func, select

from wainwright_controller.api import routing
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import InContext
from wainwright_controller.api.models import ArtifactOut, Page, ReleaseDetail, ReleaseOut, known_moment
from wainwright_controller.api.paging import LIMIT, Cursor, Limit, Search, cut, key_of
from wainwright_controller.operations import NotFound
from wainwright_controller.operations.artifacts import deployments_with
from wainwright_controller.records import Artifact, DeviceState
from wainwright_controller.rows import ARTIFACT, DEVICE, from_row, in_chunks

router = routing.router("releases", "/releases")


@router.get("")
def list_releases(
    context: InContext, q: Search = None, limit: Limit = LIMIT, cursor: Cursor = None
) -> Page[ReleaseOut]:
    """List releases by name."""
    with context.store.read() as connection:
        return listed(connection, q, limit, cursor)


def listed(connection: Connection, q: str | None, limit: int, cursor: str | None) -> Page[ReleaseOut]:
    """Return a piece of the list of releases; their number is not counted."""
    query = select(ARTIFACT.c.name).distinct().order_by(ARTIFACT.c.name).limit(limit + 1)
    if q:
        query = query.where(ARTIFACT.c.name.icontains(q, autoescape=True))
    if cursor is not None:
        query = query.where(ARTIFACT.c.name > key_of(cursor, tuple[str])[0])
    names, following = cut(connection.execute(query).scalars().all(), limit, lambda name: (name,))
    artifacts, running = _artifacts(connection, names), _running(connection, names)
    items = [ReleaseOut(**_fields(name, artifacts[name], running.get(name, 0))) for name in names]
    return Page(items=items, next=following)


@router.get("/{name:path}")
def show_release(name: str, context: InContext) -> ReleaseDetail:
    """Show a release with its artifacts, how many devices run it, and which deployments need it still."""
    with context.store.read() as connection:
        return detail(connection, name)


def detail(connection: Connection, name: str) -> ReleaseDetail:
    """Return a release; raises NotFound."""
    artifacts = _artifacts(connection, [name])[name]
    running = _running(connection, [name]).get(name, 0)
    deployments = list(connection.execute(deployments_with(name)).scalars())
    if not artifacts:
        raise NotFound(f"No such release: {name}. `wainwright release list` shows all.")
    shown = [ArtifactOut.of(artifact) for artifact in artifacts]
    return ReleaseDetail(**_fields(name, artifacts, running), artifacts=shown, deployments=deployments)


@router.delete("/{name:path}", status_code=HTTPStatus.NO_CONTENT)
def delete_release(name: str, context: InContext, actor: InActor) -> None:
    """Delete all artifacts of a release; 409 artifact-in-use while a deployment that is not finished has it."""
    for artifact in context.operations.delete_release(name, actor.name):
        context.artifacts.remove(artifact.id)


def _artifacts(connection: Connection, names: Sequence[str]) -> dict[str, list[Artifact]]:
    found: dict[str, list[Artifact]] = {name: [] for name in names}
    for chunk in in_chunks(names):
        query = select(ARTIFACT).where(ARTIFACT.c.name.in_(chunk)).order_by(ARTIFACT.c.created_at)
        for row in connection.execute(query).mappings():
            found[row["name"]].append(from_row(Artifact, row))
    return found


def _running(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """Return how many accepted devices run each release; those that none runs are not there."""
    found: dict[str, int] = {}
    for chunk in in_chunks(names):
        wanted = (DEVICE.c.artifact_name.in_(chunk), DEVICE.c.state == DeviceState.ACCEPTED)
        query = select(DEVICE.c.artifact_name, func.count()).where(*wanted).group_by(DEVICE.c.artifact_name)
        found |= {row[0]: row[1] for row in connection.execute(query)}
    return found


def _fields(name: str, artifacts: Sequence[Artifact], running: int) -> dict[str, Any]:
    return {
        "name": name,
        "artifact_count": len(artifacts),
        "size": sum(artifact.size for artifact in artifacts),
        "device_types": sorted({kind for artifact in artifacts for kind in artifact.depends.get("device_type", ())}),
        "running": running,
        "created_at": known_moment(max(artifact.created_at for artifact in artifacts)),
    }
