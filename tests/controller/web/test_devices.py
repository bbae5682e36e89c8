"""The list of devices."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from sqlalchemy import insert, update

from tests.controller.api.served import Served
from tests.controller.web.looking import HOSTILE, Element, Looker
from tests.support.device import Device
from wainwright_controller.records import DeviceKey
from wainwright_controller.rows import DEVICE, KEY, to_row
from wainwright_controller.web import devices, live

NEVER_S = 3600.0  # while a test lasts


def rows(page: Element) -> list[str]:
    """Return the ids of the devices that a list shows."""
    return [one["value"] for one in page.one("div", id="list").all("input", data_choice="")]


@pytest.fixture(scope="module")
def fleet(guarded: Served) -> list[str]:
    """Devices of which the list needs two pages."""
    ids = [f"fleet-{number:02}" for number in range(devices.ROWS + 10)]
    guarded.accept(*ids)
    return ids


@pytest.fixture
def pending(guarded: Served) -> Iterator[str]:
    """A device about which nobody has decided."""
    with Device(guarded.broker.port, "newcomer-1") as device:
        device.check_in()
        yield device.id


def test_a_long_list_has_pages(viewer: Looker, fleet: list[str]) -> None:
    first = viewer.page("/devices?q=fleet-")
    assert rows(first) == fleet[: devices.ROWS]
    assert "50 of 60 devices" in first.one("nav", aria_label="Pages").text
    second = viewer.page("/devices" + first.one("a", rel="next")["href"])
    assert rows(second) == fleet[devices.ROWS :]
    assert second.all("a", rel="next") == []


def test_filters_choose_and_stay_in_the_form(guarded: Served, viewer: Looker, fleet: list[str]) -> None:
    guarded.post("devices/tags", {"ids": fleet[3:5], "given": {"site": "north"}})
    guarded.post("groups", {"name": "some", "ids": fleet[4:6]})
    page = viewer.page('/devices?where=tags.site = "north"&group=some&state=accepted&online=no')
    assert rows(page) == fleet[4:5]
    assert page.one("input", name="where")["value"] == 'tags.site = "north"'
    assert [one.text for one in page.one("select", name="state").all("option", selected="")] == ["accepted"]
    assert page.one("a", href="/groups/some").text == "some"
    assert rows(viewer.page("/devices?q=fleet-&online=yes")) == []


def test_a_filter_that_cannot_be_read_is_told_where_it_is_typed(viewer: Looker) -> None:
    page = viewer.page("/devices?where=tags.site %3D")
    assert "cannot be read at column 12" in page.one("div", id="list").text
    assert page.one("input", name="where")["value"] == "tags.site ="
    assert viewer.ask("/devices?cursor=nonsense").status_code == 422


def test_who_waits_is_called_out_and_only_operators_decide(viewer: Looker, operator: Looker, pending: str) -> None:
    page = operator.page("/devices?state=pending")
    assert pending in rows(page)
    assert "waits for somebody" in page.one("div", id="waiting").text
    assert page.one("dialog", id="accept-pending").one("form")["data-call"] == "POST /api/v1/devices/accept"
    page = viewer.page("/devices")
    for name in ("accept-pending", "accept-chosen", "reject-chosen", "tag-chosen", "add-chosen"):
        assert page.one("button", id=f"open-{name}")["data-refused"].startswith("For operators")
        assert page.all("dialog", id=name) == []


def test_who_asks_with_a_second_key_is_called_out(guarded: Served, viewer: Looker, fleet: list[str]) -> None:
    with guarded.controller.store.write() as connection:
        connection.execute(insert(KEY), to_row(DeviceKey(device_id=fleet[0], digest="ab" * 32)))
    waiting = viewer.page("/devices").one("div", id="waiting")
    assert "asks for a certificate with a key that nobody knows" in waiting.text
    assert waiting.one("a", href=f"/devices/{fleet[0]}#keys").text == fleet[0]


def test_what_a_device_says_of_itself_is_text(guarded: Served, viewer: Looker, fleet: list[str]) -> None:
    with guarded.controller.store.write() as connection:
        values = {"device_type": HOSTILE, "artifact_name": HOSTILE}
        connection.execute(update(DEVICE).where(DEVICE.c.id == fleet[7]).values(values))
    row = viewer.page("/devices?q=fleet-07").one("tr", id="device-fleet-07")
    assert row.all("script") == row.all("img") == []
    assert row.one("td", data_label="Type").text == HOSTILE


def test_presence_is_seen_at_once(guarded: Served, viewer: Looker, monkeypatch: pytest.MonkeyPatch) -> None:
    """And not when the page is looked at again because of the time: how soon, benchmarks/pages.py measures."""
    monkeypatch.setattr(live, "IDLE_LOOK_S", NEVER_S)
    with viewer.following("/devices?q=live-") as stream, Device(guarded.broker.port, "live-1") as device:
        stream.wait_for("region", "No device is like that")
        device.check_in()
        stream.wait_for("region", "live-1")
        for online in (True, False):
            time.sleep(1.2)  # nothing else is under way: this is told by itself, not by the look that it came beside
            device.announce(online=online)
            word = "online" if online else "offline"
            stream.wait_for("rows", f'>{word}</span> <span class="quiet">since')
