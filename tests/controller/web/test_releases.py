"""The list of releases, and the page of one."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import quote

import pytest

from tests.common.artifact.build import Recipe, header_info, type_info
from tests.controller.api.served import Served, artifact
from tests.controller.web.looking import HOSTILE, Element, Looker
from tests.controller.web.visitor import Visitor
from tests.support.device import Device
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.web import live, releases

NEVER_S = 3600.0  # while a test lasts
LONG = "n" * 256  # as long as names get
NAMES = ["plain-1", 'quo"ted\\', "with/slash", "with space", HOSTILE, "עברית", LONG]


def rows(page: Element) -> list[str]:
    """Return the names of the releases that a list shows."""
    return [one.one("th", scope="row").text for one in page.one("div", id="list").all("tr")[1:]]


def address(name: str) -> str:
    return f"/releases/{quote(name, safe='')}"


@pytest.fixture(scope="module")
def many(guarded: Served) -> list[str]:
    """Releases of which the list needs two pages."""
    names = [f"many-{number:02}" for number in range(releases.ROWS + 5)]
    for name in names:
        guarded.release(name)
    return names


@pytest.fixture(scope="module")
def named(guarded: Served) -> list[str]:
    """Releases whose names try what names may be."""
    for name in NAMES:
        guarded.release(name)
    return NAMES


def test_a_list_without_releases_says_how_to_make_the_first(served: Served) -> None:
    page = Looker(Visitor(served)).page("/releases")
    assert "There is no release yet" in page.one("div", id="list").text
    assert "wainwright artifact create" in page.one("div", id="list").text


def test_a_long_list_has_pages_and_a_search(viewer: Looker, many: list[str]) -> None:
    first = viewer.page("/releases?q=many-")
    assert rows(first) == many[: releases.ROWS]
    assert "50 of 55 releases" in first.one("nav", aria_label="Pages").text
    second = viewer.page("/releases" + first.one("a", rel="next")["href"])
    assert rows(second) == many[releases.ROWS :]
    assert rows(viewer.page("/releases?q=MANY-07")) == ["many-07"]
    assert "No release has that" in viewer.page("/releases?q=%25").one("div", id="list").text
    assert viewer.ask("/releases?cursor=nonsense").status_code == 422


def test_a_row_says_what_a_release_is(guarded: Served, viewer: Looker) -> None:
    for kind in ("pi4", "pi5", "press", "oven", "belt"):
        guarded.release("rowed-1", kind)
    row = viewer.page("/releases?q=rowed-1").one("div", id="list").all("tr")[1]
    told = {one["data-label"]: one.text for one in row.all("td")}
    assert told["Artifacts"] == "5"
    assert told["Device types"] == "belt, oven, pi4, pi5 and 1 more"
    assert told["Running"] == "none"
    assert told["Size"].endswith("kB")


def test_only_operators_upload(viewer: Looker, operator: Looker) -> None:
    page = operator.page("/releases")
    assert page.one("input", id="files")["type"] == "file"
    assert "data-lacks" not in page.one("section", id="uploads").attributes
    page = viewer.page("/releases")
    assert page.one("section", id="uploads")["data-lacks"].startswith("For operators")
    assert page.all("input", id="files") == []


def test_an_upload_with_the_pages_csrf_value_is_kept_and_shows_at_once(
    operator: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As releases.js sends it; without the value it is refused, and the list stays as it was."""
    monkeypatch.setattr(live, "IDLE_LOOK_S", NEVER_S)  # nor is the page looked at again because of the time
    blob = artifact("dropped-1")
    headers = {"Content-Type": "application/octet-stream"}
    with operator.following("/releases?q=dropped-") as stream:
        stream.wait_for("region", "No release has that")
        refused = operator.visitor.call("POST", "/artifacts", data=blob, headers=headers)
        assert refused.status_code == 403
        csrf = operator.visitor.csrf("/releases")
        assert operator.visitor.call("POST", "/artifacts", csrf, data=blob, headers=headers).status_code == 201
        stream.wait_for("region", "dropped-1")
        again = operator.visitor.call("POST", "/artifacts", csrf, data=blob, headers=headers)
        assert (again.status_code, again.json()["code"]) == (409, "artifact-exists")


@pytest.mark.parametrize("name", NAMES, ids=lambda name: repr(name)[:24])
def test_every_name_leads_to_its_release(viewer: Looker, operator: Looker, named: list[str], name: str) -> None:
    assert name in named
    listed = viewer.page(f"/releases?q={quote(name)}").one("div", id="list")
    assert name in [one.text for one in listed.all("a")]
    assert address(name) in [one["href"] for one in listed.all("a")]
    page = operator.page(address(name))
    assert page.one("h1").text == name
    assert len(page.all("input", data_confirm=name)) == 1
    deploy = f"/deployments/new?release={quote(name, safe='').replace('%20', '+')}"
    assert page.one("a", href=deploy).text == "Deploy this release"
    assert operator.page(deploy).one("input", name="release")["value"] == name


def test_a_release_that_is_not_there_is_not_found(viewer: Looker) -> None:
    assert viewer.ask("/releases/nothing").status_code == 404


def test_an_artifact_tells_what_it_is_and_can_be_had(guarded: Served, viewer: Looker, operator: Looker) -> None:
    info = header_info(artifact_provides={"artifact_name": "told-1"}, artifact_depends={"device_type": ["pi4", "pi5"]})
    blob = replace(Recipe(), header_info=info, type_info=type_info(artifact_depends={"board": ["a", HOSTILE]})).blob()
    made = guarded.upload(blob).json()
    page = operator.page("/releases/told-1")
    shown = page.one("article", id=f"artifact-{made['id']}")
    assert made["sha256"] in shown.text
    assert "not signed" in shown.text
    assert f"board: a, {HOSTILE}" in shown.text
    assert f"{made['size']:,} bytes" in shown.text
    link = shown.one("a", download="")["href"]
    assert operator.ask(link).content == blob
    assert viewer.ask(link).ok
    assert viewer.page("/releases/told-1").one("h3").text == "For pi4, pi5"


def test_who_runs_it_is_told_by_type_and_leads_to_those_devices(
    guarded: Served, viewer: Looker, named: list[str]
) -> None:
    name = named[1]
    guarded.accept("runner-1")
    with Device(guarded.broker.port, "runner-1", running=name) as device:
        device.check_in()
    running = viewer.page(address(name)).one("div", id="running")
    assert "1 device, as of" in running.text
    for link in running.all("a"):
        page = viewer.page(link["href"])
        assert [one["value"] for one in page.all("input", data_choice="")] == ["runner-1"]
    assert len(running.all("a")) == 2
    assert guarded.get(f"releases/{quote(name, safe='')}")["running"] == 1


def test_a_release_in_use_cannot_be_deleted_and_says_why(guarded: Served, viewer: Looker, operator: Looker) -> None:
    guarded.release("needed-1", "unlike")
    guarded.accept("needy-1")
    made = guarded.deploy("needed-1", "needy-1", name="needs it")
    page = operator.page("/releases/needed-1")
    assert page.one("button", id="open-delete")["data-refused"].startswith("needs it, which has not finished")
    assert page.one("div", id="needed").one("a", href=f"/deployments/{made['id']}").text == "needs it"
    assert page.all("dialog", id="delete") == []
    assert viewer.page("/releases/needed-1").one("button", id="open-delete")["data-refused"].startswith("For operators")
    with operator.following("/releases/needed-1") as stream:
        stream.wait_for("region", "needs it")
        guarded.post(f"deployments/{made['id']}/abort")
        stream.wait_for("region", "DELETE /api/v1/releases/needed-1")
        csrf = operator.visitor.csrf()
        assert operator.visitor.call("DELETE", "/releases/needed-1", csrf).status_code == 204
        assert "needed-1" in stream.wait_for("gone").data["text"]


def test_a_deployment_that_carried_it_out_needs_it_no_more(guarded: Served, operator: Looker) -> None:
    guarded.release("done-1")
    guarded.accept("doer-1")
    made = guarded.deploy("done-1", "doer-1")
    guarded.carry_out(made["id"], "doer-1", status=DeviceStatus.SUCCESS)
    assert operator.page("/releases/done-1").one("dialog", id="delete").one("form")["data-to"] == "/releases"
