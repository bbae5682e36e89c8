"""What else can be clicked on the pages of devices and groups: by those who may, and refused to others with why."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeWindow
from tests.browser.house import House
from tests.support.serve import PATIENCE_S
from tests.support.wait import wait_until
from wainwright_controller.people import Role
from wainwright_controller.simulate import Fleet

pytestmark = pytest.mark.long
MAKERS = (Role.OPERATOR, Role.ADMIN)


@pytest.fixture(scope="module")
def fleet(house: House) -> Iterator[Fleet]:
    """Three devices that are accepted."""
    with house.fleet(3) as devices:
        yield devices


@pytest.mark.parametrize("role", MAKERS, ids=MAKERS)
def test_one_device_is_asked_to_check_in(house: House, fleet: Fleet, window: MakeWindow, role: Role) -> None:
    device_id = fleet.ids[0]
    before = house.get(f"devices/{device_id}")["last_check_in_at"]
    one = window(role)
    page = one.open(f"/devices/{device_id}")
    one.act("Check in now")
    expect(page.locator("#toasts")).to_contain_text("Asked to check in.")
    expect(page.locator("#timeline")).to_contain_text(f"asked to check in by the-{role}")
    wait_until(lambda: house.get(f"devices/{device_id}")["last_check_in_at"] != before, PATIENCE_S, "a check-in")


@pytest.mark.parametrize("role", MAKERS, ids=MAKERS)
def test_chosen_devices_are_asked_to_check_in(house: House, fleet: Fleet, window: MakeWindow, role: Role) -> None:
    def last() -> list[str]:
        return [house.get(f"devices/{device_id}")["last_check_in_at"] for device_id in fleet.ids]

    before = last()
    one = window(role)
    page = one.open(f"/devices?q={fleet.spec.id_prefix}")
    page.get_by_label("All on this page").check()
    one.act("Check in now")
    expect(page.locator("#toasts")).to_contain_text("3 devices asked to check in.")
    wait_until(lambda: not set(last()) & set(before), PATIENCE_S, "all to check in")


@pytest.mark.parametrize("role", MAKERS, ids=MAKERS)
def test_one_device_is_rejected_and_taken_back(house: House, fleet: Fleet, window: MakeWindow, role: Role) -> None:
    one = window(role)
    page = one.open(f"/devices/{fleet.ids[1]}")
    for label, state in (("Reject", "rejected"), ("Accept", "accepted")):
        one.act(label)
        expect(page.locator("#head .badge").first).to_have_text(state)
        assert house.get(f"devices/{fleet.ids[1]}")["state"] == state


@pytest.mark.parametrize("role", MAKERS, ids=MAKERS)
def test_a_device_is_given_tags_and_they_are_taken_away(
    house: House, fleet: Fleet, window: MakeWindow, role: Role
) -> None:
    device_id, value = fleet.ids[2], "<b>ציפור</b>"
    one = window(role)
    page = one.open(f"/devices/{device_id}")
    one.act("Give a tag", Name="hall", Value=value)
    expect(page.locator("#tags li")).to_contain_text(value)
    assert house.get(f"devices/{device_id}")["tags"] == {"hall": value}
    one.act("Give a tag", Name="hall", Value="7")
    expect(page.locator("#tags li")).to_contain_text("7")
    page.get_by_role("button", name="Remove the tag hall").click()
    expect(page.locator("#tags")).to_contain_text("It has none")
    assert house.get(f"devices/{device_id}").get("tags", {}) == {}


def test_a_tag_that_cannot_be_is_refused_where_it_was_asked(fleet: Fleet, window: MakeWindow) -> None:
    one = window(Role.OPERATOR)
    page = one.open(f"/devices/{fleet.ids[2]}")
    one.button("Give a tag").click()
    dialog = page.locator("dialog[open]")
    one.fill(dialog, fields={"Name": "two words", "Value": "x"})
    dialog.get_by_role("button", name="Give a tag", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("two words")
    one.forgive("status of 422")


@pytest.mark.parametrize("role", MAKERS, ids=MAKERS)
def test_a_static_group_is_made_filled_emptied_and_deleted(
    house: House, fleet: Fleet, window: MakeWindow, role: Role
) -> None:
    name, looker = f"made by {role} & <b>", window(Role.VIEWER)
    looker.open("/groups")
    one = window(role)
    page = one.open("/groups")
    one.act("New static group", Name=name, Devices=fleet.ids[0])
    page.wait_for_url("**/groups/made*")
    expect(page.locator("h1")).to_have_text(name)
    one.expect_live()
    expect(looker.page.locator("#list tr", has_text=name).locator("[data-label=Members]")).to_have_text("1")
    one.act("Add devices", Devices=f"{fleet.ids[1]}, {fleet.ids[2]}")
    expect(page.locator("#toasts")).to_contain_text("2 devices added.")
    expect(page.locator("#about")).to_contain_text("3 devices")
    expect(looker.page.locator("#list tr", has_text=name).locator("[data-label=Members]")).to_have_text("3")
    page.get_by_label(f"Choose {fleet.ids[0]}").check()
    one.act("Remove from the group")
    expect(page.locator("#list")).not_to_contain_text(fleet.ids[0])
    assert house.get(f"devices/{fleet.ids[0]}").get("group") is None
    one.act("Delete")
    page.wait_for_url(f"{house.url}/groups")
    for each in (one, looker):
        expect(each.page.locator("#list")).not_to_contain_text(name)


def test_a_device_that_is_not_there_joins_no_group(house: House, window: MakeWindow) -> None:
    one = window(Role.OPERATOR)
    page = one.open("/groups")
    one.button("New static group").click()
    dialog = page.locator("dialog[open]")
    one.fill(dialog, fields={"Name": "of nobody", "Devices": "nobody"})
    dialog.get_by_role("button", name="New static group", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("No such device: nobody")
    expect(dialog.get_by_label("Devices")).to_have_value("nobody")
    assert house.serve.call("GET", "groups/of nobody").status_code == 404
    one.forgive("status of 404")


@pytest.mark.parametrize("role", MAKERS, ids=MAKERS)
def test_the_filter_of_a_group_is_changed(house: House, fleet: Fleet, window: MakeWindow, role: Role) -> None:
    name = f"filtered for {role}"
    house.post("groups", {"name": name, "where": 'device_id = "nobody"'})
    viewer, one = window(Role.VIEWER), window(role)
    viewer.open(f"/groups/{name}")
    for label in ("Change the filter", "Delete", "Deploy to"):
        assert "you are a viewer" in viewer.refusal(label), label
    page = one.open(f"/groups/{name}")
    expect(page.locator("#list")).to_contain_text("No device meets its filter now")
    one.button("Change the filter").click()
    dialog = page.locator("dialog[open]")
    where = dialog.locator("[name=where]")
    where.fill("inventory.fleet = ")
    expect(dialog.locator("[role=status]")).to_contain_text("column")
    dialog.get_by_role("button", name="Change the filter", exact=True).click()
    expect(dialog).to_be_visible()  # what cannot be read is not sent
    where.fill(f'inventory.fleet = "{fleet.spec.id_prefix}"')
    expect(dialog.locator("[role=status]")).to_contain_text("3 accepted devices meet it")
    dialog.get_by_role("button", name="Change the filter", exact=True).click()
    for each in (one, viewer):
        expect(each.page.locator("#list")).to_contain_text(fleet.ids[2])


def test_a_viewer_changes_no_static_group_and_no_tags(house: House, fleet: Fleet, window: MakeWindow) -> None:
    house.post("groups", {"name": "to look at", "ids": fleet.ids[:1]})
    one = window(Role.VIEWER)
    page = one.open("/groups/to look at")
    for label in ("Add devices", "Delete", "Deploy to"):
        assert "For operators; you are a viewer." in one.refusal(label), label
    page.get_by_label(f"Choose {fleet.ids[0]}").check()
    assert "For operators" in one.refusal("Remove from the group")
    house.post("devices/tags", {"ids": fleet.ids[:1], "given": {"hall": "7"}})
    one.open(f"/devices/{fleet.ids[0]}")
    expect(page.locator("#tags li")).to_contain_text("7")
    assert "For operators" in one.refusal("Give a tag")
    expect(page.get_by_role("button", name="Remove the tag hall")).to_have_count(0)
