"""In which order a deployment reaches its devices, and when it stops by itself."""

from __future__ import annotations

from datetime import datetime

from tests.support.system import System
from tests.system.features.conftest import MakeFleet, check_in
from wainwright_controller.simulate import Fleet
from wainwright_controller.simulate.behaviour import Fate, behaviours


def sorted_by_fate(fleet: Fleet) -> list[str]:
    """Return the ids of a fleet, those that will succeed before those that will fail."""
    return [b.id for b in sorted(behaviours(fleet.spec), key=lambda b: b.fate is Fate.FAIL)]


def runs(fleet: Fleet) -> dict[str, str]:
    """Return what each device of a fleet runs."""
    return {device_id: memory.artifact_name for device_id, memory in fleet.memories.items()}


def in_turn(system: System, deployment_id: str) -> bool:
    """Say whether every device of a phase had finished before one of the next phase began."""
    parts = system.api.parts(deployment_id).values()
    last = max(part["phase"] for part in parts)
    return all(
        max(p["finished_at"] for p in parts if p["phase"] == number)
        <= min(p["started_at"] for p in parts if p["phase"] == number + 1)
        for number in range(1, last)
    )


def seconds_between(earlier: str, later: str) -> float:
    """Return the seconds from one time of the API to another."""
    return (datetime.fromisoformat(later) - datetime.fromisoformat(earlier)).total_seconds()


def people(system: System, deployment_id: str) -> list[str]:
    """Return what people have done with a deployment, its making left out."""
    return [text for actor, text in system.told(deployment_id) if actor == "local"][1:]


def test_with_an_active_phase_its_devices_are_updated_and_the_others_wait(system: System, fleet: MakeFleet) -> None:
    devices = fleet(4)
    made = system.deploy("two", *devices.ids, phases=[{"count": 2}, {"opens": "approval"}])
    system.wait_for_deployment(made, "done with phase 1", lambda d: "done_at" in d["phases"][0])
    system.api.call("POST", "/devices/check-in", json={"ids": devices.ids})

    why = system.wait_for_why(devices.ids[3], "phase-closed")

    assert why["deployment_id"] == made
    assert [p["counts"] for p in system.api.deployment(made)["phases"]] == [{"success": 2}, {"pending": 2}]
    assert list(runs(devices).values()) == ["two", "two", "one", "one"]
    system.act(made, "abort")


def test_without_an_active_phase_nobody_is_offered_anything_until_one_opens(system: System, fleet: MakeFleet) -> None:
    devices = fleet(2)
    made = system.deploy("two", *devices.ids, phases=[{"opens": "at", "opens_at": "2100-01-01T00:00:00Z"}])
    check_in(system, devices)

    held = system.api.deployment(made)
    assert (held["status"], held["hold"], held["counts"]) == ("pending", "scheduled", {"pending": 2})
    assert {system.api.devices()[i]["last_why"] for i in devices.ids} == {"phase-closed"}
    assert [d.offers for d in devices.devices.values()] == [0, 0]

    system.act(made, "start")
    assert system.finished(made)["counts"] == {"success": 2}


def test_a_canary_is_promoted_by_hand(system: System, fleet: MakeFleet) -> None:
    devices = fleet(4)
    plan = [{"percent": 25}, {"opens": "approval"}]
    made = system.deploy("two", *devices.ids, strategy="canary", phases=plan)
    held = system.wait_for_deployment(made, "held", lambda d: d.get("hold") == "awaiting-promotion")
    assert ([p["size"] for p in held["phases"]], held["counts"]) == ([1, 3], {"pending": 3, "success": 1})
    assert "promote" in held["allowed"]

    system.act(made, "promote", "the canary sings")

    assert system.finished(made)["outcome"] == "success"
    assert people(system, made) == ["promote: the canary sings", "phase 2 of 2 opened", "inprogress"]
    assert in_turn(system, made)


def test_a_canary_is_promoted_by_itself_after_a_delay(system: System, fleet: MakeFleet) -> None:
    devices, others = fleet(4), fleet(4)

    def deploy(to: Fleet, delay_s: float) -> str:
        plan = [{"percent": 25}, {"opens": "after", "delay_s": delay_s}]
        return system.deploy("two", *to.ids, strategy="canary", phases=plan)

    long = deploy(others, 3600)  # so that it can be looked at while it waits
    waiting = system.wait_for_deployment(long, "done with the canary", lambda d: "done_at" in d["phases"][0])
    assert waiting["phases"][1]["waits_for"].startswith("its delay")
    assert "hold" not in waiting
    system.act(long, "abort")

    made = deploy(devices, 1.5)

    assert system.finished(made)["outcome"] == "success"
    parts = system.api.parts(made).values()
    canary = next(p["finished_at"] for p in parts if p["phase"] == 1)
    rest = min(p["started_at"] for p in parts if p["phase"] == 2)
    assert seconds_between(canary, rest) >= 1.5
    assert people(system, made) == []


def test_a_rolling_deployment_goes_on_batch_by_batch_by_hand(system: System, fleet: MakeFleet) -> None:
    devices = fleet(4)
    plan = [{"percent": 50}, {"percent": 25, "opens": "approval"}, {"opens": "approval"}]
    made = system.deploy("two", *devices.ids, strategy="rolling", phases=plan)

    for done in (2, 3):
        held = system.wait_for_deployment(made, "held", lambda d: d.get("hold") == "awaiting-promotion")
        assert held["counts"] == {"success": done, "pending": 4 - done}
        system.act(made, "approve-batch")

    assert system.finished(made)["outcome"] == "success"
    opened = [["promote", f"phase {number} of 3 opened", "inprogress"] for number in (2, 3)]
    assert people(system, made) == [*opened[0], *opened[1]]
    assert in_turn(system, made)


def test_a_rolling_deployment_goes_on_batch_by_batch_by_itself(system: System, fleet: MakeFleet) -> None:
    devices = fleet(6)
    after = {"opens": "after"}
    plan = [{"count": 2}, {"count": 2} | after, after]
    made = system.deploy("two", *devices.ids, strategy="rolling", phases=plan)

    assert system.finished(made)["outcome"] == "success"
    assert [p["counts"] for p in system.api.deployment(made)["phases"]] == [{"success": 2}] * 3
    assert in_turn(system, made)
    assert people(system, made) == []


def test_too_large_a_percentage_of_failures_rolls_a_deployment_back_by_itself(system: System, fleet: MakeFleet) -> None:
    devices = fleet(10, failing=0.4)
    limit = {"percent": 20, "min_sample": 8, "action": "rollback"}
    made = system.deploy("two", *devices.ids, limits=[limit])

    undone = system.finished(made)

    assert (undone["outcome"], undone["margo_state"]) == ("rolled-back", "removed")
    assert undone["rollback"]["outcome"] == "success"
    assert 1 <= undone["rollback"]["counts"]["success"] <= 6  # who was under way had nothing to give back
    said = [text for actor, text in system.told(made) if actor == "controller"]
    (broken,) = [text for text in said if text.endswith("at most 20 % may: rollback")]
    assert int(broken.split()[3]) >= 8  # "3 failed of 9 (33 %), …"
    assert set(runs(devices).values()) == {"one"}
    assert people(system, made) == []


def test_too_many_failures_roll_a_deployment_back_by_themselves(system: System, fleet: MakeFleet) -> None:
    devices = fleet(6, failing=0.34)
    ids = sorted_by_fate(devices)
    plan = [{"count": 2}, {"count": 3, "opens": "after"}, {"opens": "after"}]
    made = system.deploy("two", *ids, phases=plan, limits=[{"count": 0, "action": "rollback"}])

    undone = system.finished(made)

    assert undone["outcome"] == "rolled-back"
    assert ("controller", "1 failed, at most 0 may: rollback") in system.told(made)
    back = {i: part["restore_name"] for i, part in system.api.parts(undone["rollback"]["id"]).items()}
    assert {back[i] for i in ids[:2]} == {"one"}
    assert set(runs(devices).values()) == {"one"}
    assert devices.memories[ids[5]].taken == []  # its phase never opened
    assert "opened_at" not in undone["phases"][2]
