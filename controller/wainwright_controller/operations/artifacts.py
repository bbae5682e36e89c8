"""The records of stored artifacts and of releases; their bytes are artifact_store.py's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Select, and_, delete, insert, or_, select

from wainwright_common.statuses import DeploymentStatus
from wainwright_controller.operations.base import NotFound, Operator
from wainwright_controller.operations.witness import Witness
from wainwright_controller.records import (
    Artifact,
)
from wainwright_controller.rows import (
    ARTIFACT,
    DEPLOYMENT,
    PART,
    from_row,
    to_row,
)
from wainwright_controller.rules.actions import Refused


class ArtifactOperations(Operator):
    """What operators do with artifacts and releases."""

    def add_artifact(self, artifact: Artifact, actor: str, *, verified_by: str | None = None) -> Artifact:
        """Record a stored artifact; (name, depends) is unique. `verified_by` is the key that did, for the audit log."""
        with self._transaction() as ledger:
            row = to_row(artifact)
            same = select(ARTIFACT.c.id).where(
                ARTIFACT.c.name == artifact.name, ARTIFACT.c.depends_key == row["depends_key"]
            )
            if (known := ledger.connection.execute(same).scalar()) is not None:
                raise Refused(
                    "artifact-exists",
                    f"Release {artifact.name} has an artifact for the same devices already ({known[:8]}):"
                    " delete that one first, or give this one another name.",
                )
            ledger.connection.execute(insert(ARTIFACT), row)
            by = {"verified_by": verified_by} if verified_by else {}
            ledger.tell(f"artifact {artifact.id}", None, _about(artifact) | by)
            ledger.note("artifact", f"artifact {artifact.id[:8]} of release {artifact.name} stored", actor)
        return artifact

    def delete_artifact(self, artifact_id: str, actor: str) -> Artifact:
        """Forget an artifact; its file is the caller's. Refused while an unfinished deployment has its release."""
        with self._transaction() as ledger:
            row = ledger.connection.execute(select(ARTIFACT).where(ARTIFACT.c.id == artifact_id)).mappings().first()
            if row is None:
                raise NotFound(f"No such artifact: {artifact_id}. `wainwright artifact list` shows all.")
            artifact = from_row(Artifact, row)
            self._forget(ledger, [artifact], actor)
        return artifact

    def delete_release(self, name: str, actor: str) -> list[Artifact]:
        """Forget all artifacts of a release, as `delete_artifact` does."""
        with self._transaction() as ledger:
            rows = ledger.connection.execute(select(ARTIFACT).where(ARTIFACT.c.name == name)).mappings().all()
            if not rows:
                raise NotFound(f"No such release: {name}. `wainwright release list` shows all.")
            artifacts = [from_row(Artifact, row) for row in rows]
            self._forget(ledger, artifacts, actor)
        return artifacts

    @staticmethod
    def _forget(ledger: Witness, artifacts: Sequence[Artifact], actor: str) -> None:
        name = artifacts[0].name
        if (user := ledger.connection.execute(deployments_with(name).limit(1)).scalar()) is not None:
            raise Refused(
                "artifact-in-use",
                f"Release {name} is needed by {user}, which has not finished: abort that, or wait until it has.",
            )
        for artifact in artifacts:
            ledger.tell(f"artifact {artifact.id}", _about(artifact), None)
        ledger.connection.execute(delete(ARTIFACT).where(ARTIFACT.c.id.in_([a.id for a in artifacts])))
        ledger.note("artifact", f"{len(artifacts)} artifact(s) of release {name} deleted", actor)


def deployments_with(name: str) -> Select[Any]:
    """Return the query for the names of unfinished deployments that need a release.

    A rollback needs what it undoes to tell who has it, and what its devices get back.
    """
    restores = select(PART.c.deployment_id).where(
        PART.c.deployment_id == DEPLOYMENT.c.id, PART.c.restore_name == name, PART.c.finished_at.is_(None)
    )
    needs = or_(DEPLOYMENT.c.artifact_name == name, and_(DEPLOYMENT.c.rolls_back.is_not(None), restores.exists()))
    unfinished = select(DEPLOYMENT.c.name).where(DEPLOYMENT.c.status != DeploymentStatus.FINISHED)
    return unfinished.where(needs).order_by(DEPLOYMENT.c.sequence)


def _about(artifact: Artifact) -> dict[str, object]:
    """Return what the audit log says of an artifact."""
    return {name: getattr(artifact, name) for name in ("name", "size", "sha256", "signed", "description")}
