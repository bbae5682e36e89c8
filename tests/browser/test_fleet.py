"""Devices and groups by clicking: one and many, by those who may, and refused to others with the reason."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeWindow
from tests.browser.house import House
from wainwright_controller.people import Role
from wainwright_controller.simulate import Fleet

pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def fleet(house: House) -> Iterator[Fleet]:
    """Four devices that are accepted."""
    with house.fleet(4) as devices:
        yield devices


def states(house: House, fleet: Fleet) -> list[str]:
    """Return the states of a fleet's devices."""
    return [house.get(f"devices/{device_id}")["state"] for device_id in fleet.ids]


def test_newcomers_show_up_by_themselves_and_are_accepted_in_one_go(house: House, window: MakeWindow) -> None:
    one = window(Role.OPERATOR)
    page = one.open("/devices?state=pending")
    assert "Choose devices first" in one.refusal("Accept")
    with house.fleet(3, accepted=False) as fleet:
        for device_id in fleet.ids:
            expect(page.locator("#list")).to_contain_text(device_id)
        page.get_by_label("All on this page").check()
        expect(page.locator("[data-choice-count]")).to_have_text("3 devices chosen")
        one.act("Accept")
        expect(page.locator("#toasts")).to_contain_text("3 devices accepted.")
        expect(page.locator("#list")).not_to_contain_text(fleet.ids[0])
        assert states(house, fleet) == ["accepted"] * 3


def test_chosen_devices_are_rejected_tagged_and_grouped(house: House, fleet: Fleet, window: MakeWindow) -> None:
    one = window(Role.OPERATOR)
    page = one.open(f"/devices?q={fleet.spec.id_prefix}")
    first, second = fleet.ids[:2]

    def choose(*ids: str) -> None:
        for device_id in ids:
            page.get_by_label(f"Choose {device_id}").check()

    choose(first, second)
    one.act("Tag", Name="site", Value="ירוקה")
    assert house.get(f"devices/{second}")["tags"] == {"site": "ירוקה"}
    choose(first)
    one.act("New group", Name="of the first")
    page.wait_for_url("**/groups/of%20the%20first")
    expect(page.locator("#list")).to_contain_text(first)
    one.open(f"/devices?q={fleet.spec.id_prefix}")
    choose(second)
    one.act("Add to group")
    assert house.get("groups/of the first")["device_count"] == 2
    choose(second)
    one.act("Reject")
    assert states(house, fleet)[:2] == ["accepted", "rejected"]
    one.open(f"/devices/{second}")
    one.act("Accept")
    expect(page.locator("#head .badge").first).to_have_text("accepted")


def test_a_viewer_decides_nothing(fleet: Fleet, window: MakeWindow) -> None:
    one = window(Role.VIEWER)
    page = one.open(f"/devices?q={fleet.spec.id_prefix}")
    page.get_by_label(f"Choose {fleet.ids[0]}").check()
    for label in ("Accept", "Reject", "Tag", "Add to group", "New group", "Check in now"):
        assert "For operators; you are a viewer." in one.refusal(label), label
    one.open(f"/devices/{fleet.ids[0]}")
    for label in ("Reject", "Check in now", "Decommission"):
        assert "you are a viewer" in one.refusal(label), label
    one.open("/groups")
    for label in ("New dynamic group", "New static group"):
        assert "you are a viewer" in one.refusal(label), label


def test_a_device_leaves_the_fleet_by_an_admin_who_types_its_name(house: House, window: MakeWindow) -> None:
    with house.fleet(1) as fleet:
        (device_id,) = fleet.ids
        operator, admin = window(Role.OPERATOR), window(Role.ADMIN)
        operator.open(f"/devices/{device_id}")
        assert "For admins" in operator.refusal("Decommission")
        admin.open(f"/devices/{device_id}")
        admin.act("Decommission")
        for one in (operator, admin):
            expect(one.page.locator("#head .badge").first).to_have_text("decommissioned")
        assert states(house, fleet) == ["decommissioned"]


def test_a_filter_says_whom_it_chooses_while_it_is_typed(house: House, fleet: Fleet, window: MakeWindow) -> None:
    one = window(Role.OPERATOR)
    page = one.open("/groups")
    one.button("New dynamic group").click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_label("Name", exact=True).fill("typed")
    where = dialog.locator("[name=where]")
    where.press_sequentially("inventory.fleet = ")
    expect(dialog.locator("[role=status]")).to_contain_text("column")
    where.press_sequentially(f'"{fleet.spec.id_prefix}"')
    expect(dialog.locator("[role=status]")).to_contain_text("4 accepted devices meet it")
    dialog.get_by_role("button", name="New dynamic group", exact=True).click()
    page.wait_for_url("**/groups/typed")
    for device_id in fleet.ids:
        expect(page.locator("#list")).to_contain_text(device_id)
    one.act("Delete")
    page.wait_for_url("**/groups")
    assert house.serve.call("GET", "groups/typed").status_code == 404


def test_a_device_tells_what_happened_to_it(house: House, window: MakeWindow) -> None:
    with house.fleet(1, failing=1.0) as bad:
        made = house.wait_for(house.deploy(*bad.ids)["id"], status="finished")
        one = window(Role.VIEWER)
        page = one.open(f"/deployments/{made['id']}")
        page.get_by_label(f"Log of {bad.ids[0]}").click()
        page.wait_for_url(f"**/devices/{bad.ids[0]}?log={made['id']}#log")
        expect(page.locator("#history")).to_contain_text("install-failed")
        expect(page.locator("#why")).to_be_visible()
        house.post("devices/tags", {"ids": bad.ids, "given": {"site": "north"}})
        expect(page.locator("#tags")).to_contain_text("north")
