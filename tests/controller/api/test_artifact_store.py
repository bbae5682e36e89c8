"""What a crash leaves of an upload is completed when it was recorded, and removed when it was not."""

from __future__ import annotations

import io
from pathlib import Path

import pytest

from tests.controller.api.served import artifact
from wainwright_controller.artifact_store import ArtifactStore


def test_a_file_without_a_row_is_removed_at_the_start_and_one_with_a_row_is_completed(tmp_path: Path) -> None:
    for name in ("lost.part", "recorded.part", "known.mender", "deleted.mender"):
        (tmp_path / name).write_bytes(b"x")
    removed = ArtifactStore(tmp_path).prepare(lambda artifact_id: artifact_id in {"recorded", "known"})
    assert removed == ["lost.part", "deleted.mender"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["known.mender", "recorded.mender"]


def test_a_file_that_somebody_still_writes_is_left_alone(tmp_path: Path) -> None:
    store = ArtifactStore(tmp_path)
    blob = artifact()
    with store.receive(io.BytesIO(blob)) as (stored, _):
        assert ArtifactStore(tmp_path).prepare(lambda _: False) == []
        assert [path.suffix for path in tmp_path.iterdir()] == [".part"]
    assert store.path(stored.id).read_bytes() == blob


def test_an_artifact_whose_row_cannot_be_written_is_removed(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no row"), ArtifactStore(tmp_path).receive(io.BytesIO(artifact())):
        raise RuntimeError("no row")
    assert list(tmp_path.iterdir()) == []
