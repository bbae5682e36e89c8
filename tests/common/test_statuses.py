"""Statuses: the shape of the tables, and the words of the views."""

from __future__ import annotations

import pytest

from wainwright_common import statuses
from wainwright_common.codes import MEANINGS, Code, is_retryable
from wainwright_common.statuses import (
    ACTIVE,
    DECIDED,
    FINISHED,
    GOOD,
    IN_PROGRESS,
    REPORTED,
    DeploymentStatus,
    DeviceStatus,
    MargoState,
    Outcome,
    margo_of_deployment,
    margo_of_device,
    may_report,
)


def test_every_status_is_either_in_progress_or_finished() -> None:
    assert set(DeviceStatus) == IN_PROGRESS | FINISHED
    assert not IN_PROGRESS & FINISHED
    assert ACTIVE < IN_PROGRESS
    assert GOOD < FINISHED


def test_finished_statuses_are_final() -> None:
    assert not FINISHED & REPORTED.keys()
    assert not FINISHED & DECIDED.keys()
    assert not [1 for before in FINISHED for after in DeviceStatus if may_report(before, after)]


def test_every_status_in_progress_can_end_in_every_way_that_a_device_may_report() -> None:
    for before in IN_PROGRESS:
        assert {DeviceStatus.SUCCESS, DeviceStatus.FAILURE} <= REPORTED[before]
        assert {DeviceStatus.ABORTED, DeviceStatus.DECOMMISSIONED, DeviceStatus.FAILURE} <= DECIDED[before]


def test_a_device_never_goes_back_to_downloading_and_never_reports_what_controllers_decide() -> None:
    assert not may_report(DeviceStatus.INSTALLING, DeviceStatus.DOWNLOADING)
    assert not may_report(DeviceStatus.REBOOTING, DeviceStatus.DOWNLOADING)
    decided = {DeviceStatus.PENDING, DeviceStatus.NOARTIFACT, DeviceStatus.ABORTED, DeviceStatus.DECOMMISSIONED}
    assert not [1 for after in REPORTED.values() if after & decided]


def test_every_finished_status_is_reached_by_some_row() -> None:
    reached = frozenset[DeviceStatus]().union(*REPORTED.values(), *DECIDED.values())
    assert reached >= FINISHED


def test_the_margo_view_is_defined_for_everything() -> None:
    assert {margo_of_device(status) for status in DeviceStatus} <= set(MargoState)
    assert margo_of_deployment(DeploymentStatus.PENDING, None) is MargoState.PENDING
    assert margo_of_deployment(DeploymentStatus.INPROGRESS, None) is MargoState.INSTALLING
    assert {margo_of_deployment(DeploymentStatus.FINISHED, outcome) for outcome in Outcome} <= set(MargoState)


@pytest.mark.parametrize(
    ("status", "undoing", "view"),
    [
        (DeviceStatus.SUCCESS, DeviceStatus.PENDING, MargoState.REMOVING),
        (DeviceStatus.SUCCESS, DeviceStatus.REBOOTING, MargoState.REMOVING),
        (DeviceStatus.SUCCESS, DeviceStatus.SUCCESS, MargoState.REMOVED),
        (DeviceStatus.ABORTED, DeviceStatus.ALREADY_INSTALLED, MargoState.REMOVED),
        (DeviceStatus.SUCCESS, DeviceStatus.FAILURE, MargoState.INSTALLED),
        (DeviceStatus.SUCCESS, DeviceStatus.NOARTIFACT, MargoState.INSTALLED),
        (DeviceStatus.SUCCESS, None, MargoState.INSTALLED),
    ],
    ids=str,
)
def test_the_margo_view_of_a_device_says_whether_a_rollback_takes_the_release_away(
    status: DeviceStatus, undoing: DeviceStatus | None, view: MargoState
) -> None:
    assert margo_of_device(status, undoing) is view


def test_the_margo_view_of_a_deployment_is_removing_while_it_is_undone_also_after_its_end() -> None:
    for status, outcome in ((DeploymentStatus.INPROGRESS, None), (DeploymentStatus.FINISHED, Outcome.PARTIAL)):
        assert margo_of_deployment(status, outcome, is_being_undone=True) is MargoState.REMOVING
    assert margo_of_deployment(DeploymentStatus.FINISHED, Outcome.ROLLED_BACK) is MargoState.REMOVED


def test_the_words_are_those_of_the_protocol() -> None:
    words = (
        "pending downloading installing rebooting success failure noartifact already-installed aborted decommissioned"
    )
    assert set(words.split()) == {status.value for status in statuses.DeviceStatus}


@pytest.mark.parametrize("code", ["verification-failed", "incompatible", "no-space", "no-module", "rollback-failed"])
def test_what_would_fail_again_is_final(code: str) -> None:
    assert not is_retryable(code)


@pytest.mark.parametrize("code", ["download-failed", "timeout", "rebooted", "interrupted", "a-code-of-a-newer-agent"])
def test_what_may_end_otherwise_is_retryable(code: str) -> None:
    assert is_retryable(code)


def test_every_code_has_a_meaning() -> None:
    assert set(Code) == set(MEANINGS)
