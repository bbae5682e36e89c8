"""What a simulated device remembers."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from msgspec import UNSET
from msgspec.structs import replace

from wainwright_common.messages import Ack, Action, Artifact, Offer, Progress, Report, Verdict
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.simulate.memory import Memory

AT = datetime(2026, 1, 1, tzinfo=UTC)
ARTIFACT = Artifact(id="a", name="next", size=10, sha256="0" * 64, uri="http://127.0.0.1/a", expires=AT)


def offer(deployment: str = "d", attempt: int = 1) -> Offer:
    return Offer(deployment_id=deployment, attempt=attempt, action=Action.INSTALL, artifact=ARTIFACT)


def updating(*statuses: DeviceStatus) -> tuple[Memory, list[Report]]:
    """Return a memory with an update that has reported these statuses, and the reports."""
    memory = Memory(artifact_name="former", boot_id="b")
    assert memory.take(offer())
    return memory, [memory.report(status, AT) for status in statuses]


def ack(report: Report, verdict: Verdict = Verdict.ACCEPTED, status: DeviceStatus | None = None) -> Ack:
    return Ack(
        deployment_id=report.deployment_id,
        attempt=report.attempt,
        seq=report.seq,
        verdict=verdict,
        status=UNSET if status is None else status,
    )


def test_a_report_stays_in_the_outbox_until_an_acknowledgement_covers_it() -> None:
    memory, (first, second, third) = updating(DeviceStatus.DOWNLOADING, DeviceStatus.INSTALLING, DeviceStatus.FAILURE)
    memory.acknowledged(ack(second))
    assert memory.outbox == [third]
    memory.acknowledged(ack(first))
    assert memory.outbox == [third]
    memory.acknowledged(ack(third))
    assert memory.outbox == []


def test_progress_is_not_kept_but_its_number_is_not_used_again() -> None:
    memory, (first,) = updating(DeviceStatus.DOWNLOADING)
    progress = memory.report(DeviceStatus.DOWNLOADING, AT, progress=Progress(done=1, total=10))
    last = memory.report(DeviceStatus.INSTALLING, AT)
    assert [first.seq, progress.seq, last.seq] == [1, 2, 3]
    assert memory.outbox == [first, last]


def test_an_attempt_that_is_done_is_not_taken_again_and_the_next_one_is() -> None:
    memory, _ = updating(DeviceStatus.FAILURE)
    assert not memory.take(offer())
    assert memory.take(offer(attempt=2))


def test_a_second_update_is_not_taken_while_one_is_under_way() -> None:
    memory, _ = updating(DeviceStatus.DOWNLOADING)
    assert not memory.take(offer("other"))


def test_a_commit_is_counted_and_changes_what_runs() -> None:
    memory, _ = updating(DeviceStatus.INSTALLING)
    memory.commit()
    assert memory.report(DeviceStatus.SUCCESS, AT).artifact_name == "next"
    assert memory.installed == {("d", 1): 1}
    assert memory.artifact_name == "next"


def test_a_restore_gives_back_what_ran_before_and_both_are_remembered_in_their_order() -> None:
    memory, _ = updating(DeviceStatus.INSTALLING)
    memory.commit()
    memory.report(DeviceStatus.SUCCESS, AT)
    former = replace(ARTIFACT, name="former")
    assert memory.take(Offer(deployment_id="undo", attempt=1, action=Action.RESTORE, artifact=former))
    assert not memory.take(offer(attempt=2))
    memory.commit()
    memory.report(DeviceStatus.SUCCESS, AT)
    assert memory.artifact_name == "former"
    assert memory.taken == [
        ("d", 1, Action.INSTALL, "next", "former"),
        ("undo", 1, Action.RESTORE, "former", "next"),
    ]


@pytest.mark.parametrize("verdict", [Verdict.ABORTED, Verdict.DECOMMISSIONED, Verdict.UNKNOWN, Verdict.STALE])
def test_a_verdict_against_it_ends_an_update_that_is_not_committed(verdict: Verdict) -> None:
    memory, (report,) = updating(DeviceStatus.DOWNLOADING)
    assert memory.acknowledged(ack(report, verdict))
    assert (memory.offer, memory.outbox) == (None, [])


def test_a_committed_update_is_not_ended_by_any_verdict() -> None:
    memory, (report,) = updating(DeviceStatus.INSTALLING)
    memory.commit()
    assert not memory.acknowledged(ack(report, Verdict.ABORTED))
    assert memory.offer is not None


def test_a_stale_report_of_an_update_under_way_says_only_that_it_was_overtaken() -> None:
    memory, (first, _) = updating(DeviceStatus.DOWNLOADING, DeviceStatus.INSTALLING)
    assert not memory.acknowledged(ack(first, Verdict.STALE, DeviceStatus.INSTALLING))
    assert memory.offer is not None


def test_nothing_can_be_reported_when_nothing_is_under_way() -> None:
    with pytest.raises(ValueError, match="no update"):
        Memory(artifact_name="former", boot_id="b").report(DeviceStatus.SUCCESS, AT)
