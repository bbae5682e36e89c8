"""What is kept and found again: timelines, logs, and the list of deployments with its filters and orders."""

from __future__ import annotations

import subprocess
import sys
from datetime import datetime

import pytest

from tests.support.system import PATIENCE_S, System
from tests.support.wait import wait_until
from tests.system.features.conftest import LATHE, PRESS, MakeFleet


def test_a_timeline_says_who_did_what_when_and_why(system: System, fleet: MakeFleet) -> None:
    good, bad = fleet(1), fleet(1, failing=1.0, fail_codes=("no-space",))
    ids = [*good.ids, *bad.ids]
    made = system.deploy("two", *ids, phases=[{"count": 1}, {"opens": "approval"}], manual=True)
    system.act(made, "start", "it is night")
    system.wait_for_deployment(made, "held", lambda d: d.get("hold") == "awaiting-promotion")
    system.act(made, "promote", "it looks well")
    system.finished(made)

    lines = system.api.timeline(made)

    assert [(line["actor"], line.get("device_id"), line["text"]) for line in lines] == [
        ("local", None, "created for 2 devices"),
        ("controller", None, "awaiting-start"),
        ("local", None, "start: it is night"),
        ("local", None, "phase 1 of 2 opened"),
        ("local", None, "pending"),
        ("controller", None, "inprogress"),
        ("device", ids[0], "downloading"),
        ("device", ids[0], "installing"),
        ("device", ids[0], "success"),
        ("controller", None, "phase 1 of 2 is done"),
        ("controller", None, "awaiting-promotion"),
        ("local", None, "promote: it looks well"),
        ("local", None, "phase 2 of 2 opened"),
        ("local", None, "inprogress"),
        ("device", ids[1], "downloading"),
        ("device", ids[1], "installing"),
        ("device", ids[1], "failure (no-space: The simulated installation failed, as it was told to.)"),
        ("controller", None, "phase 2 of 2 is done"),
        ("controller", None, "finished: partial"),
    ]
    times = [datetime.fromisoformat(line["at"]) for line in lines]
    assert times == sorted(times)
    of_the_device = system.api.call("GET", f"/devices/{ids[1]}/timeline", params={"kind": "device"})["items"]
    assert {line["id"] for line in lines if line.get("device_id") == ids[1]} <= {line["id"] for line in of_the_device}
    first = system.api.call("GET", f"/deployments/{made}/timeline", params={"limit": 5})
    rest = system.api.call("GET", f"/deployments/{made}/timeline", params={"cursor": first["next"]})
    assert first["items"] + rest["items"] == lines


def test_the_logs_of_a_success_and_of_a_failure_are_stored_and_read_by_an_operator(
    agents: System, release: str
) -> None:
    agents.release(release)
    agents.agent(LATHE).rig()
    deployment_id = agents.deploy(release, PRESS, LATHE)
    agents.finished(deployment_id)

    def log(device_id: str) -> str:
        lines = agents.api.call("GET", f"/devices/{device_id}/logs/{deployment_id}?limit=500")["items"]
        assert [line["number"] for line in lines] == list(range(len(lines)))
        return "\n".join(line["text"] for line in lines)

    wait_until(lambda: "cleanup: success." in log(PRESS), PATIENCE_S, "the whole log of the press")
    wait_until(lambda: "cleanup: failure." in log(LATHE), PATIENCE_S, "the whole log of the lathe")
    assert "does not start on this device" in log(LATHE)
    assert "signature=" not in log(PRESS) + log(LATHE)

    argv = [sys.executable, "-m", "wainwright_controller", "--controller", agents.stage.url]
    said = subprocess.run([*argv, "deployment", "logs", deployment_id], check=True, capture_output=True, text=True)
    assert f"Updating to {release}" in said.stdout
    assert "does not start on this device" in said.stdout


SORTS = {
    "created": ["b", "a", "c"],
    "-created": ["c", "a", "b"],
    "name": ["a", "b", "c"],
    "-name": ["c", "b", "a"],
    "updated": ["b", "c", "a"],
    "-updated": ["a", "c", "b"],
    "status": ["b", "c", "a"],
    "-status": ["a", "c", "b"],
}


@pytest.fixture(scope="module")
def listed(system: System) -> System:
    """The system with deployments called `listed b`, a and c, made in this order; a is over, and changed last."""
    system.api.call("POST", "/devices/preauthorize", json={"ids": ["listed-1"]})
    system.release("listed-1", "press", size=2000)
    plans = {"b": {}, "a": {"strategy": "canary", "phases": [{"count": 1}, {"opens": "approval"}]}, "c": {}}
    made = {name: system.deploy("listed-1", "listed-1", name=f"listed {name}", **plan) for name, plan in plans.items()}
    system.act(made["a"], "abort")
    return system


def names(system: System, **wanted: object) -> list[str]:
    """Return the last letters of the listed deployments that meet filters."""
    found = system.api.call("GET", "/deployments", params={"q": "LISTED", "sort": "name"} | wanted)
    return [d["name"][-1] for d in found["items"]]


def test_deployments_are_found_by_filters(listed: System) -> None:
    everything = ["a", "b", "c"]
    made = {
        d["name"][-1]: d["created_at"] for d in listed.api.call("GET", "/deployments", params={"q": "listed"})["items"]
    }

    assert names(listed, q="listed") == names(listed, q="ISTED ") == everything
    assert names(listed, q="listed b") == names(listed, name="listed b") == ["b"]
    assert names(listed, name="listed") == names(listed, q="nothing like it") == []
    assert names(listed, status="finished") == ["a"]
    assert names(listed, status=["finished", "pending"]) == everything
    assert (names(listed, strategy="canary"), names(listed, strategy="immediate")) == (["a"], ["b", "c"])
    assert (names(listed, release="listed-1"), names(listed, release="two")) == (everything, [])
    assert (names(listed, creator="local"), names(listed, creator="nobody")) == (everything, [])
    assert (names(listed, since=made["a"]), names(listed, until=made["a"])) == (["a", "c"], ["b"])
    assert names(listed, status="pending", strategy="immediate", since=made["a"]) == ["c"]
    assert listed.refusal("GET", "/deployments", params={"status": "lost"}) == (422, "invalid")


@pytest.mark.parametrize(("sort", "order"), SORTS.items(), ids=list(SORTS))
def test_deployments_are_sorted_also_piece_by_piece(listed: System, sort: str, order: list[str]) -> None:
    assert names(listed, sort=sort) == order
    cursor, pieces = None, []
    for _ in order:
        wanted = {"q": "listed", "sort": sort, "limit": 1} | ({"cursor": cursor} if cursor else {})
        piece = listed.api.call("GET", "/deployments", params=wanted)
        pieces += [d["name"][-1] for d in piece["items"]]
        cursor = piece.get("next")
    assert (pieces, cursor, piece["total"]) == (order, None, 3)


def test_a_cursor_of_one_order_is_refused_by_another(listed: System) -> None:
    page = listed.api.call("GET", "/deployments", params={"q": "listed", "sort": "name", "limit": 1})
    other = {"sort": "status", "cursor": page["next"]}
    assert listed.refusal("GET", "/deployments", params=other) == (422, "invalid")
