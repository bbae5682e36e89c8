"""The page of one device."""

from __future__ import annotations

import pytest
from sqlalchemy import insert, update

from tests.controller.api.served import Json, Served
from tests.controller.web.looking import HOSTILE, Element, Looker
from tests.support.device import Device
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.records import Certificate, CertificateKind, DeviceKey, KeyState
from wainwright_controller.rows import CERTIFICATE, DEVICE, EVENT, KEY, LOG_LINE, to_row
from wainwright_controller.web import device as module


@pytest.fixture(scope="module")
def failed(guarded: Served) -> Json:
    """A deployment in which panel-07 has failed."""
    guarded.release("panel-2")
    guarded.accept("panel-07")
    made = guarded.deploy("panel-2", "panel-07", name="the one that failed")
    guarded.carry_out(made["id"], "panel-07", status=DeviceStatus.FAILURE, why=("no-space", HOSTILE))
    return made


def log(guarded: Served, deployment_id: str, count: int) -> None:
    """Store lines of panel-07's log, the last one hostile."""
    lines = [f"line {number}." for number in range(count - 1)] + [HOSTILE]
    rows = [
        {"deployment_id": deployment_id, "device_id": "panel-07", "attempt": 1}
        | {"number": number, "at": 1e9 + number, "level": "info", "text": text}
        for number, text in enumerate(lines)
    ]
    with guarded.controller.store.write() as connection:
        connection.execute(insert(LOG_LINE), rows)


def opener(page: Element, name: str) -> Element:
    """Return the button that opens a dialog."""
    return page.one("button", id=f"open-{name}")


def test_it_shows_why_and_what_has_happened(guarded: Served, viewer: Looker, failed: Json) -> None:
    page = viewer.page("/devices/panel-07")
    why = guarded.get("devices/panel-07/why")
    assert why["text"] in page.one("div", id="why").text
    part = page.one("tr", id=f"part-{failed['id']}")
    assert part.one("a", href=f"/deployments/{failed['id']}").text == "the one that failed"
    assert f"no-space: {HOSTILE}" in part.text
    assert "failure (no-space" in page.one("div", id="timeline").text
    assert page.all("img", src="x") == []
    assert len(page.all("script")) == 2


def test_a_log_is_shown_where_its_address_says(guarded: Served, viewer: Looker, failed: Json) -> None:
    log(guarded, failed["id"], module.LOG_ROWS + 5)
    assert viewer.page("/devices/panel-07").one("div", id="log").text == ""
    address = f"/devices/panel-07?log={failed['id'][:8]}"
    place = viewer.page(address).one("div", id="log")
    lines = place.all("li")
    assert len(lines) == module.LOG_ROWS
    assert HOSTILE in lines[-1].text
    assert lines[0]["id"] == "line-1-5"
    earlier = next(one["href"] for one in place.all("a") if one.text == "Earlier lines")
    assert earlier.endswith("#log")
    lines = viewer.page("/devices/panel-07" + earlier.removesuffix("#log")).one("div", id="log").all("li")
    assert [one["id"] for one in lines] == [f"line-1-{number}" for number in range(5)]


def test_a_log_whose_deployment_is_gone_leaves_the_page_whole(viewer: Looker, failed: Json) -> None:
    page = viewer.page("/devices/panel-07?log=ffff0000")
    assert "No such deployment" in page.one("div", id="log").text
    assert failed["name"] in page.one("div", id="history").text


def test_actions_are_by_role_and_by_state(guarded: Served, viewer: Looker, operator: Looker, admin: Looker) -> None:
    guarded.accept("role-1")
    page = viewer.page("/devices/role-1")
    refusals = {name: opener(page, name)["data-refused"] for name in ("reject", "check-in", "tag", "decommission")}
    assert {one.split(";")[0] for one in refusals.values()} == {"For operators", "For admins"}
    page = operator.page("/devices/role-1")
    assert opener(page, "decommission")["data-refused"].startswith("For admins")
    assert page.one("dialog", id="check-in").one("input", name="ids")["value"] == "role-1"
    dialog = admin.page("/devices/role-1").one("dialog", id="decommission")
    assert dialog.one("form")["data-call"] == "POST /api/v1/devices/role-1/decommission"
    assert dialog.all("input", data_confirm="role-1")
    guarded.post("devices/role-1/decommission")
    page = admin.page("/devices/role-1")
    assert opener(page, "decommission")["data-refused"] == "It is decommissioned."
    assert opener(page, "check-in")["data-refused"] == "It is decommissioned."
    assert not page.all("dialog", id="accept"), "the API refuses that"
    assert page.all("dialog", id="recommission")
    assert opener(operator.page("/devices/role-1"), "recommission")["data-refused"].startswith("For admins")


def test_what_others_wrote_is_text(guarded: Served, viewer: Looker) -> None:
    guarded.accept("hostile-1")
    guarded.post("devices/tags", {"ids": ["hostile-1"], "given": {"note": HOSTILE}})
    guarded.post("groups", {"name": '"><script>x', "ids": ["hostile-1"]})
    with guarded.controller.store.write() as connection:
        values = {"device_type": HOSTILE, "attributes": '{"<b>": ["' + HOSTILE.replace('"', "") + '", "7"]}'}
        connection.execute(update(DEVICE).where(DEVICE.c.id == "hostile-1").values(values))
        event = {"at": 1.0, "kind": "device", "text": HOSTILE, "actor": HOSTILE, "device_id": "hostile-1"}
        connection.execute(insert(EVENT), event)
    page = viewer.page("/devices/hostile-1")
    assert page.all("img", src="x") == page.all("b") == []
    assert len(page.all("script")) == 2
    assert HOSTILE in page.one("div", id="tags").text
    assert f"{HOSTILE}, 7" in page.one("div", id="inventory").text
    assert page.one("div", id="timeline").text.count(HOSTILE) == 3  # the tag, the event, who it was
    assert [one.text for one in page.one("div", id="facts").all("a", dir="auto")] == ['"><script>x']


def test_keys_and_certificates_say_what_they_are_good_for(guarded: Served, operator: Looker, admin: Looker) -> None:
    guarded.accept("keyed-1")
    now = guarded.controller.context.clock()
    certificate = Certificate(
        serial="0a" * 20,
        kind=CertificateKind.DEVICE,
        name="keyed-1",
        key_digest="aa" * 32,
        issuer="1",
        begins_at=now - 10,
        ends_at=now + 1000,
        issued_at=now,
        issued_by="device",
        pem="",
    )
    old = {"serial": "0b" * 20, "ends_at": now - 1}
    with guarded.controller.store.write() as connection:
        pending = DeviceKey(device_id="keyed-1", digest="bb" * 32, asked_at=now, address=HOSTILE)
        accepted = DeviceKey(device_id="keyed-1", digest="aa" * 32, state=KeyState.ACCEPTED, asked_at=now - 5)
        connection.execute(insert(KEY), [to_row(pending), to_row(accepted)])
        connection.execute(insert(CERTIFICATE), [to_row(certificate), to_row(certificate) | old])
    keys = operator.page("/devices/keyed-1").one("div", id="keys")
    assert keys.all("img") == []
    accept = keys.one("dialog", id="accept-key-" + "b" * 16)
    assert accept.one("input", name="key")["value"] == "bb" * 32
    assert accept.one("form")["data-call"] == "POST /api/v1/devices/keyed-1/accept-key"
    assert opener(keys, "revoke-key-" + "a" * 16)["data-refused"].startswith("For admins")
    assert "valid" in keys.one("div", id="certificate-" + "0a" * 20).text
    assert "expired" in keys.one("div", id="certificate-" + "0b" * 20).text
    page = admin.page("/devices/keyed-1")
    assert page.one("dialog", id="revoke-" + "0a" * 20).all("select", name="reason")
    assert page.all("dialog", id="revoke-" + "0b" * 20) == []


def test_long_histories_have_pages(guarded: Served, viewer: Looker) -> None:
    guarded.accept("long-1")
    events = [
        {"at": float(n), "kind": "device", "text": f"event {n}.", "actor": "device", "device_id": "long-1"}
        for n in range(2 * module.TIMELINE_ROWS)
    ]
    with guarded.controller.store.write() as connection:
        connection.execute(insert(EVENT), events)
    timeline = viewer.page("/devices/long-1").one("div", id="timeline")
    assert [one.attributes["id"] for one in timeline.all("li")] == sorted(
        (one.attributes["id"] for one in timeline.all("li")), key=lambda i: -int(i.split("-")[1])
    )
    assert len(timeline.all("li")) == module.TIMELINE_ROWS
    older = next(one["href"] for one in timeline.all("a") if one.text == "Older").removesuffix("#timeline")
    assert "event 24." in viewer.page("/devices/long-1" + older).one("div", id="timeline").all("li")[0].text


def test_the_page_follows_the_device(guarded: Served, viewer: Looker) -> None:
    guarded.accept("followed-1")
    with viewer.following("/devices/followed-1") as stream, Device(guarded.broker.port, "followed-1") as device:
        stream.wait_for("region", "No deployment concerns it")
        device.announce()
        stream.wait_for("region", ">online<")
        guarded.post("devices/tags", {"ids": ["followed-1"], "given": {"site": "south"}})
        assert "tags" in stream.wait_for("region", "south").data


def test_a_device_that_nobody_has_heard_of_is_told_as_a_page(viewer: Looker) -> None:
    answer = viewer.ask("/devices/nobody-1")
    assert answer.status_code == 404
    assert "No such device: nobody-1" in answer.text
