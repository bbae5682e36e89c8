"""The demo's verdict finds every way in which it can end wrongly, and no other."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy

import pytest

from wainwright_controller.demo.verdict import Facts, Plan, problems, table

PLAN = Plan("hello-1.0", "hello-2.0", frozenset({"press-01", "lathe-01"}), "press-02", "lathe-02")
TYPES = {"press-01": "press", "lathe-01": "lathe", "press-02": "press", "lathe-02": "lathe"}


def good() -> Facts:
    """Facts of a demo that ended as it should."""
    part = {"status": "success", "attempt": 1, "inconsistent": False, "former_name": "hello-1.0"}
    parts = {i: {**part, "phase": 1 if i in PLAN.canaries else 2} for i in TYPES}
    parts["press-02"] |= {"status": "failure", "error": {"code": "install-failed", "text": "It does not start."}}
    release = {i: "hello-1.0" if i == "press-02" else "hello-2.0" for i in TYPES}
    return Facts(
        deployment={
            "status": "finished",
            "outcome": "partial",
            "counts": {"success": 3, "failure": 1},
            "phases": [
                {"done_at": "2026-01-01T00:00:10Z"},
                {"opened_at": "2026-01-01T00:00:11Z", "done_at": "2026-01-01T00:00:20Z"},
            ],
        },
        parts=parts,
        devices={i: {"artifact_name": release[i]} for i in TYPES},
        software={i: f"{release[i]} for {TYPES[i]}" for i in TYPES},
        types=dict(TYPES),
        progress_when_killed=0.4,
    )


def test_a_demo_that_ended_as_it_should_has_no_problems() -> None:
    assert problems(PLAN, good()) == []


# fmt: off
WRONG: dict[str, tuple[Callable[[Facts], object], str]] = {
    "a device failed":           (lambda f: f.parts["lathe-01"].update(status="failure"), "lathe-01 ended as failure"),
    "the rigged one did well":   (lambda f: f.parts["press-02"].update(status="success"), "press-02 ended as success"),
    "another error":             (lambda f: f.parts["press-02"].update(error={"code": "timeout"}), "with timeout"),
    "no error":                  (lambda f: f.parts["press-02"].pop("error"), "with None"),
    "a second attempt":          (lambda f: f.parts["lathe-02"].update(attempt=2), "attempt 2"),
    "a mix on a device":         (lambda f: f.parts["press-02"].update(inconsistent=True), "inconsistent"),
    "no rollback":               (lambda f: f.software.update({"press-02": "hello-2.0 for press"}), "really runs"),
    "another type's software":   (lambda f: f.software.update({"press-01": "hello-2.0 for lathe"}), "really runs"),
    "the controller is wrong":   (lambda f: f.devices["press-01"].update(artifact_name="hello-1.0"), "believes"),
    "a wrong count":             (lambda f: f.deployment.update(counts={"success": 4}), "counts"),
    "another outcome":           (lambda f: f.deployment.update(outcome="success"), "finished, partial"),
    "not finished":              (lambda f: f.deployment.update(status="inprogress"), "is inprogress"),
    "the rest before its time":  (lambda f: f.deployment["phases"][1].update(opened_at="2026-01-01"), "let in"),
    "other canaries":            (lambda f: f.parts["lathe-02"].update(phase=1), "The canaries were"),
    "a device too few":          (lambda f: f.parts.pop("lathe-02"), "has 3 devices"),
}
# fmt: on


@pytest.mark.parametrize("situation", WRONG)
def test_what_is_wrong_is_named(situation: str) -> None:
    change, words = WRONG[situation]
    facts = deepcopy(good())
    change(facts)
    assert any(words in text for text in problems(PLAN, facts)), problems(PLAN, facts)


@pytest.mark.parametrize("progress", [0.0, 1.0])
def test_a_kill_that_was_not_in_the_middle_of_the_download_is_a_problem(progress: float) -> None:
    assert "in the middle" in problems(PLAN, good()._replace(progress_when_killed=progress))[0]


def test_the_table_has_one_line_for_each_device_and_says_what_happened_to_it() -> None:
    lines = table(PLAN, good())
    assert len(lines) == 1 + len(TYPES)
    assert max(map(len, lines)) < 80
    assert "press-02  2      hello-1.0  hello-1.0  failure  did not start, went back" in lines[3]
    assert "killed at 40%, came back" in lines[4]
