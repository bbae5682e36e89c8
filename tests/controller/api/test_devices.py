"""Devices and groups over the API."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.controller.api.served import Json, Served
from tests.support.device import Device
from tests.support.wait import wait_until
from wainwright_common.messages import Attributes, Inventory, Line, LogLines, inventory_digest
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind


def ids(page: Json) -> list[str]:
    return [item["id"] for item in page["items"]]


def test_a_device_that_checks_in_is_pending_until_it_is_accepted(served: Served) -> None:
    with Device(served.broker.port, "new-1") as device:
        device.announce()
        device.check_in()
        shown = served.get("devices/new-1")
        assert (shown["state"], shown["device_type"], shown["artifact_name"]) == ("pending", "pi4", "panel-1")
        assert "new-1" in ids(served.get("devices", state="pending"))
        assert served.post("devices/accept", {"ids": ["new-1"]}) == {"changed": ["new-1"]}
        assert device.woken().name == "check-in"
        assert served.post("devices/accept", {"ids": ["new-1"]}) == {"changed": []}
        assert served.post("devices/reject", {"ids": ["new-1"]}) == {"changed": ["new-1"]}
        assert served.get("devices/new-1")["state"] == "rejected"


def test_all_pending_devices_can_be_accepted_at_once(served: Served) -> None:
    for device_id in ("crowd-1", "crowd-2"):
        with Device(served.broker.port, device_id) as device:
            device.check_in()
    assert served.post("devices/accept", {"all_pending": True})["changed"] == ["crowd-1", "crowd-2"]
    assert served.post("devices/accept", {"all_pending": True})["changed"] == []


def test_what_a_device_never_told_is_absent_and_times_are_utc(served: Served) -> None:
    served.accept("silent-1")
    shown = served.get("devices/silent-1")
    assert set(shown) == {"id", "state", "online", "created_at", "provides", "attributes", "tags", "keys"}
    assert datetime.fromisoformat(shown["created_at"]).utcoffset() == datetime.now(UTC).utcoffset()
    assert shown["created_at"].endswith("Z")


def test_inventory_is_shown_as_it_was_reported(served: Served) -> None:
    attributes: Attributes = {"mem_mb": 512, "load": 0.5, "kernel": "6.1", "interfaces": ["eth0", "wlan0"]}
    served.accept("stocked-1")
    with Device(served.broker.port, "stocked-1") as device:
        device.check_in()
        device.send(Kind.INVENTORY, Inventory(digest=inventory_digest(attributes), attributes=attributes))
        wait_until(lambda: served.get("devices/stocked-1")["attributes"] == attributes, what="the inventory")


def test_devices_are_found_by_filters_that_add_up(served: Served) -> None:
    served.accept("find-1", "find-2", "find-3_x")
    served.post("groups", {"name": "finders", "ids": ["find-1", "find-2"]})
    with Device(served.broker.port, "find-2") as device:
        device.announce()
        device.check_in()
        rows: list[tuple[Json, list[str]]] = [
            ({"q": "FIND-"}, ["find-1", "find-2", "find-3_x"]),
            ({"q": "_"}, ["find-3_x"]),
            ({"group": "finders"}, ["find-1", "find-2"]),
            ({"group": "finders", "online": True}, ["find-2"]),
            ({"group": "finders", "online": False}, ["find-1"]),
            ({"q": "find-", "state": ["accepted", "rejected"], "group": "finders"}, ["find-1", "find-2"]),
            ({"group": "finders", "state": "pending"}, []),
            ({"group": "nobody"}, []),
        ]
        for params, expected in rows:
            page = served.get("devices", **params)
            assert (params, ids(page), page["total"]) == (params, expected, len(expected))


def test_a_filter_is_explained_with_the_names_that_no_device_has(served: Served) -> None:
    served.accept("explained-1")
    served.post("devices/tags", {"ids": ["explained-1"], "given": {"hall": "7"}})
    where = """tags.hall = '7' and not (tags.hal = "7" or inventory.nothing exists) and provides.nil != 1"""
    explained = served.get("filters", where=where)
    assert explained == {
        "where": 'tags.hall = "7" and not (tags.hal = "7" or nothing exists) and provides.nil != 1',
        "devices": 1,
        "unknown": ["nothing", "provides.nil", "tags.hal"],
    }
    assert served.get("filters", where="device_type = 'other' and tags.hall = '7'")["unknown"] == []
    answer = served.call("GET", "/api/v1/filters", params={"where": "tags.hall ="})
    assert (answer.status_code, answer.json()["column"]) == (422, 12)


def test_devices_are_listed_piece_by_piece_also_while_others_come(served: Served) -> None:
    served.accept(*(f"page-{number}" for number in range(5)))
    first = served.get("devices", q="page-", limit=2)
    assert (ids(first), first["total"]) == (["page-0", "page-1"], 5)
    served.accept("page-00")
    second = served.get("devices", q="page-", limit=3, cursor=first["next"])
    assert ids(second) == ["page-2", "page-3", "page-4"]
    assert "next" not in second


@pytest.mark.parametrize("cursor", ["nonsense", "e30", "WzFd", "%00", "é"])
def test_a_cursor_that_is_none_is_refused(served: Served, cursor: str) -> None:
    answer = served.call("GET", "/api/v1/devices", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")


# Method, path, body, status, code.
BAD = [
    ("POST", "devices/accept", {"ids": ["nobody"]}, 404, "not-found"),
    ("POST", "devices/reject", {"ids": ["nobody"]}, 404, "not-found"),
    ("POST", "devices/check-in", {"ids": ["nobody"]}, 404, "not-found"),
    ("POST", "devices/nobody/decommission", {}, 404, "not-found"),
    ("POST", "devices/nobody/recommission", {}, 404, "not-found"),
    ("POST", "devices/preauthorize", {"ids": ["a/b"]}, 422, "bad-id"),
    ("POST", "devices/preauthorize", {"ids": ["+"]}, 422, "bad-id"),
    ("POST", "devices/accept", {"idz": []}, 422, "invalid"),
    ("POST", "devices/accept", {"ids": "press-07"}, 422, "invalid"),
    ("GET", "devices/nobody", None, 404, "not-found"),
    ("GET", "devices/nobody/history", None, 404, "not-found"),
    ("GET", "devices/nobody/timeline", None, 404, "not-found"),
    ("GET", "devices/nobody/logs/x", None, 404, "not-found"),
    ("GET", "devices?state=lost", None, 422, "invalid"),
    ("GET", "devices?limit=0", None, 422, "invalid"),
    ("GET", "devices?limit=1001", None, 422, "invalid"),
    ("GET", "groups/nobody", None, 404, "not-found"),
    ("POST", "groups/nobody/add", {"ids": []}, 404, "not-found"),
    ("DELETE", "groups/nobody", None, 404, "not-found"),
    ("POST", "groups", {"name": "a/b"}, 422, "invalid"),
    ("POST", "groups", {"name": ""}, 422, "invalid"),
    ("POST", "groups", {"name": "strangers", "ids": ["nobody"]}, 404, "not-found"),
    ("PUT", "groups", {}, 405, "method-not-allowed"),
    ("POST", "groups", {"name": "both", "ids": ["x"], "where": "a exists"}, 422, "invalid"),
    ("PUT", "groups/nobody/filter", {"where": "a exists"}, 404, "not-found"),
    ("POST", "devices/tags", {"given": {"a": "1"}}, 422, "invalid"),
    ("POST", "devices/tags", {"ids": [], "where": "a exists"}, 422, "invalid"),
    ("POST", "devices/tags", {"ids": ["nobody"], "given": {"a": "1"}}, 404, "not-found"),
    ("POST", "devices/tags", {"ids": [], "given": {"a b": "1"}}, 422, "bad-tag"),
    ("POST", "devices/tags", {"ids": [], "given": {"a": 1}}, 422, "invalid"),
    ("GET", "nonsense", None, 404, "not-found"),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "code"), BAD)
def test_what_cannot_be_done_is_told_as_a_problem(
    served: Served, method: str, path: str, body: Json | None, status: int, code: str
) -> None:
    answer = served.call(method, f"/api/v1/{path}", json=body)
    told = answer.json()
    assert (answer.status_code, told["code"], told["status"]) == (status, code, status)
    assert answer.headers["content-type"] == "application/problem+json"
    assert set(told) == {"type", "title", "status", "detail", "code"}


def test_a_device_is_in_one_group_at_most(served: Served) -> None:
    served.accept("member-1", "member-2")
    assert served.post("groups", {"name": "north", "ids": ["member-1", "member-2"]})["device_count"] == 2
    served.post("groups", {"name": "south"})
    served.post("groups/south/add", {"ids": ["member-1"]})
    assert (served.get("groups/north")["device_count"], served.get("groups/south")["device_count"]) == (1, 1)
    assert served.get("devices/member-1")["group"] == "south"
    served.post("groups/south/remove", {"ids": ["member-1"]})
    assert "group" not in served.get("devices/member-1")
    again = served.call("POST", "/api/v1/groups", json={"name": "north"})
    assert (again.status_code, again.json()["code"]) == (409, "group-exists")
    assert served.call("DELETE", "/api/v1/groups/north").status_code == 204
    assert [group["name"] for group in served.get("groups", q="south")["items"]] == ["south"]


def test_history_logs_and_why_tell_what_happened_to_a_device(served: Served) -> None:
    served.accept("past-1")
    served.release("past-2")
    assert served.get("devices/past-1/why")["code"] == "no-deployment"
    deployment = served.deploy("past-2", "past-1", name="the past")
    assert served.get("devices/past-1/why")["deployment_id"] == deployment["id"]
    served.carry_out(deployment["id"], "past-1", status=DeviceStatus.FAILURE)
    lines = [Line(at=datetime.now(UTC), level="info", text=f"line {n}") for n in range(5)]
    with Device(served.broker.port, "past-1") as device:
        device.send(Kind.LOG, LogLines(deployment_id=deployment["id"], attempt=1, first=0, lines=lines))
        path = "devices/past-1/logs/the past"
        wait_until(lambda: len(served.get(path)["items"]) == 5, what="the log")
    first = served.get(path, limit=3)
    rest = served.get(path, limit=3, cursor=first["next"])
    assert [line["text"] for line in first["items"] + rest["items"]] == [f"line {n}" for n in range(5)]
    (part,) = served.get("devices/past-1/history")["items"]
    assert (part["status"], part["margo_state"], part["deployment_name"]) == ("failure", "failed", "the past")
    assert part["error"] == {"code": "no-space", "text": "disk full"}
    assert served.get("devices/past-1/why")["code"] == "failed"


def test_what_a_technician_installed_is_in_a_devices_timeline(served: Served) -> None:
    with Device(served.broker.port, "touched-1") as device:
        device.check_in()
        for name in ("hand-2", "hand-3"):
            device.running = name
            device.check_in(by_hand=True)
    first = served.get("devices/touched-1/timeline", kind="by-hand", limit=1)
    rest = served.get("devices/touched-1/timeline", kind="by-hand", limit=1, cursor=first["next"])
    assert [line["text"] for line in first["items"] + rest["items"]] == [
        "hand-3 was installed in place of hand-2 by hand",
        "hand-2 was installed in place of panel-1 by hand",
    ]
    assert "next" not in rest
    assert len(served.get("devices/touched-1/timeline")["items"]) > 2


def test_a_decommissioned_device_is_out_for_good(served: Served) -> None:
    served.accept("old-1")
    served.release("old-2")
    deployment = served.deploy("old-2", "old-1")
    assert served.post("devices/old-1/decommission") == {"changed": ["old-1"]}
    assert served.get("devices/old-1")["state"] == "decommissioned"
    assert served.post("devices/old-1/decommission") == {"changed": []}
    assert served.get(f"deployments/{deployment['id']}")["counts"] == {"decommissioned": 1}


@pytest.mark.parametrize("how", ["accept", "reject", "preauthorize"])
def test_a_decommissioned_device_is_not_brought_back_in_passing(served: Served, how: str) -> None:
    gone, other = f"gone-{how}", f"other-{how}"
    with Device(served.broker.port, other) as device:
        device.check_in()
    served.accept(gone)
    served.post(f"devices/{gone}/decommission")

    refused = served.call("POST", f"/api/v1/devices/{how}", json={"ids": [other, gone]})

    assert (refused.status_code, refused.json()["code"]) == (409, "decommissioned")
    assert f"wainwright device recommission {gone}" in refused.json()["detail"]
    assert [served.get(f"devices/{i}")["state"] for i in (gone, other)] == ["decommissioned", "pending"]


def test_a_recommissioned_device_is_as_one_that_nobody_has_decided_about(served: Served) -> None:
    served.accept("back-1")
    served.release("back-2")
    former = served.deploy("back-2", "back-1")["id"]
    served.post("devices/back-1/decommission")

    assert served.post("devices/back-1/recommission") == {"changed": ["back-1"]}

    assert served.get("devices/back-1")["state"] == "pending"
    assert "recommissioned" in {line["text"] for line in served.get("devices/back-1/timeline")["items"]}
    again = served.call("POST", "/api/v1/devices/back-1/recommission")
    assert (again.status_code, again.json()["code"]) == (409, "not-decommissioned")
    served.post("devices/accept", {"ids": ["back-1"]})
    with Device(served.broker.port, "back-1") as device:
        assert getattr(device.check_in().why, "code", None) == "no-deployment"  # the former one has ended for it
    assert served.get(f"deployments/{former}")["counts"] == {"decommissioned": 1}
    served.carry_out(served.deploy("back-2", "back-1")["id"], "back-1")


def test_a_time_at_the_end_of_the_calendar_is_refused_wherever_it_comes_from(served: Served) -> None:
    with Device(served.broker.port, "from-the-future") as device:
        for since in ("0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"):
            payload = f'{{"online":true,"since":"{since}","agent_version":"1"}}'.encode()
            device.send_raw("wain/v1/from-the-future/up/presence", payload)
        device.announce()
        device.check_in()
    assert served.call("GET", "/api/v1/devices/from-the-future").status_code == 200
    order = {
        "release": "panel-2",
        "devices": ["from-the-future"],
        "phases": [{"opens": "at", "opens_at": "9999-12-31T23:59:59-23:59"}],
    }
    answer = served.call("POST", "/api/v1/deployments", json=order)
    assert answer.status_code == 422
    assert served.call("GET", "/api/v1/deployments").status_code == 200
