"""What must hold when a device has come to rest, whatever has happened to it on the way."""

from __future__ import annotations

from tests.agent.crash.bench import NEW, OLD, Bench
from tests.agent.crash.driver import Controller
from wainwright_agent.journal import Journal
from wainwright_common.messages import Report
from wainwright_common.statuses import FINISHED, DeviceStatus

ONCE = ("ArtifactInstall", "ArtifactCommit")
"""States that are never called twice: nobody asked their authors to make them repeatable."""


def problems(bench: Bench, left_running: set[int], *, is_interrupted: bool = True) -> list[str]:
    """Return everything that is wrong; nothing, for a device that is as it must be.

    Without an interruption the way's own end is the only one.
    """
    return [
        *_of_the_end(bench, is_interrupted=is_interrupted),
        *_of_the_journal(bench, left_running),
        *_of_what_was_told(bench),
        *(f"{state} was called {bench.calls.count(state)} times" for state in ONCE if bench.calls.count(state) > 1),
    ]


def _of_the_end(bench: Bench, *, is_interrupted: bool) -> list[str]:
    """Old or new, never between; and what was told is what is there."""
    software = {OLD: "old", NEW: "new"}.get(bench.target.read_bytes())
    if software is None:
        return [f"the software is neither old nor new, but has {bench.target.stat().st_size} bytes"]
    part = Controller(bench.root).part
    name = Journal.read(bench.data).provides["artifact_name"]
    told = "mixed" if part.inconsistent else "new" if part.status is DeviceStatus.SUCCESS else "old"
    expected = {"mixed": "release-2_INCONSISTENT", "new": "release-2", "old": "unknown"}[told]
    ends = {bench.way.ends}
    if is_interrupted:
        ends |= {"mixed"} if bench.way.may_be_mixed else {"old"}
        # Until ArtifactInstall begins, an interruption changes nothing, and a full disk leaves all as it was.
        ends |= {"old"} if "ArtifactInstall" not in bench.calls else set()
    found = []
    if name != expected:
        found.append(f"{part.status} was told ({told}), and the device says that it is {name}")
    if told not in {"mixed", software}:
        found.append(f"{part.status} was told ({told}), and the {software} software is there")
    if told not in ends:
        found.append(f"it ended {told}; it may end {' or '.join(sorted(ends))}: {part.error_text}")
    return found


def _of_the_journal(bench: Bench, left_running: set[int]) -> list[str]:
    """Nothing is left over."""
    state = Journal.read(bench.data)
    records = bench.data / "processes"
    # fmt: off
    return [what for is_wrong, what in (
        (state.update is not None,                             f"an update is still in the journal: {state.update}"),
        (state.outbox != (),                                   f"not acknowledged: {state.outbox}"),
        ((bench.data / "modules/v3/payloads/0000/tree").exists(), "the work tree is still there"),
        (records.exists() and any(records.iterdir()),          "a process is still on record"),
        (bool(left_running),                                   f"processes still run: {left_running}"),
    ) if is_wrong]
    # fmt: on


def _of_what_was_told(bench: Bench) -> list[str]:
    """One outcome, and one meaning for each number."""
    controller = Controller(bench.root)
    reports = controller.reports
    found = []
    outcomes = {report for report in reports if report.status in FINISHED}
    if len(outcomes) != 1:
        found.append(f"{len(outcomes)} outcomes were told: {outcomes}")
    if {report.status for report in outcomes} != {controller.part.status}:
        found.append(f"the controller has {controller.part.status}")
    by_number: dict[int, Report] = {}
    found += [
        f"number {report.seq} stands for {by_number[report.seq]} and {report}"
        for report in reports
        if by_number.setdefault(report.seq, report) != report
    ]
    return found
