"""An agent killed at every point of an update, and again after that, ends in the old or the new software.

The subset that runs by default has one fault, right after everything that becomes visible; `make test-long` runs all
plans and prints how many schedules that were. `python -m tests.agent.crash` does the same, or a part of it.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.agent.crash.plans import MAIN, Plan, plans
from tests.agent.crash.schedules import Device, explore
from tests.agent.crash.worker import Job

QUICK = [Plan("success-rebooted", "lost", "effects")]


@pytest.mark.timeout(600)  # half a minute on a quiet machine
@pytest.mark.parametrize("plan", QUICK, ids=lambda plan: f"{plan.way} {plan.kind}")
def test_an_agent_that_dies_after_any_effect_ends_in_the_old_or_the_new_software(tmp_path: Path, plan: Plan) -> None:
    summary = explore(tmp_path, [plan], workers=1)
    print(summary)
    assert summary.wrong == []
    assert summary.missed <= 2
    assert summary.schedules > 30


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_an_agent_that_dies_anywhere_twice_ends_in_the_old_or_the_new_software(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with capsys.disabled():
        summary = explore(tmp_path, plans(), say=print)
        print(summary)
    assert summary.wrong == []
    assert summary.missed < summary.schedules / 100
    assert summary.schedules > 20_000
    assert {plan.way for plan in summary.of_each} >= {*MAIN, "success", "scripts", "single-file"}


DEAF_BOOTS = 4


@pytest.mark.timeout(600)
def test_an_outcome_that_nobody_hears_is_told_at_each_boot_until_somebody_does(tmp_path: Path) -> None:
    with Device(tmp_path / "device", "success") as device:
        done = device.do(Job((("report success", 0, "reset"),), deaf_boots=DEAF_BOOTS))
    assert done.wrong == ()
    assert done.outcomes_told == 1 + DEAF_BOOTS + 1  # before the kill, at each deaf boot, and when it was heard


@pytest.mark.timeout(600)
def test_a_kill_between_artifact_commit_and_its_store_is_told_as_the_rollback_that_it_leads_to(tmp_path: Path) -> None:
    with Device(tmp_path / "device", "success") as device:
        for kind in ("reset", "lost"):  # a restart in the same boot here is among the long ones, and in test_power_loss
            assert device.do(Job((("ArtifactCommit ends", 0, kind),))).wrong == ()
