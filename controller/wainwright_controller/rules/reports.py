"""What a report changes, and what its device is told.

In this order, the first that holds decides:

1. The device has no part in the deployment, or this attempt was never offered → `unknown`.
2. The part was aborted or decommissioned → that word: the device stops, and rolls back what it has not committed.
3. The attempt is not the current one → `stale`.
4. The report was taken before (same seq) → `accepted`, nothing changes.
5. The report is late (a lower seq, not taken), the part is finished, or the table of statuses forbids it → `stale`.
6. Otherwise it is taken. A failure may lead to another attempt: see retries.py.

An outcome is neither a repeat nor late while the part is unfinished, because nothing follows an outcome in an attempt:
the device has lost its journal, and numbers its reports from 1 again. Rules 4 and 5 do not hold it up.

Nothing here reads a clock, the store or the network.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import UNSET
from msgspec.structs import replace

from wainwright_common.codes import Code
from wainwright_common.messages import Report, Verdict
from wainwright_common.statuses import FINISHED, DeviceStatus, may_report
from wainwright_controller.records import Deployment, DeviceDeployment
from wainwright_controller.rules.retries import failed

SEEN_BITS = (
    63  # what fits into a signed 64-bit column; a repeat older than that is answered as late, which is as harmless
)
_ENDED_BY_OPERATOR = {
    DeviceStatus.ABORTED: Verdict.ABORTED,
    DeviceStatus.DECOMMISSIONED: Verdict.DECOMMISSIONED,
}


class Judgement(NamedTuple):
    """The verdict, and the part as it is afterwards; `part` is the same object when nothing changed."""

    verdict: Verdict
    part: DeviceDeployment | None


def was_taken(part: DeviceDeployment, seq: int) -> bool:
    """Say whether the report with this `seq` of the current attempt has been taken."""
    age = part.last_seq - seq
    return 0 <= age < SEEN_BITS and bool(part.seen >> age & 1)


def _refusal(part: DeviceDeployment | None, report: Report) -> Verdict | None:
    if part is None:
        return Verdict.UNKNOWN
    if part.status in _ENDED_BY_OPERATOR:
        return _ENDED_BY_OPERATOR[part.status]
    if report.attempt != part.attempt:
        return Verdict.STALE if report.attempt < part.attempt else Verdict.UNKNOWN
    if not part.offered:
        return Verdict.UNKNOWN
    is_counted_anew = report.status in FINISHED and part.status not in FINISHED
    if was_taken(part, report.seq) and not is_counted_anew:
        return Verdict.ACCEPTED
    is_late = report.seq < part.last_seq and not is_counted_anew
    if is_late or part.status in FINISHED or not may_report(part.status, report.status):
        return Verdict.STALE
    return None


def _seen_with(part: DeviceDeployment, seq: int) -> int:
    """Return the bits of the numbers that were taken, with `seq` among them; bit 0 is the highest number so far."""
    shift = seq - part.last_seq
    moved = part.seen << min(shift, SEEN_BITS) | 1 if shift >= 0 else part.seen | 1 << min(-shift, SEEN_BITS)
    return moved & (1 << SEEN_BITS) - 1


def judge(
    part: DeviceDeployment | None, report: Report, deployment: Deployment | None, *, now: float, jitter: float
) -> Judgement:
    """Apply the rules of this module to one report; `jitter` is between -1 and 1."""
    refusal = _refusal(part, report)
    if refusal is not None or part is None or deployment is None:
        return Judgement(refusal or Verdict.UNKNOWN, part)
    progress = report.progress
    taken = replace(
        part,
        status=report.status,
        last_seq=max(report.seq, part.last_seq),
        seen=_seen_with(part, report.seq),
        substate=report.substate if report.substate is not UNSET else "",
        progress_done=progress.done if progress is not UNSET else part.progress_done,
        progress_total=progress.total if progress is not UNSET else part.progress_total,
        inconsistent=part.inconsistent or report.inconsistent is True,
        started_at=part.started_at or now,
        status_at=part.status_at if report.status is part.status else now,
        updated_at=now,
    )
    if report.status is DeviceStatus.FAILURE:
        code, text = (
            (report.error.code, report.error.text)
            if report.error is not UNSET
            else (Code.UNKNOWN.value, "The device gave no reason.")
        )
        # The status before, so that what is pending again was never finished in between.
        return Judgement(
            Verdict.ACCEPTED,
            failed(replace(taken, status=part.status), code, text, retries=deployment.retries, now=now, jitter=jitter),
        )
    if report.status in FINISHED:
        taken = replace(taken, finished_at=now, error_code=None, error_text=None)
    return Judgement(Verdict.ACCEPTED, taken)
