"""Filters, tags and dynamic groups over the API."""

from __future__ import annotations

import pytest

from tests.controller.api.served import Json, Served
from tests.support.device import Device
from tests.support.wait import wait_until
from wainwright_common.messages import Attributes, Inventory, inventory_digest
from wainwright_common.topics import Kind


def ids(page: Json) -> list[str]:
    return [item["id"] for item in page["items"]]


def test_a_group_by_a_filter_follows_what_devices_report_and_operators_tag(served: Served) -> None:
    where = "device_type = 'pi4' and mem_mb >= 512 and tags.site in ('north', 'south')"
    made = served.call("POST", "/api/v1/groups", json={"name": "big", "where": where}).json()
    canonical = 'device_type = "pi4" and mem_mb >= 512 and tags.site in ("north", "south")'
    assert (made["kind"], made["where"], made["device_count"]) == ("dynamic", canonical, 0)
    served.accept("follow-1", "follow-2")
    attributes: Attributes = {"mem_mb": "1024"}
    with Device(served.broker.port, "follow-1") as device:
        device.check_in()
        device.send(Kind.INVENTORY, Inventory(digest=inventory_digest(attributes), attributes=attributes))
        wait_until(lambda: ids(served.get("devices", where="mem_mb = 1024")) == ["follow-1"], what="the inventory")
        assert served.get("groups/big")["device_count"] == 0
        tagged = served.post("devices/tags", {"ids": ["follow-1", "follow-2"], "given": {"site": "north"}})
        assert tagged == {"changed": ["follow-1", "follow-2"]}
        assert device.woken().name == "check-in"
        assert served.get("devices/follow-1")["tags"] == {"site": "north"}
        assert ids(served.get("devices", group="big")) == ["follow-1"]
        assert served.post("devices/tags", {"where": "device_id = 'follow-1'", "removed": ["site"]})["changed"]
        assert served.get("groups/big")["device_count"] == 0


def test_a_dynamic_group_gets_another_filter_and_a_list_none(served: Served) -> None:
    served.accept("switch-1", "switch-2")
    served.post("groups", {"name": "switch", "where": "device_id = 'switch-1'"})
    served.release("switch-1")
    made = served.post("deployments", {"release": "switch-1", "group": "switch"})
    changed = served.call("PUT", "/api/v1/groups/switch/filter", json={"where": "device_id ~ '^switch'"}).json()
    assert (changed["where"], changed["device_count"]) == ('device_id ~ "^switch"', 2)
    assert served.get(f"deployments/{made['id']}")["where"] == 'device_id = "switch-1"'  # what it was ordered with
    told = served.call("POST", "/api/v1/groups/switch/add", json={"ids": ["switch-1"]})
    assert (told.status_code, told.json()["code"]) == (409, "group-dynamic")
    served.post("groups", {"name": "switch-list", "ids": ["switch-1"]})
    told = served.call("PUT", "/api/v1/groups/switch-list/filter", json={"where": "a exists"})
    assert (told.status_code, told.json()["code"]) == (409, "group-static")
    kinds = {
        group["name"]: (group["kind"], group["device_count"]) for group in served.get("groups", q="switch")["items"]
    }
    assert kinds == {"switch": ("dynamic", 2), "switch-list": ("static", 1)}


@pytest.mark.parametrize(
    ("method", "path", "body", "params"),
    [
        ("GET", "devices", None, {"where": "a = b"}),
        ("POST", "groups", {"name": "bad", "where": "a = b"}, {}),
        ("PUT", "groups/nobody/filter", {"where": "a = b"}, {}),
        ("POST", "devices/tags", {"where": "a = b", "given": {"x": "1"}}, {}),
    ],
    ids=["list", "group", "change", "tags"],
)
def test_a_mistake_in_a_filter_is_told_with_its_column(
    served: Served, method: str, path: str, body: Json | None, params: Json
) -> None:
    told = served.call(method, f"/api/v1/{path}", json=body, params=params)

    assert (told.status_code, told.json()["code"], told.json()["column"]) == (422, "bad-filter", 5)
    assert told.json()["detail"].splitlines()[1:] == ["  a = b", "      ^"]
