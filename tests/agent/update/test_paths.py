"""The way of every update: which calls the module sees, what the controller hears, and how it ends."""

from __future__ import annotations

import json
from dataclasses import dataclass, field

import pytest

from tests.agent.update.lab import QUICK, TAKE_STREAMS, Lab, statuses
from tests.support.wait import wait_until
from wainwright_common.codes import Code
from wainwright_common.messages import Report, Verdict
from wainwright_common.statuses import DeviceStatus

FAIL = "echo broken in $state >&2; exit 1"
D = ["ProvidePayloadFileSizes", "Download"]
I = ["ArtifactInstall", "NeedsArtifactReboot", "SupportsRollback"]  # noqa: E741  the letters of the table
R = ["ArtifactReboot"]
VR = ["ArtifactVerifyReboot"]
C = ["ArtifactCommit"]
B = ["ArtifactRollback"]
BR = ["ArtifactRollbackReboot", "ArtifactVerifyRollbackReboot"]
HR = ["HostReboot"]
HBR = ["HostReboot", "ArtifactVerifyRollbackReboot"]
F = ["ArtifactFailure"]
CU = ["Cleanup"]

INSTALLED, ROLLED_BACK, INCONSISTENT = "installed", "rolled back", "inconsistent"
NO_REBOOT = "downloading,installing"
REBOOT = "downloading,installing,rebooting"
TRIED = "downloading,installing,rebooting,installing"


@dataclass(frozen=True)
class Row:
    """A situation and what comes of it."""

    name: str
    calls: list[str]
    heard: str
    outcome: str
    fail: tuple[str, ...] = ()
    code: Code | None = None
    reboot: str = "Yes"
    rollback: str = "Yes"
    on: dict[str, str] = field(default_factory=dict)


# fmt: off
ROWS = [
    Row("nothing fails", D + I + R + VR + C + CU, TRIED + ",success", INSTALLED),
    Row("nothing fails, without reboot", D + I + C + CU, NO_REBOOT + ",success", INSTALLED, reboot="No"),
    Row("nothing fails, host reboots", D + I + HR + VR + C + CU, TRIED + ",success", INSTALLED, reboot="Automatic"),
    Row("nothing fails, without rollback", D + I + C + CU, NO_REBOOT + ",success", INSTALLED, reboot="", rollback=""),
    Row("Download", D + CU, "downloading,failure", ROLLED_BACK, ("Download",), Code.INSTALL_FAILED),
    Row("ProvidePayloadFileSizes", D[:1] + CU, "downloading,failure", ROLLED_BACK, ("ProvidePayloadFileSizes",),
        Code.INSTALL_FAILED),
    Row("ArtifactInstall", D + I + B + BR + F + CU, NO_REBOOT + ",failure", ROLLED_BACK, ("ArtifactInstall",),
        Code.INSTALL_FAILED),
    Row("ArtifactInstall, host reboots", D + I + B + HBR + F + CU, NO_REBOOT + ",failure", ROLLED_BACK,
        ("ArtifactInstall",), Code.INSTALL_FAILED, reboot="Automatic"),
    Row("ArtifactInstall, without reboot", D + I + B + F + CU, NO_REBOOT + ",failure", ROLLED_BACK,
        ("ArtifactInstall",), Code.INSTALL_FAILED, reboot="No"),
    Row("ArtifactInstall, without rollback", D + I + F + CU, NO_REBOOT + ",failure", INCONSISTENT,
        ("ArtifactInstall",), Code.INSTALL_FAILED, rollback="No"),
    Row("ArtifactReboot", D + I + R + B + BR + F + CU, REBOOT + ",failure", ROLLED_BACK, ("ArtifactReboot",),
        Code.REBOOT_FAILED),
    Row("the reboot command", D + I + HR + B + HBR + F + CU, REBOOT + ",failure", ROLLED_BACK, ("HostReboot",),
        Code.REBOOT_FAILED, reboot="Automatic"),
    Row("ArtifactVerifyReboot", D + I + R + VR + B + BR + F + CU, REBOOT + ",failure", ROLLED_BACK,
        ("ArtifactVerifyReboot",), Code.VERIFY_FAILED),
    Row("ArtifactVerifyReboot, host reboots", D + I + HR + VR + B + HBR + F + CU, REBOOT + ",failure", ROLLED_BACK,
        ("ArtifactVerifyReboot",), Code.VERIFY_FAILED, reboot="Automatic"),
    Row("ArtifactCommit", D + I + R + VR + C + B + BR + F + CU, TRIED + ",failure", ROLLED_BACK,
        ("ArtifactCommit",), Code.COMMIT_FAILED),
    Row("ArtifactCommit, without reboot", D + I + C + B + F + CU, NO_REBOOT + ",failure", ROLLED_BACK,
        ("ArtifactCommit",), Code.COMMIT_FAILED, reboot="No"),
    Row("ArtifactRollback too", D + I + B + F + CU, NO_REBOOT + ",failure", INCONSISTENT,
        ("ArtifactInstall", "ArtifactRollback"), Code.ROLLBACK_FAILED),
    Row("ArtifactRollbackReboot too", D + I + B + BR + F + CU, NO_REBOOT + ",failure", ROLLED_BACK,
        ("ArtifactInstall", "ArtifactRollbackReboot"), Code.INSTALL_FAILED),
    Row("ArtifactFailure too", D + I + B + BR + F + CU, NO_REBOOT + ",failure", INCONSISTENT,
        ("ArtifactInstall", "ArtifactFailure"), Code.INSTALL_FAILED),
    Row("Cleanup", D + I + C + CU, NO_REBOOT + ",success", INSTALLED, ("Cleanup",), reboot="No"),
    Row("Cleanup after a failure", D + I + B + F + CU, NO_REBOOT + ",failure", ROLLED_BACK,
        ("ArtifactInstall", "Cleanup"), Code.INSTALL_FAILED, reboot="No"),
    Row("NeedsArtifactReboot", D + I + B + F + CU, NO_REBOOT + ",failure", INCONSISTENT, ("NeedsArtifactReboot",),
        Code.INSTALL_FAILED),
    Row("SupportsRollback after ArtifactInstall", D + I + F + CU, NO_REBOOT + ",failure", INCONSISTENT,
        ("ArtifactInstall", "SupportsRollback"), Code.INSTALL_FAILED),
    Row("SupportsRollback only", D + I + C + CU, NO_REBOOT + ",success", INSTALLED, ("SupportsRollback",), reboot="No"),
]
# fmt: on


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_an_update_takes_its_way_when_this_fails(lab: Lab, row: Row) -> None:
    lab.answer(NeedsArtifactReboot=row.reboot and row.reboot + "\n", SupportsRollback=row.rollback)
    for state in row.fail:
        lab.on(state, FAIL)

    reports = lab.update(lab.offer(lab.artifact()))

    assert lab.calls == row.calls
    assert ",".join(statuses(reports)) == row.heard
    _assert_outcome(lab, reports[-1], row)


def _assert_outcome(lab: Lab, report: Report, row: Row) -> None:
    state = lab.state
    assert state.update is None
    assert state.outbox == ()
    assert not lab.tree.exists()
    assert not list((lab.data / "processes").iterdir())
    assert state.last is not None
    assert (report.error.code if report.error else None) == row.code
    if row.outcome == INSTALLED:
        assert state.provides == {"artifact_name": "release-2", "rootfs-image.probe.version": "release-2"}
        assert report.artifact_name == "release-2"
        assert state.last.outcome == DeviceStatus.SUCCESS
        return
    assert state.last.outcome == DeviceStatus.FAILURE
    inconsistent = row.outcome == INCONSISTENT
    name = "release-2_INCONSISTENT" if inconsistent else "unknown"
    assert state.provides == {"artifact_name": name}
    assert state.last.inconsistent is inconsistent
    assert (report.inconsistent is True) is inconsistent
    assert report.error
    for failed in row.fail:
        if failed not in {"Cleanup", "ArtifactRollbackReboot", "SupportsRollback", "HostReboot"}:
            assert f"broken in {failed}" in report.error.text


def test_a_rollback_that_never_verifies_is_given_up_after_a_bounded_number_of_stores(lab: Lab) -> None:
    lab.answer(NeedsArtifactReboot="Yes", SupportsRollback="Yes")
    lab.on("ArtifactVerifyReboot", FAIL)
    lab.on("ArtifactVerifyRollbackReboot", FAIL)

    reports = lab.update(lab.offer(lab.artifact()))

    assert lab.calls[-1] == "Cleanup"
    assert 7 <= lab.calls.count("ArtifactVerifyRollbackReboot") <= 12
    assert reports[-1].error
    assert reports[-1].error.code == Code.STATE_LOOP
    assert reports[-1].inconsistent is True


def test_a_host_reboot_loop_of_a_rollback_is_given_up_too(lab: Lab) -> None:
    lab.answer(NeedsArtifactReboot="Automatic", SupportsRollback="Yes")
    lab.on("ArtifactInstall", FAIL)
    lab.on("ArtifactVerifyRollbackReboot", FAIL)

    reports = lab.update(lab.offer(lab.artifact()))

    assert 5 <= lab.calls.count("HostReboot") <= 14
    assert reports[-1].error
    assert reports[-1].error.code == Code.STATE_LOOP


def test_a_machine_that_does_not_go_down_fails_the_update(lab: Lab) -> None:
    lab.answer(NeedsArtifactReboot="Automatic", SupportsRollback="No")
    lab.on("HostReboot", "true")
    limits = type(QUICK)(reboot_wait_s=0.2, grace_s=0.3)

    reports = lab.update(lab.offer(lab.artifact()), limits=limits)

    assert reports[-1].error
    assert reports[-1].error.code == Code.REBOOT_FAILED
    assert "still runs 0.2 s after" in reports[-1].error.text


def test_a_restart_without_the_reboot_asks_for_the_reboot_again(lab: Lab) -> None:
    lab.answer(NeedsArtifactReboot="Automatic")
    lab.on("HostReboot", f"touch {lab.root}/rebooting")  # the agent ends, and the boot is the same one
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until((lab.root / "rebooting").exists)
    (lab.root / "rebooting").unlink()
    lab.on("HostReboot", f"echo boot-2 >{lab.boot_id}; touch {lab.root}/rebooting")
    with lab.agent():
        wait_until((lab.root / "rebooting").exists)
    with lab.agent() as agent:
        agent.wait_idle()

    assert lab.calls == D + I + HR + HR + VR + C + CU


def test_new_software_that_cannot_reach_the_controller_is_rolled_back(lab: Lab) -> None:
    lab.answer(NeedsArtifactReboot="Yes", SupportsRollback="Yes")
    limits = type(QUICK)(link_s=0.3, grace_s=0.3)

    with lab.agent(acknowledge=False, limits=limits) as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        agent.wait_idle()

        assert lab.calls == D + I + R + VR + B + BR + F + CU
        assert [str(report.status) for report in agent.journal.state.outbox] == [*TRIED.split(","), "failure"]
        assert agent.reports[-1].error
        assert agent.reports[-1].error.code == Code.LINK_FAILED


@pytest.mark.parametrize("word", [Verdict.ABORTED, Verdict.DECOMMISSIONED, Verdict.UNKNOWN])
def test_an_update_that_is_taken_back_during_the_download_ends_at_once(lab: Lab, word: Verdict) -> None:
    lab.on("Download", "exec sleep 60")
    with lab.agent(acknowledge=False) as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: "Download" in lab.calls)
        agent.verdict(agent.reports[0], word)
        agent.wait_idle()

    assert lab.calls == [*D, *CU]
    assert agent.reports[-1].error
    assert agent.reports[-1].error.code == Code.ABORTED
    assert not lab.tree.exists()


@pytest.mark.parametrize(
    ("state", "after"),
    [
        ("ArtifactInstall", I[1:] + B + BR + F + CU),
        ("NeedsArtifactReboot", I[2:] + B + BR + F + CU),
        ("ArtifactReboot", B + BR + F + CU),
        ("ArtifactVerifyReboot", B + BR + F + CU),
        ("ArtifactCommit", CU),
        ("Cleanup", []),
    ],
)
def test_an_abort_lets_the_call_finish_and_then_goes_back_unless_it_has_committed(
    lab: Lab, state: str, after: list[str]
) -> None:
    lab.answer(NeedsArtifactReboot="Yes", SupportsRollback="Yes")
    lab.on(state, f"while [ ! -e {lab.root}/go ]; do sleep 0.02; done; echo finished >{lab.root}/finished")
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: state in lab.calls)
        agent.updater.abort("d-1")
        (lab.root / "go").touch()
        agent.wait_idle()

    assert lab.text("finished") == "finished\n"
    assert lab.calls[lab.calls.index(state) + 1 :] == after
    committed = state in {"ArtifactCommit", "Cleanup"}
    assert lab.state.provides["artifact_name"] == ("release-2" if committed else "unknown")


@pytest.mark.parametrize("state", ["ArtifactInstall", "SupportsRollback", "ArtifactReboot", "ArtifactVerifyReboot"])
def test_an_abort_of_what_is_installed_and_cannot_be_undone_is_too_late(lab: Lab, state: str) -> None:
    lab.answer(NeedsArtifactReboot="Yes", SupportsRollback="No")
    lab.on(state, f"while [ ! -e {lab.root}/go ]; do sleep 0.02; done")
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: state in lab.calls)
        agent.updater.abort("d-1")
        (lab.root / "go").touch()
        agent.wait_idle()

    assert lab.calls == D + I + R + VR + C + CU
    assert agent.reports[-1].status == "success"
    assert lab.state.provides["artifact_name"] == "release-2"


def test_an_abort_during_an_install_that_fails_and_cannot_be_undone_changes_nothing_about_that(lab: Lab) -> None:
    lab.on("ArtifactInstall", f"while [ ! -e {lab.root}/go ]; do sleep 0.02; done; exit 1")
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: "ArtifactInstall" in lab.calls)
        agent.updater.abort("d-1")
        (lab.root / "go").touch()
        agent.wait_idle()

    assert agent.reports[-1].inconsistent is True
    assert lab.state.provides["artifact_name"] == "release-2_INCONSISTENT"


def test_an_abort_of_another_deployment_changes_nothing(lab: Lab) -> None:
    lab.on("ArtifactInstall", f"while [ ! -e {lab.root}/go ]; do sleep 0.02; done")
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: "ArtifactInstall" in lab.calls)
        agent.updater.abort("d-2")
        agent.updater.gone("d-2")
        (lab.root / "go").touch()
        agent.wait_idle()

    assert lab.state.provides["artifact_name"] == "release-2"


def test_a_report_that_was_overtaken_does_not_end_the_update_but_a_given_up_attempt_does(lab: Lab) -> None:
    lab.on("Download", f"while [ ! -e {lab.root}/go ]; do sleep 0.02; done")
    with lab.agent(acknowledge=False) as agent:
        agent.updater.offer(lab.offer(lab.artifact()))
        wait_until(lambda: "Download" in lab.calls)
        agent.verdict(agent.reports[0], Verdict.STALE, status=DeviceStatus.DOWNLOADING)
        (lab.root / "go").touch()
        agent.wait_idle()
        assert statuses(agent.reports)[-1] == "success"

        (lab.root / "go").unlink()
        agent.updater.offer(lab.offer(lab.artifact(), deployment_id="d-2"))
        wait_until(lambda: lab.calls.count("Download") == 2)
        agent.verdict(agent.reports[-1], Verdict.STALE, status=DeviceStatus.PENDING)
        agent.wait_idle()
        assert statuses(agent.reports)[-1] == "failure"


def test_only_one_update_runs_and_a_finished_attempt_is_told_again_instead_of_done_again(lab: Lab) -> None:
    lab.on("Download", f"while [ ! -e {lab.root}/go ]; do sleep 0.02; done")
    first = lab.offer(lab.artifact())
    with lab.agent() as agent:
        assert agent.updater.offer(first)
        assert agent.updater.offer(first)  # the same again, as every check-in brings it
        assert not agent.updater.offer(lab.offer(lab.artifact(), deployment_id="d-2"))
        (lab.root / "go").touch()
        agent.wait_idle()
        count = len(agent.reports)

        assert not agent.updater.offer(first)

        assert agent.reports[count:] == [agent.reports[count - 1]]
        assert lab.calls.count("Download") == 1


def test_a_newer_attempt_of_the_running_deployment_ends_the_running_one(lab: Lab) -> None:
    lab.on("Download", "exec sleep 60")
    artifact = lab.artifact()
    with lab.agent() as agent:
        agent.updater.offer(lab.offer(artifact))
        wait_until(lambda: "Download" in lab.calls)
        assert not agent.updater.offer(lab.offer(artifact, attempt=2))
        agent.wait_idle()
        lab.on("Download", "true")
        assert agent.updater.offer(lab.offer(artifact, attempt=2))
        agent.wait_idle()

    assert [
        (report.attempt, str(report.status)) for report in agent.reports if report.status in {"success", "failure"}
    ] == [
        (1, "failure"),
        (2, "success"),
    ]


def test_numbers_of_reports_rise_and_are_never_used_twice_even_after_restarts(lab: Lab) -> None:
    lab.answer(NeedsArtifactReboot="Automatic", SupportsRollback="Yes")
    lab.on("ArtifactCommit", FAIL)
    lab.on("Download", TAKE_STREAMS)

    reports = lab.update(lab.offer(lab.artifact(files={"app.bin": bytes(3_000_000)})))

    numbers = [report.seq for report in reports]
    assert numbers == sorted(set(numbers))
    assert reports[0].seq == 1


def test_status_shows_state_release_and_progress(lab: Lab) -> None:
    lab.on("Download", TAKE_STREAMS + f"while [ ! -e {lab.root}/go ]; do sleep 0.02; done")
    with lab.agent() as agent:
        assert agent.updater.snapshot() == {"state": "idle"}
        offer = lab.offer(lab.artifact())
        agent.updater.offer(offer)
        wait_until(lambda: agent.updater.snapshot().get("progress", {}).get("done") == offer.artifact.size)
        shown = agent.updater.snapshot()
        (lab.root / "go").touch()
        agent.wait_idle()

    json.dumps(shown)
    assert shown | {"progress": None} == {
        "state": "download",
        "status": "downloading",
        "deployment_id": "d-1",
        "attempt": 1,
        "release": "release-2",
        "needs_link": False,
        "stores": 1,
        "progress": None,
    }
