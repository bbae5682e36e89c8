"""/api/v1/artifacts: the files that releases are made of."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import Query, Request, Response
from sqlalchemy import select

from wainwright_controller.api import routing
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import InContext
from wainwright_controller.api.downloads import file_of
from wainwright_controller.api.models import ArtifactOut, Page
from wainwright_controller.api.paging import LIMIT, Cursor, Limit, cut, key_of
from wainwright_controller.api.uploads import receive
from wainwright_controller.api.views import find_artifact
from wainwright_controller.records import Artifact
from wainwright_controller.rows import ARTIFACT, from_row

router = routing.router("artifacts", "/artifacts")

_ANY_SIZE = 2**63 - 1  # the artifact store has the limit, and looks at what really arrives
_BODY = {"requestBody": {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string"}}}}}
_FILE = {"description": "The artifact's bytes", "content": {"application/octet-stream": {}}}


@router.post("", status_code=HTTPStatus.CREATED, openapi_extra=_BODY, max_body_size=_ANY_SIZE)
async def upload_artifact(
    request: Request, context: InContext, actor: InActor, description: Annotated[str, Query(max_length=1024)] = ""
) -> ArtifactOut:
    """Store an artifact: the request's body, examined while it arrives.

    409 artifact-exists: the release has one for the same devices. 422 with `artifact-` and the word of the broken rule:
    it is damaged, or not an artifact, or, where the controller asks for signatures, not signed by a key that it trusts.
    Nothing that is refused is kept.
    """
    return ArtifactOut.of(await receive(request, context, actor.name, description))


@router.get("")
def list_artifacts(
    context: InContext, name: str | None = None, limit: Limit = LIMIT, cursor: Cursor = None
) -> Page[ArtifactOut]:
    """List artifacts by release name; `name` gives those of one release."""
    query = select(ARTIFACT).order_by(ARTIFACT.c.name, ARTIFACT.c.id).limit(limit + 1)
    if name is not None:
        query = query.where(ARTIFACT.c.name == name)
    if cursor is not None:
        after_name, after_id = key_of(cursor, tuple[str, str])
        same = (ARTIFACT.c.name == after_name) & (ARTIFACT.c.id > after_id)
        query = query.where((ARTIFACT.c.name > after_name) | same)
    with context.store.read() as connection:
        rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: (row["name"], row["id"]))
    return Page(items=[ArtifactOut.of(from_row(Artifact, row)) for row in rows], next=following)


@router.get("/{artifact_id}")
def show_artifact(artifact_id: str, context: InContext) -> ArtifactOut:
    """Show an artifact, by its id, the beginning of one, or its name if it is the only one of that."""
    with context.store.read() as connection:
        return ArtifactOut.of(find_artifact(connection, artifact_id))


@router.delete("/{artifact_id}", status_code=HTTPStatus.NO_CONTENT)
def delete_artifact(artifact_id: str, context: InContext, actor: InActor) -> None:
    """Delete an artifact; 409 artifact-in-use while a deployment that is not finished has its release."""
    with context.store.read() as connection:
        artifact = find_artifact(connection, artifact_id)
    context.operations.delete_artifact(artifact.id, actor.name)
    context.artifacts.remove(artifact.id)


@router.get("/{artifact_id}/file", response_class=Response, responses={200: _FILE, 206: _FILE})
def download_artifact(artifact_id: str, context: InContext) -> Response:
    """Download an artifact; Range and If-Range continue a download, the ETag is its SHA-256."""
    with context.store.read() as connection:
        return file_of(context, find_artifact(connection, artifact_id))
