"""What people do with a deployment while it runs and afterwards, and what Margo calls it."""

from __future__ import annotations

from tests.support.system import PATIENCE_S, System
from tests.support.wait import wait_until
from tests.system.features.conftest import MakeFleet, check_in, downloading
from wainwright_controller.simulate import Fleet

FOR_EVER = 600.0  # seconds that a download takes which a person ends


def at_rest(fleet: Fleet) -> bool:
    """Say whether no device of a fleet has anything to do or to tell."""
    standing = fleet.standing()
    return not standing.under_way and not standing.unacknowledged


def test_a_deployment_is_paused_and_resumed(system: System, fleet: MakeFleet) -> None:
    devices = fleet(3)
    with downloading(devices):
        made = system.deploy("two", *devices.ids, pace={"concurrency": 1})
        system.wait_for_deployment(made, "under way", lambda d: d["counts"].get("downloading"))
        under_way = next(i for i, part in system.api.parts(made).items() if part["status"] == "downloading")
        waiting = [i for i in devices.ids if i != under_way]

        paused = system.act(made, "pause", "the line is running")
    system.wait_for_part(made, under_way, "success")  # who is under way goes on
    check_in(system, devices, *waiting)

    assert (paused["hold"], paused["hold_reason"]) == ("paused", "the line is running")
    assert [devices.memories[i].taken for i in waiting] == [[], []]
    assert [system.why(i)["code"] for i in waiting] == ["paused", "paused"]
    assert system.refusal("POST", f"/deployments/{made}/pause") == (409, "paused")
    resumed = system.act(made, "resume", "the line stands still")
    assert not {"hold", "hold_reason"} & set(resumed)
    assert system.finished(made)["summary"] == "3/3 successful"
    said = [text for actor, text in system.told(made) if actor == "local"]
    assert {"pause: the line is running", "resume: the line stands still"} <= set(said)


def by(system: System, name: str, role: str) -> dict[str, str]:
    """Return the headers of a new person's requests."""
    system.api.call("POST", "/users", json={"name": name, "role": role})
    token = system.api.call("POST", "/tokens", json={"user": name})["token"]
    return {"Authorization": f"Bearer {token}"}


def test_a_deployment_that_asks_for_approval_goes_on_once_another_admin_approves_it(
    system: System, fleet: MakeFleet
) -> None:
    anton, olga = by(system, "anton-approves", "admin"), by(system, "olga-asks", "operator")
    devices = fleet(2)
    order = {"release": "two", "devices": devices.ids, "approval": True}
    made = system.api.call("POST", "/deployments", json=order, headers=olga)
    path = f"/deployments/{made['id']}"
    check_in(system, devices)

    assert (made["hold"], made["created_by"]) == ("awaiting-approval", "olga-asks")
    assert [memory.taken for memory in devices.memories.values()] == [[], []]
    assert all("approv" in system.why(i)["text"] for i in devices.ids)
    assert system.refusal("POST", f"{path}/approve", headers=olga) == (403, "not-allowed")
    assert system.refusal("POST", f"{path}/start", headers=anton) == (409, "not-awaiting-start")
    own = system.api.call("POST", "/deployments", json=order, headers=anton)["id"]
    assert system.refusal("POST", f"/deployments/{own}/approve", headers=anton) == (409, "own-deployment")
    system.act(own, "deny")

    approved = system.api.call("POST", f"{path}/approve", json={"reason": "tried in the lab"}, headers=anton)

    assert (approved["approved_by"], "hold" in approved) == ("anton-approves", False)
    assert system.finished(made["id"])["summary"] == "2/2 successful"
    assert ("anton-approves", "approve: tried in the lab") in system.told(made["id"])
    assert system.refusal("POST", f"{path}/approve", headers=anton) == (409, "deployment-finished")


def test_a_deployment_that_is_denied_ends_and_nobody_gets_it(system: System, fleet: MakeFleet) -> None:
    anton = by(system, "anton-denies", "admin")
    devices = fleet(2)
    made = system.deploy("two", *devices.ids, approval=True)
    unasked = system.deploy("one", *devices.ids, manual=True)
    assert system.refusal("POST", f"/deployments/{unasked}/deny", headers=anton) == (409, "not-awaiting-approval")

    path = f"/deployments/{made}"
    denied = system.api.call("POST", f"{path}/deny", json={"reason": "not before the fair"}, headers=anton)
    check_in(system, devices)

    assert (denied["status"], denied["outcome"], denied["counts"]) == ("finished", "aborted", {"aborted": 2})
    assert "started_at" not in denied
    assert [memory.taken for memory in devices.memories.values()] == [[], []]
    assert ("anton-denies", "deny: not before the fair") in system.told(made)
    assert system.refusal("POST", f"{path}/approve", headers=anton) == (409, "deployment-finished")
    system.act(unasked, "abort")


def test_a_deployment_is_rolled_back_with_a_reason(system: System, fleet: MakeFleet) -> None:
    devices, unwilling = fleet(2), fleet(1, artifact_name="lost")
    (lost,) = unwilling.ids
    made = system.deploy("two", *devices.ids, lost)
    system.finished(made)
    plan = system.api.call("GET", f"/deployments/{made}/rollback-plan")
    assert (plan["devices"], plan["releases"]) == (3, {"one": 2})
    assert [one["device_id"] for one in plan["not_restored"]] == [lost]

    system.act(made, "rollback", "screens stay dark")

    undone = system.wait_for_deployment(made, "undone", lambda d: d.get("outcome") == "rolled-back")
    assert ("local", "rollback: screens stay dark") in system.told(made)
    assert [memory.artifact_name for memory in devices.memories.values()] == ["one", "one"]
    child = undone["rollback"]["id"]
    assert system.part(child, lost)["status"] == "noartifact"
    assert "lost is not in the store" in system.part(child, lost)["substate"]
    assert [devices.memories[i].taken[-1].action for i in devices.ids] == ["restore", "restore"]
    assert system.refusal("POST", f"/deployments/{made}/rollback") == (409, "rolled-back")
    assert system.refusal("POST", f"/deployments/{child}/rollback") == (409, "is-a-rollback")


def test_a_deployment_is_aborted_and_devices_under_way_stop(system: System, fleet: MakeFleet) -> None:
    done, under_way, waits = fleet(1), fleet(1, download_s=FOR_EVER), fleet(1)
    ids = [*done.ids, *under_way.ids, *waits.ids]
    made = system.deploy("two", *ids, phases=[{"count": 2}, {"opens": "approval"}])
    system.wait_for_deployment(made, "half done", lambda d: d["counts"] == dict.fromkeys(d["counts"], 1))
    system.wait_for_part(made, ids[1], "downloading")
    system.wait_for_part(made, ids[0], "success")

    ended = system.act(made, "abort", "the wrong release")

    assert (ended["status"], ended["outcome"]) == ("finished", "aborted")
    assert {i: part["status"] for i, part in system.api.parts(made).items()} == {
        ids[0]: "success",
        ids[1]: "aborted",
        ids[2]: "aborted",
    }
    wait_until(lambda: at_rest(under_way), PATIENCE_S, "the device to stop")
    assert [f.memories[f.ids[0]].artifact_name for f in (done, under_way, waits)] == ["two", "one", "one"]
    assert ("local", "abort: the wrong release") in system.told(made)
    assert system.refusal("POST", f"/deployments/{made}/abort") == (409, "deployment-finished")


def test_a_deployment_is_deleted_once_it_is_finished_and_not_before(system: System, fleet: MakeFleet) -> None:
    devices = fleet(1)
    (device_id,) = devices.ids
    made = system.deploy("two", device_id, manual=True)
    path = f"/deployments/{made}"
    assert system.refusal("DELETE", path) == (409, "deployment-not-finished")
    system.act(made, "start")
    system.finished(made)

    system.remove(path)

    assert system.refusal("GET", path) == (404, "not-found")
    assert system.api.call("GET", f"/devices/{device_id}/history")["items"] == []
    kept = system.api.call("GET", f"/devices/{device_id}/timeline")["items"]
    assert "success" in {line["text"] for line in kept}  # what happened to the device stays known
    assert system.rows("SELECT count(*) FROM device_deployment WHERE deployment_id = ?", made) == [(0,)]


def test_a_deployment_and_its_devices_go_through_all_margo_states(system: System, fleet: MakeFleet) -> None:
    good, bad = fleet(1), fleet(1, failing=1.0)
    ids = [*good.ids, *bad.ids]

    def states() -> tuple[str, list[str]]:
        parts = system.api.parts(made)
        return system.api.deployment(made)["margo_state"], [parts[i]["margo_state"] for i in ids]

    made = system.deploy("two", *ids, manual=True)
    assert states() == ("pending", ["pending", "pending"])
    with downloading(good, bad):
        system.act(made, "start")
        wait_until(lambda: states() == ("installing", ["installing", "installing"]), PATIENCE_S, "both to install")
    system.finished(made)
    assert states() == ("failed", ["installed", "failed"])  # one of them was not updated
    alone = system.deploy("two", *good.ids)
    assert system.finished(alone)["margo_state"] == "installed"
    with downloading(good):
        system.act(made, "rollback")
        assert states() == ("removing", ["removing", "failed"])
    system.wait_for_deployment(made, "undone", lambda d: d.get("outcome") == "rolled-back")
    assert states() == ("removed", ["removed", "failed"])
