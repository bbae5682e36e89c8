"""Devices that ask for a certificate, by clicking: their keys are compared, accepted, revoked, by those who may."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import MakeWindow
from tests.browser.house import House
from tests.support.est import EstDevice
from wainwright_controller.people import Role

pytestmark = pytest.mark.long
AGAIN = 202  # nobody has decided yet


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A house whose controller gives certificates."""
    with House(tmp_path_factory.mktemp("house"), enrolment__enabled=True) as running:
        yield running


@pytest.fixture
def asking(house: House, tmp_path: Path) -> EstDevice:
    """A device that has asked for a certificate, and waits."""
    return asks(house, tmp_path, f"press-{len(house.get('devices', limit=200)['items'])}")


def asks(house: House, folder: Path, name: str) -> EstDevice:
    """Ask for a certificate with a new key."""
    device = EstDevice(house.url, house.serve.root, folder, name)
    assert device.enrol().status_code == AGAIN
    return device


def item(device: EstDevice) -> str:
    """Return the selector of the key of a device on its page."""
    return f"#key-{device.digest}"


def refused_to_others(window: MakeWindow, device: EstDevice, label: str) -> None:
    """See that an action on a device is for admins alone."""
    for role in (Role.VIEWER, Role.OPERATOR):
        other = window(role)
        other.open(f"/devices/{device.name}")
        assert "For admins" in other.refusal(label)


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.ADMIN], ids=["operator", "admin"])
def test_a_newcomer_gets_its_certificate_when_it_is_accepted(
    house: House, asking: EstDevice, window: MakeWindow, role: Role
) -> None:
    one = window(role)
    page = one.open("/devices")
    expect(page.locator("#waiting")).to_contain_text("1 device waits for somebody")
    page.locator("#waiting").get_by_role("link", name="Show it").click()
    page.locator("#list").get_by_role("link", name=asking.name).click()
    expect(page.locator("#keys")).to_contain_text(asking.digest)
    one.expect_live()
    one.act("Accept")
    expect(page.locator("#head .badge").first).to_have_text("accepted")

    assert asking.enrol().status_code == 200
    expect(page.locator("#keys h3")).to_have_text("Certificates")
    expect(page.locator("#keys .item .badge.good")).to_have_count(2)
    assert house.get(f"devices/{asking.name}")["keys"][0]["decided_by"] == f"the-{role}"
    assert one.barriers() == []


def test_an_accepted_device_with_another_key_waits_for_a_person_who_compares(
    house: House, asking: EstDevice, window: MakeWindow, tmp_path: Path
) -> None:
    house.post("devices/accept", {"ids": [asking.name]})
    assert asking.enrol().status_code == 200
    one = window(Role.ADMIN)
    page = one.open("/devices")
    later = asks(house, tmp_path, asking.name)
    expect(page.locator("#waiting")).to_contain_text("1 accepted device asks for a certificate with a key that nobody")
    page.locator("#waiting").get_by_role("link", name=asking.name).click()
    one.expect_live()
    expect(page.locator(item(later))).to_contain_text("pending")
    page.get_by_role("button", name="Accept this key", exact=True).click()
    dialog = page.locator("dialog[open]")
    expect(dialog).to_contain_text(later.digest)
    dialog.get_by_role("button", name="Accept this key", exact=True).click()
    expect(page.locator(item(later))).to_contain_text("accepted")
    expect(page.locator(item(asking))).to_contain_text("replaced")
    assert later.enrol().status_code == 200
    assert asking.enrol().status_code != 200


def test_several_keys_for_one_name_are_told_and_one_is_chosen(
    house: House, asking: EstDevice, window: MakeWindow, tmp_path: Path
) -> None:
    other = asks(house, tmp_path, asking.name)
    one = window(Role.OPERATOR)
    page = one.open(f"/devices/{asking.name}")
    one.button("Accept").click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_role("button", name="Accept", exact=True).click()
    expect(dialog.get_by_role("alert")).to_contain_text("keys")
    one.forgive("status of 409")
    page.keyboard.press("Escape")
    page.locator(item(other)).get_by_role("button", name="Accept this key").click()
    page.locator("dialog[open]").get_by_role("button", name="Accept this key").click()
    expect(page.locator(item(other))).to_contain_text("accepted")
    assert other.enrol().status_code == 200
    assert asking.enrol().status_code != 200


def test_keys_and_certificates_are_revoked_by_an_admin_alone(
    house: House, asking: EstDevice, window: MakeWindow
) -> None:
    house.post("devices/accept", {"ids": [asking.name]})
    assert asking.enrol().status_code == 200
    refused_to_others(window, asking, "Revoke")
    one = window(Role.ADMIN)
    page = one.open(f"/devices/{asking.name}")
    certificate = page.locator("[id^=certificate-]")
    certificate.get_by_role("button", name="Revoke", exact=True).click()
    dialog = page.locator("dialog[open]")
    dialog.get_by_label("Reason").select_option("superseded")
    dialog.get_by_role("button", name="Revoke", exact=True).click()
    expect(certificate).to_contain_text("superseded")
    expect(certificate.locator(".badge")).to_have_text("revoked")
    page.locator(item(asking)).get_by_role("button", name="Revoke", exact=True).click()
    page.locator("dialog[open]").get_by_role("button", name="Revoke", exact=True).click()
    expect(page.locator(item(asking)).locator(".badge")).to_have_text("revoked")
    assert asking.enrol().status_code != 200


def test_who_left_the_fleet_is_let_ask_again_by_an_admin_alone(
    house: House, asking: EstDevice, window: MakeWindow, tmp_path: Path
) -> None:
    house.post("devices/accept", {"ids": [asking.name]})
    house.post(f"devices/{asking.name}/decommission")
    refused_to_others(window, asking, "Recommission")
    one = window(Role.ADMIN)
    page = one.open(f"/devices/{asking.name}")
    one.act("Recommission")
    expect(page.locator("#head .badge").first).to_have_text("pending")
    assert house.get(f"devices/{asking.name}")["state"] == "pending"
    again = asks(house, tmp_path, asking.name)
    one.act("Accept")
    expect(page.locator("#head .badge").first).to_have_text("accepted")
    assert again.enrol().status_code == 200


def test_all_that_wait_are_accepted_in_one_go_but_not_by_a_viewer(
    house: House, window: MakeWindow, tmp_path: Path
) -> None:
    viewer, one = window(Role.VIEWER), window(Role.OPERATOR)
    devices = [asks(house, tmp_path, f"lathe-{number}") for number in range(3)]
    viewer.open("/devices")
    assert "For operators" in viewer.refusal("Accept all pending")
    page = one.open("/devices")
    one.act("Accept all pending")
    expect(page.locator("#waiting")).not_to_contain_text("for somebody")
    assert {device.enrol().status_code for device in devices} == {200}
