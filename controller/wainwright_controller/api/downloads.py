"""/download: what devices fetch artifacts from, by the signed links that offers bring."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query, Response
from fastapi.responses import FileResponse
from sqlalchemy import select

from wainwright_controller.api import routing
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.operations import NotFound
from wainwright_controller.records import Artifact
from wainwright_controller.rows import ARTIFACT, from_row

router = routing.open_router("devices' downloads")

_FILE = {"description": "The artifact's bytes", "content": {"application/octet-stream": {}}}


class _ArtifactFile(FileResponse):
    chunk_size = 256 * 1024  # each chunk is a trip to a worker thread


@router.api_route(
    "/download/{artifact_id}", methods=["GET"], response_class=Response, responses={200: _FILE, 206: _FILE}
)
def download_by_link(
    artifact_id: str,
    context: InContext,
    expires: int,
    signature: Annotated[str, Query(max_length=128)],
) -> Response:
    """Fetch an artifact by a signed link; 403 link-invalid or link-expired. Range and If-Range continue a download."""
    context.links.check(artifact_id, expires, signature, context.clock())
    with context.store.read() as connection:
        row = connection.execute(select(ARTIFACT).where(ARTIFACT.c.id == artifact_id)).mappings().first()
    if row is None:
        raise NotFound("The artifact of this link was deleted: check in again.")
    return file_of(context, from_row(Artifact, row))


def file_of(context: Context, artifact: Artifact) -> Response:
    """Return the response that sends an artifact's file, whole or the range that was asked for."""
    path = context.artifacts.path(artifact.id)
    try:
        stat = path.stat()
    except FileNotFoundError as error:
        raise NotFound(
            f"The file of artifact {artifact.id} is gone from {path.parent}: restore it from a backup,"
            " or delete the artifact and upload it again."
        ) from error
    return _ArtifactFile(
        path,
        media_type="application/octet-stream",
        filename=f"{artifact.name}.mender",
        headers={"ETag": f'"{artifact.sha256}"'},
        stat_result=stat,
    )
