"""Which devices a deployment is for, and when it is over."""

from __future__ import annotations

import uuid

from tests.support.system import System
from tests.system.features.conftest import OTHER_PRESS, MakeFleet, check_in
from wainwright_controller.simulate import Fleet


def whom(fleet: Fleet) -> str:
    """Return the filter that exactly a fleet's devices meet."""
    return f'inventory.fleet = "{fleet.spec.id_prefix}"'


def test_a_deployment_has_a_random_id_that_no_other_has(system: System, fleet: MakeFleet) -> None:
    devices = fleet(1)
    ids = [system.deploy("two", *devices.ids, manual=True) for _ in range(8)]

    assert len(set(ids)) == 8
    assert {uuid.UUID(i).version for i in ids} == {4}  # 122 random bits: not the time, not the one before
    assert all(system.api.deployment(i)["id"] == i for i in ids)
    for i in ids:
        system.act(i, "abort")


def test_only_accepted_devices_get_a_deployment(system: System, fleet: MakeFleet) -> None:
    devices = fleet(4, accepted=False)
    pending, rejected, decommissioned, accepted = devices.ids
    system.api.call("POST", "/devices/accept", json={"ids": [decommissioned, accepted]})
    system.api.call("POST", "/devices/reject", json={"ids": [rejected]})
    system.api.call("POST", f"/devices/{decommissioned}/decommission")
    for device_id in (pending, rejected, decommissioned):
        order = {"release": "two", "devices": [accepted, device_id]}
        assert system.refusal("POST", "/deployments", json=order) == (404, "not-found")
    group = {"name": devices.spec.id_prefix, "ids": devices.ids}
    system.api.call("POST", "/groups", json=group)

    to_the_group = system.api.deploy(release="two", group=group["name"])["id"]
    dynamic = system.api.deploy(release="one", where=whom(devices))["id"]
    system.finished(to_the_group)
    system.wait_for_part(dynamic, accepted, "success")
    check_in(system, devices)

    assert list(system.api.parts(to_the_group)) == list(system.api.parts(dynamic)) == [accepted]
    assert {i: len(m.taken) for i, m in devices.memories.items()} == dict.fromkeys(devices.ids, 0) | {accepted: 2}
    known = system.api.devices()
    assert {known[i]["last_why"] for i in devices.ids if i != accepted} == {"not-accepted"}
    system.act(dynamic, "finish")


def test_a_device_finishes_a_deployment_once(system: System, fleet: MakeFleet) -> None:
    devices = fleet(4, duplicated=1.0, reordered=0.3)
    static = system.deploy("two", *devices.ids)
    system.finished(static)
    dynamic = system.api.deploy(release="one", where=whom(devices))["id"]
    system.wait_for_deployment(dynamic, "done by all", lambda d: d["counts"].get("success") == 4)

    for _ in range(2):
        check_in(system, devices)

    system.act(dynamic, "finish")
    for deployment_id in (static, dynamic):
        system.assert_exact(deployment_id, devices.ids)
    assert devices.installed_more_than_once() == []
    assert {len(memory.taken) for memory in devices.memories.values()} == {2}


def test_a_device_that_was_offline_gets_the_oldest_deployment_first(agents: System, release: str) -> None:
    older, newer = f"{release}-older", f"{release}-newer"
    agents.processes.stop(OTHER_PRESS)
    agents.wait_for_devices([OTHER_PRESS], online=False)
    agents.release(older)
    agents.release(newer)
    first, second = agents.deploy(older, OTHER_PRESS), agents.deploy(newer, OTHER_PRESS)
    assert agents.why(OTHER_PRESS)["code"] == "offline"

    agents.start_agent_without_waiting(OTHER_PRESS)
    assert agents.finished(second)["outcome"] == "success"
    assert agents.finished(first)["outcome"] == "success"
    assert agents.part(first, OTHER_PRESS)["finished_at"] <= agents.part(second, OTHER_PRESS)["started_at"]
    assert agents.runs(OTHER_PRESS) == newer


def test_a_static_group_is_frozen_when_the_deployment_is_made(system: System, fleet: MakeFleet) -> None:
    devices = fleet(3)
    stays, leaves, comes = devices.ids
    name = devices.spec.id_prefix
    system.api.call("POST", "/groups", json={"name": name, "ids": [stays, leaves]})
    made = system.api.deploy(release="two", group=name, manual=True)
    system.api.call("POST", f"/groups/{name}/add", json={"ids": [comes]})
    system.api.call("POST", f"/groups/{name}/remove", json={"ids": [leaves]})

    system.act(made["id"], "start")
    ended = system.finished(made["id"])
    check_in(system, devices)

    assert (made["kind"], ended["device_count"], ended["counts"]) == ("static", 2, {"success": 2})
    assert sorted(system.api.parts(made["id"])) == [stays, leaves]
    assert {i: m.artifact_name for i, m in devices.memories.items()} == {stays: "two", leaves: "two", comes: "one"}


def test_a_static_deployment_is_finished_when_all_its_devices_have_finished(system: System, fleet: MakeFleet) -> None:
    devices = fleet(4, failing=0.25)
    absent = f"{devices.spec.id_prefix}late-1"
    system.api.call("POST", "/devices/preauthorize", json={"ids": [absent]})
    made = system.deploy("two", *devices.ids, absent)
    open_still = system.wait_for_deployment(made, "done by four", lambda d: d["counts"].get("pending") == 1)
    open_still = system.wait_for_deployment(made, "done by four", lambda d: d["counts"].get("success") == 3)
    assert (open_still["status"], open_still["summary"]) == ("inprogress", "3/5 successful")

    fleet(1, id_prefix=f"{devices.spec.id_prefix}late-")

    ended = system.finished(made)
    assert (ended["outcome"], ended["summary"]) == ("partial", "4/5 successful")
    assert ended["counts"] == {"success": 4, "failure": 1}
    assert ended["finished_at"] >= system.part(made, absent)["finished_at"]
    system.assert_exact(made, [*devices.ids, absent])


def test_a_dynamic_deployment_stays_open_for_whoever_comes_to_match(system: System, fleet: MakeFleet) -> None:
    first = fleet(2)
    ring = first.spec.id_prefix
    others = fleet(2)
    made = system.api.deploy(release="two", where=f'{whom(first)} or tags.ring = "{ring}"')
    everybody = system.wait_for_deployment(made["id"], "done by two", lambda d: d["counts"].get("success") == 2)
    assert (made["kind"], everybody["status"], everybody["summary"]) == ("dynamic", "inprogress", "2/2 successful")

    newcomer = fleet(1, id_prefix=f"{ring}late-", attributes={"fleet": (ring,)}).ids[0]
    system.wait_for_part(made["id"], newcomer, "success")
    tagged, untagged = others.ids
    system.api.call("POST", "/devices/tags", json={"ids": [tagged], "given": {"ring": ring}})
    system.wait_for_part(made["id"], tagged, "success")

    grown = system.api.deployment(made["id"])
    assert (grown["status"], grown["summary"]) == ("inprogress", "4/4 successful")
    assert others.memories[untagged].taken == []
    system.act(made["id"], "finish")


def test_a_dynamic_deployment_is_finished_by_a_person(system: System, fleet: MakeFleet) -> None:
    devices = fleet(3)
    phases = [{"count": 2}, {"opens": "approval"}]
    made = system.api.deploy(release="two", where=whom(devices), phases=phases)["id"]
    check_in(system, devices)
    system.wait_for_deployment(made, "done by two", lambda d: d["counts"] == {"success": 2, "pending": 1})
    waits = next(i for i, part in system.api.parts(made).items() if part["status"] == "pending")

    ended = system.act(made, "finish", "the line is complete")

    assert (ended["status"], ended["outcome"], ended["counts"]) == ("finished", "success", {"success": 2, "aborted": 1})
    assert "closed_at" in ended
    assert ("local", "finish: the line is complete") in system.told(made)
    newcomer = fleet(1, id_prefix=f"{devices.spec.id_prefix}late-", attributes=dict(devices.spec.attributes))
    check_in(system, newcomer)
    assert devices.memories[waits].taken == next(iter(newcomer.memories.values())).taken == []
    static = system.deploy("two", *devices.ids, manual=True)
    assert system.refusal("POST", f"/deployments/{static}/finish") == (409, "awaiting-start")
    system.act(static, "abort")


def test_a_dynamic_deployment_is_finished_by_its_largest_number_of_devices(system: System, fleet: MakeFleet) -> None:
    devices = fleet(5)
    made = system.api.deploy(release="two", where=whom(devices), max_devices=3)["id"]

    ended = system.finished(made)
    check_in(system, devices)

    assert (ended["outcome"], ended["device_count"], ended["summary"]) == ("success", 3, "3/3 successful")
    assert len(system.api.parts(made)) == 3
    assert sorted(memory.artifact_name for memory in devices.memories.values()) == ["one"] * 2 + ["two"] * 3
    assert {actor for actor, _ in system.told(made)} == {"local", "controller", "device"}
    assert ("local", "finish") not in system.told(made)


def test_a_device_is_in_one_static_group_and_in_many_dynamic_ones(system: System, fleet: MakeFleet) -> None:
    devices = fleet(2)
    mover, stayer = devices.ids
    name = devices.spec.id_prefix

    def members(group: str) -> list[str]:
        return [d["id"] for d in system.api.call("GET", "/devices", params={"group": group})["items"]]

    system.api.call("POST", "/groups", json={"name": f"{name}a", "ids": [mover, stayer]})
    system.api.call("POST", "/groups", json={"name": f"{name}b", "ids": [mover]})
    assert (members(f"{name}a"), members(f"{name}b")) == ([stayer], [mover])
    filters = {f"{name}all": whom(devices), f"{name}mover": f'device_id = "{mover}"', f"{name}b2": f'group = "{name}b"'}
    for group, where in filters.items():
        system.api.call("POST", "/groups", json={"name": group, "where": where})
    assert [members(group) for group in filters] == [devices.ids, [mover], [mover]]
    assert system.refusal("POST", f"/groups/{name}all/add", json={"ids": [mover]}) == (409, "group-dynamic")

    # Every dynamic group that a device is in reaches it, one after the other.
    made = [system.api.deploy(release=r, group=g)["id"] for r, g in zip(["two", "one", "two"], filters, strict=True)]
    for deployment_id in made:
        system.wait_for_part(deployment_id, mover, "success")
    system.wait_for_part(made[0], stayer, "success")
    assert [sorted(system.api.parts(i)) for i in made] == [devices.ids, [mover], [mover]]
    assert [t.release for t in devices.memories[mover].taken] == ["two", "one", "two"]
    for deployment_id in made:
        system.act(deployment_id, "finish")
