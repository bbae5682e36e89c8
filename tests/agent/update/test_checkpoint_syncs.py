"""How much of a download a power cut may cost: what has come since the last sync."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from wainwright_agent import checkpoint
from wainwright_agent.checkpoint import SYNC_EVERY, SYNC_MAX, Checkpoint
from wainwright_common.messages import Artifact

MIB = 1024 * 1024


def after_a_power_cut(folder: Path, received: int) -> int:
    """Return how many bytes are still there when the device has rebooted after `received` bytes."""
    tree = folder / "tree"
    tree.mkdir()
    facts = {
        "id": "a",
        "name": "a",
        "size": 10**9,
        "sha256": "0" * 64,
        "uri": "http://x/",
        "expires": datetime.now(UTC),
    }
    artifact = Artifact(**facts)  # type: ignore[arg-type]  # fields of Artifact
    kept = Checkpoint(tree, artifact, "boot-1")
    kept.keep()
    for _ in range(received // MIB):
        kept.append(bytes(MIB))
    kept.close()
    again = Checkpoint(tree, artifact, "boot-2")
    again.close()
    return again.size


@pytest.mark.parametrize(
    ("seconds", "received", "there"),
    [
        pytest.param(0.0, SYNC_EVERY - MIB, 0, id="a-slow-link-before-its-first-sync"),
        pytest.param(0.0, 2 * SYNC_EVERY + MIB, 2 * SYNC_EVERY, id="a-slow-link"),
        pytest.param(1e9, 2 * SYNC_EVERY, 0, id="a-fast-link-within-its-second"),
        pytest.param(1e9, SYNC_MAX + MIB, SYNC_MAX, id="a-fast-link-with-too-much-in-the-cache"),
    ],
)
def test_a_power_cut_costs_what_has_come_since_the_last_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, received: int, there: int
) -> None:
    """On a slow link the time is always over when the bytes are there; on a fast one it never is."""
    monkeypatch.setattr(checkpoint, "SYNC_EVERY_S", seconds)

    assert after_a_power_cut(tmp_path, received) == there
