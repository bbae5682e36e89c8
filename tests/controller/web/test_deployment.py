"""The page of one deployment: what it shows, what its buttons say, and that it follows what happens."""

from __future__ import annotations

import re
from html import unescape

import pytest
from sqlalchemy import insert

from tests.controller.api.served import Json, Served
from tests.controller.web.conftest import TOKEN, user
from tests.controller.web.visitor import Stream, Visitor
from tests.support.wait import wait_until
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.records import Deployment, Device, DeviceDeployment, Strategy
from wainwright_controller.rows import DEPLOYMENT, DEVICE, PART, to_row
from wainwright_controller.rules.actions import Act
from wainwright_controller.store import Store
from wainwright_controller.web.curve import HEIGHT, STEPS, curve_of

IDS = [f"press-{number}" for number in range(1, 7)]


@pytest.fixture(scope="module")
def canary(guarded: Served) -> Json:
    """A canary of six devices, the first phase of two: one has it, one failed."""
    guarded.release()
    guarded.accept(*IDS)
    phases = [{"count": 2}, {"opens": "approval"}]
    made = guarded.deploy("panel-2", *IDS, name="spring", phases=phases, strategy="canary", retries=0)
    guarded.carry_out(made["id"], "press-1")
    guarded.carry_out(made["id"], "press-2", status=DeviceStatus.FAILURE, why=("install-failed", "no room in <opt>"))
    return made


@pytest.fixture
def admin(guarded: Served) -> Visitor:
    """Somebody who may do everything."""
    return Visitor.signed_in(guarded, TOKEN)


@pytest.fixture(scope="module")
def viewer(guarded: Served) -> Visitor:
    """Somebody who may look."""
    return Visitor.signed_in(guarded, user(guarded, "looker", "viewer")["token"])


def buttons(html: str) -> dict[str, str]:
    """Return the actions of a page, and why each is not possible; "" for those that are."""
    found = re.findall(r'<button type="button" class="\w*" id="open-act-([\w-]+)" ([^>]*)>', html)
    refusals = {act: re.search(r'data-refused="([^"]*)"', rest) for act, rest in found}
    return {act: unescape(refusal[1]) if refusal else "" for act, refusal in refusals.items()}


def region(html: str, name: str) -> str:
    """Return what stands in a region, up to the next one that is as far inside."""
    return html.split(f'<div id="{name}">', 1)[1].split("</section>", maxsplit=1)[0]


def test_it_shows_how_far_each_phase_is_and_why_devices_failed(admin: Visitor, canary: Json) -> None:
    html = admin.get(f"/deployments/{canary['id']}").text

    assert "1/6 successful" in region(html, "progress")
    first, second = re.findall(r'<tr id="phase-\d">.*?</tr>', html, re.DOTALL)
    assert "1 success, 1 failure; 2 in all" in first
    assert "waits for" in second
    failures = region(html, "failures")
    assert "no room in &lt;opt&gt;" in failures
    assert f"/devices/press-2?log={canary['id']}#log" in failures
    assert "2 of 6 devices have finished, 1 of them with the release" in region(html, "curve")


def test_a_name_and_the_beginning_of_an_id_lead_to_it_as_well(admin: Visitor, canary: Json) -> None:
    for reference in ("spring", canary["id"][:8]):
        assert canary["id"] in admin.get(f"/deployments/{reference}").text


def test_its_buttons_are_what_the_api_allows(admin: Visitor, guarded: Served, canary: Json) -> None:
    shown = buttons(admin.get(f"/deployments/{canary['id']}").text)
    allowed = guarded.get(f"deployments/{canary['id']}")["allowed"]

    assert {act for act, refused in shown.items() if not refused} == set(allowed)
    assert shown["delete"]


def test_a_button_for_each_action_waits_for_its_time(admin: Visitor, canary: Json) -> None:
    """An automatic pause makes Resume possible on a page that was loaded before."""
    html = admin.get(f"/deployments/{canary['id']}").text
    assert set(re.findall(r'<dialog id="act-([\w-]+)"', html)) == set(Act)


def test_a_promotion_names_the_phase_that_the_page_shows_as_the_next_one(admin: Visitor, canary: Json) -> None:
    html = admin.get(f"/deployments/{canary['id']}").text
    assert re.findall(r'id="open-act-([\w-]+)"[^>]* data-sets="([^"]*)"', html) == [("promote", "phase=2")]
    assert (
        '<input type="number" name="phase" hidden>' in html.split('<dialog id="act-promote"')[1].split("</dialog>")[0]
    )


def test_what_cannot_be_undone_asks_for_the_name(admin: Visitor, canary: Json) -> None:
    html = admin.get(f"/deployments/{canary['id']}").text
    typed = {
        act for act in Act if 'data-confirm="spring"' in html.split(f'<dialog id="act-{act}"')[1].split("</dialog>")[0]
    }
    assert typed == {Act.ROLLBACK, Act.ABORT, Act.DELETE}


def test_a_viewer_sees_for_whom_each_button_is(viewer: Visitor, canary: Json) -> None:
    shown = buttons(viewer.get(f"/deployments/{canary['id']}").text)
    assert shown
    assert all(refused for refused in shown.values())
    assert "operators" in shown["promote"]


def test_devices_are_found_by_status_and_by_part_of_an_id(admin: Visitor, canary: Json) -> None:
    def listed(query: str) -> list[str]:
        return re.findall(r'<tr id="p-([^"]+)">', admin.get(f"/deployments/{canary['id']}{query}").text)

    assert listed("") == IDS
    assert listed("?status=failure") == ["press-2"]
    assert listed("?status=failure&status=success") == ["press-1", "press-2"]
    assert listed("?q=SS-4") == ["press-4"]
    assert listed("?q=%25") == []
    assert listed("?status=no-such-status") == IDS


def test_a_page_that_is_open_follows_what_somebody_else_does(admin: Visitor, guarded: Served, canary: Json) -> None:
    address = unescape(admin.get(f"/deployments/{canary['id']}").text.split('data-live="', 1)[1].split('"', 1)[0])
    with Stream(admin, address) as stream:
        stream.wait_for("region", "Promote canary")
        guarded.post(f"deployments/{canary['id']}/pause", {"reason": "looking into it"})
        stream.wait_for("region", "looking into it")
        guarded.post(f"deployments/{canary['id']}/resume")
        guarded.post(f"deployments/{canary['id']}/promote")
        guarded.carry_out(canary["id"], "press-3")
        assert "p-press-3" in stream.wait_for("rows", "success").data


def test_its_configuration_says_that_devices_may_install_now(guarded: Served, admin: Visitor) -> None:
    guarded.release("staged-1")
    guarded.accept("stager-1")
    made = guarded.deploy("staged-1", "stager-1", policy={"download_only": True})
    assert "do not install before" in region(admin.get(f"/deployments/{made['id']}").text, "configuration")
    with Stream(admin, f"/live?view=deployment&id={made['id']}") as stream:
        stream.wait_for("region", "do not install before")
        guarded.post(f"deployments/{made['id']}/install", {})

        def told() -> bool:
            regions = [one.data for one in stream.heard if one.kind == "region" and "configuration" in one.data]
            return bool(regions) and "do not install" not in str(regions[-1])

        wait_until(told, what="the configuration as it is now")


def test_a_page_of_what_was_deleted_says_so(admin: Visitor, guarded: Served) -> None:
    made = guarded.deploy("panel-2", "press-6", name="short-lived", manual=True)
    with Stream(admin, f"/live?view=deployment&id={made['id']}") as stream:
        stream.wait_for("region")
        guarded.post(f"deployments/{made['id']}/abort")
        assert guarded.call("DELETE", f"/api/v1/deployments/{made['id']}").ok
        assert "No such deployment" in stream.wait_for("gone").data["text"]


def test_what_waits_says_for_what(admin: Visitor, guarded: Served) -> None:
    held = guarded.deploy("panel-2", "press-5", name="held", manual=True)
    assert "It begins when a person starts it." in admin.get(f"/deployments/{held['id']}").text
    later = [{"opens": "at", "opens_at": "2099-01-01T00:00:00Z"}]
    planned = guarded.deploy("panel-2", "press-5", name="planned", phases=later)
    html = admin.get(f"/deployments/{planned['id']}").text
    assert 'Its first phase opens <time datetime="2099-01-01T00:00:00+00:00">' in html


@pytest.mark.usefixtures("canary")
def test_who_made_it_does_not_approve_it(guarded: Served) -> None:
    maker = Visitor.signed_in(guarded, user(guarded, "maker", "admin")["token"])
    order = {"release": "panel-2", "devices": ["press-6"], "name": "asked", "approval": True}
    made = maker.call("POST", "/deployments", csrf=maker.csrf(), json=order).json()

    assert "another admin" in buttons(maker.get(f"/deployments/{made['id']}").text)["approve"]
    other = Visitor.signed_in(guarded, TOKEN)
    assert buttons(other.get(f"/deployments/{made['id']}").text)["approve"] == ""


def test_the_curve_counts_who_had_finished_by_when(store: Store) -> None:
    ends = [(100.0, DeviceStatus.SUCCESS), (130.0, DeviceStatus.FAILURE), (159.9, DeviceStatus.ALREADY_INSTALLED)]
    parts = [
        DeviceDeployment(deployment_id="d", device_id=f"x{n}", sequence=1, phase=1, status=status, finished_at=at)
        for n, (at, status) in enumerate(ends)
    ]
    parts.append(DeviceDeployment(deployment_id="d", device_id="y", sequence=1, phase=1))
    made = Deployment(
        id="d",
        sequence=1,
        name="d",
        artifact_name="r",
        target="all devices",
        strategy=Strategy.CANARY,
        retries=0,
        in_progress_timeout_s=1,
        force=False,
        device_count=4,
        created_at=100.0,
        created_by="a-person",
    )
    with store.write() as connection:
        connection.execute(insert(DEVICE), [to_row(Device(id=part.device_id)) | {"attributes": "{}"} for part in parts])
        connection.execute(insert(DEPLOYMENT), to_row(made))
        connection.execute(insert(PART), [to_row(part) for part in parts])
    with store.read() as connection:
        drawn = curve_of(connection, "d", (100.0, 160.0), 4, [(1, 100.0), (2, 130.0)])
        assert curve_of(connection, "other", (100.0, 160.0), 4, []) is None

    assert drawn is not None
    assert drawn.sentence == "3 of 4 devices have finished, 2 of them with the release"
    assert heights(drawn.good) == [1] * (STEPS - 1) + [2]
    assert heights(drawn.all) == [1] * 30 + [2] * (STEPS - 31) + [3]
    assert drawn.marks == [(1, 0.0), (2, 300.0)]


def heights(path: str) -> list[int]:
    """Return how many of four devices a path shows at each step."""
    return [round(4 * (1 - float(y) / HEIGHT)) for _, y in re.findall(r"L(\S+?) ([\d.]+)", path)[:STEPS]]
