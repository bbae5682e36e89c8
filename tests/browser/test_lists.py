"""Lists by clicking: searched, filtered, sorted and turned over; the audit log as CSV, and whether it is whole."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeWindow
from tests.browser.house import House
from wainwright_controller.people import Role

pytestmark = pytest.mark.long


@pytest.fixture(scope="module", autouse=True)
def _furnished(house: House) -> None:
    """Have more deployments, and devices, than a page shows."""
    ids = [f"list-{number:03}" for number in range(60)]
    house.post("devices/preauthorize", {"ids": ids})
    for number in range(60):
        house.deploy(ids[number], name=f"roll {number:02}", release=("one", "two")[number % 2], manual=True)
    house.post("deployments", {"release": "one", "devices": ids[:1], "name": "canaries", "strategy": "canary"})


@pytest.mark.parametrize("role", list(Role), ids=list(Role))
def test_deployments_are_searched_filtered_sorted_and_turned_over(house: House, window: MakeWindow, role: Role) -> None:
    one = window(role)
    page = one.open("/deployments")
    rows = page.locator("#list tbody tr")
    expect(page.locator(".pager")).to_contain_text("of 61 deployments")
    first = rows.first.locator("th a").inner_text()
    page.get_by_role("link", name="Next page").click()
    expect(rows.first).not_to_contain_text(first)
    page.get_by_role("link", name="First page").click()
    expect(rows.first).to_contain_text(first)
    page.get_by_role("link", name="Name", exact=True).click()
    expect(rows.first).to_contain_text("canaries")
    page.get_by_role("link", name=re.compile("^Name")).click()
    expect(rows.first).to_contain_text("roll 59")
    page.get_by_label("Search").fill("roll 07")  # it acts a moment after the last letter
    expect(rows).to_have_count(1)
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url(f"{house.url}/deployments")
    page.get_by_label("Strategy").select_option("canary")
    page.wait_for_url("**strategy=canary*")
    expect(rows).to_have_count(1)
    page.get_by_label("Strategy").select_option("")
    page.wait_for_url(f"{house.url}/deployments")
    page.get_by_label("Status").select_option("finished")
    page.wait_for_url("**status=finished*")
    expect(page.locator(".empty")).to_contain_text("No deployment is like that")
    page.get_by_label("Status").select_option("")
    page.wait_for_url(f"{house.url}/deployments")
    page.get_by_label("Release").fill("two")
    page.get_by_role("button", name="Show").click()
    expect(page.locator(".pager")).to_contain_text("30 deployments")
    assert house.get("deployments", release="two")["total"] == 30


def test_devices_are_searched_filtered_and_turned_over(window: MakeWindow) -> None:
    page = window(Role.VIEWER).open("/devices")
    rows = page.locator("#list tbody tr")
    expect(page.locator("main > .pager, #list .pager")).to_contain_text("50 of 60 devices")
    page.get_by_role("link", name="Next page").click()
    expect(rows).to_have_count(10)
    page.get_by_label("Search").fill("list-03")
    page.wait_for_url("**q=list-03*")
    expect(rows).to_have_count(10)
    expect(rows.first).to_contain_text("list-030")
    page.get_by_label("Presence").select_option("online")
    page.wait_for_url("**online=yes*")
    expect(page.locator(".empty")).to_contain_text("No device is like that")
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url("**/devices")
    page.get_by_label("State").select_option("accepted")
    page.wait_for_url("**state=accepted*")
    expect(page.locator("#list .pager")).to_contain_text("60 devices")
    where = page.get_by_label("Filter", exact=True)
    where.fill("device_id =")
    where.press("Enter")
    expect(page.locator("#where-found")).to_contain_text("column")
    where.fill('device_id in ("list-001", "list-002")')
    where.press("Enter")
    expect(rows).to_have_count(2)


def test_the_audit_log_is_filtered_downloaded_and_verified_by_an_admin(
    house: House, window: MakeWindow, tmp_path: Path
) -> None:
    house.serve.call("POST", "deployments", house.tokens[Role.VIEWER], json={})  # refused, which is entered, too
    one = window(Role.ADMIN)
    page = one.open("/audit")
    rows = page.locator("#list tbody tr")
    page.get_by_label("Verdict").select_option("refused")
    page.wait_for_url("**verdict=refused*")
    expect(rows).to_have_count(1)
    expect(rows).to_contain_text("the-viewer")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download as CSV").click()
    download.value.save_as(tmp_path / "audit.csv")
    entries = list(csv.DictReader((tmp_path / "audit.csv").read_text(encoding="utf-8").splitlines()))
    assert [entry["who"] for entry in entries] == ["the-viewer"]
    page.get_by_role("link", name="the-viewer").click()
    expect(page.get_by_label("Who", exact=True)).to_have_value("the-viewer")
    page.get_by_role("link", name="Clear").click()
    page.wait_for_url("**/audit")
    page.get_by_label("Action").fill("user")
    page.get_by_role("button", name="Show").click()
    expect(rows).to_have_count(3)
    page.get_by_label("From").fill("2090-01-01")
    expect(page.locator(".empty")).to_contain_text("No entry is like that")
    page.get_by_role("button", name="Verify the chain").click()
    verdict = page.locator("[data-verdict]")
    expect(verdict).to_contain_text("The log is whole")
    anchor = verdict.locator("code").inner_text()
    page.get_by_label("Anchor").fill(anchor[:-1] + ("1" if anchor.endswith("0") else "0"))
    page.get_by_role("button", name="Verify the chain").click()
    expect(verdict).to_contain_text("NOT whole")
    page.get_by_label("Anchor").fill(anchor)
    page.get_by_role("button", name="Verify the chain").click()
    expect(verdict).to_contain_text("The log is whole")


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR], ids=["viewer", "operator"])
def test_the_audit_log_is_for_admins(house: House, window: MakeWindow, role: Role) -> None:
    one = window(role)
    page = one.open("/deployments")
    expect(page.get_by_role("navigation", name="Main").get_by_role("link", name="Audit")).to_have_count(0)
    page.goto(f"{house.url}/audit")
    expect(page.locator("main")).to_contain_text("for admins")
    one.forgive("status of 403")


def test_light_and_dark_are_chosen_and_kept(house: House, window: MakeWindow) -> None:
    page = window(Role.VIEWER, color_scheme="light").open("/deployments")
    page.get_by_role("button", name="Light or dark").click()
    for _ in range(2):
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(22, 24, 27)"
        page.goto(f"{house.url}/devices")
    page.get_by_role("button", name="Light or dark").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(247, 246, 243)"


def test_the_devices_of_a_deployment_are_searched_and_filtered(house: House, window: MakeWindow) -> None:
    ids = [f"list-{number:03}" for number in range(60)]
    made = house.deploy(*ids, name="to all", manual=True)
    page = window(Role.VIEWER).open(f"/deployments/{made['id']}")
    rows = page.locator("#devices tbody tr")
    page.get_by_label("Search").fill("list-05")
    expect(rows).to_have_count(10)
    page.locator("select[name=status]").select_option("success")
    expect(page.locator("#devices")).to_contain_text("No device is like that")
    page.locator("#devices").get_by_role("link", name="Show all").click()
    page.locator("#progress").get_by_role("link", name=re.compile("pending")).click()
    expect(page.locator("select[name=status]")).to_have_value("pending")
    page.locator("#timeline").get_by_role("link", name="With single devices").click()
    expect(page.locator("#timeline").get_by_role("link", name="Without single devices")).to_be_visible()
