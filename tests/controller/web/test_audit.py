"""The page of the audit log."""

from __future__ import annotations

import csv
import io

import pytest

from tests.controller.api.served import Served
from tests.controller.web.looking import HOSTILE, Element, Looker
from wainwright_controller.web import audit


def entries(page: Element) -> list[Element]:
    """Return the rows of a page, newest first."""
    return [one for one in page.one("div", id="list").all("tr") if "id" in one.attributes]


def test_it_is_for_admins(viewer: Looker, operator: Looker, admin: Looker) -> None:
    for one in (viewer, operator):
        for path in ("/audit", "/audit.csv", "/live?view=audit"):
            assert one.ask(path).status_code == 403
        assert one.page("/deployments").all("a", href="/audit") == []
    assert admin.page("/deployments").all("a", href="/audit")


def test_an_entry_says_who_changed_what_from_what_to_what(guarded: Served, admin: Looker) -> None:
    guarded.accept("audited-1")
    guarded.post("devices/tags", {"ids": ["audited-1"], "given": {"site": "north", "line": "1", "same": "as before"}})
    guarded.post("devices/tags", {"ids": ["audited-1"], "given": {"site": HOSTILE}, "removed": ["line"]})
    row = entries(admin.page("/audit"))[0]
    assert row.one("td", data_label="Who").one("a").text == "configuration"
    assert row.one("td", data_label="Object").text == "tags of audited-1"
    change = row.one("ul", _class="changes")
    fields = {one.text.split(":")[0]: one for one in change.one("ul").all("li")}
    assert (fields["site"].one("del").text, fields["site"].one("ins").text) == ("north", HOSTILE)
    assert (fields["line"].one("del").text, fields["line"].one("ins").text) == ("1", "nothing")
    assert fields.keys() == {"site", "line"}, "what stayed as it was is no change"
    assert admin.page("/audit").all("img", src="x") == []


def test_filters_choose(guarded: Served, viewer: Looker, admin: Looker) -> None:
    guarded.accept("filtered-1")
    assert (
        viewer.visitor.call("POST", "/devices/reject", viewer.visitor.csrf(), json={"ids": ["filtered-1"]}).status_code
        == 403
    )
    refused = entries(admin.page("/audit?verdict=refused&who=one-viewer&action=reject"))
    assert [one.one("td", data_label="Verdict").text.split() for one in refused] == [["refused", "not-allowed"]]
    page = admin.page("/audit?object=filtered-1&action=preauth")
    assert len(entries(page)) == 1
    assert page.one("input", name="object")["value"] == "filtered-1"
    assert "No entry is like that" in admin.page("/audit?until=2020-01-01").one("div", id="list").text
    assert entries(admin.page("/audit?since=2020-01-01&until=8999-12-31"))
    for wrong in ("since=nonsense", "until=9999-12-31", "since=0001-01-01", "verdict=maybe"):
        assert entries(admin.page(f"/audit?{wrong}"))


def test_a_long_log_has_pages_and_all_of_it_is_in_the_csv(
    guarded: Served, admin: Looker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "LIMIT_MAX", 7)
    ids = [f"many-{number}" for number in range(audit.ROWS + 5)]
    for one in ids:
        guarded.accept(one)
    page = admin.page("/audit?object=many-")
    second = admin.page("/audit" + page.one("a", rel="next")["href"])
    assert (len(entries(page)), len(entries(second))) == (audit.ROWS, 5)
    answer = admin.ask(page.one("a", download="")["href"])
    assert answer.headers["content-type"].startswith("text/csv")
    lines = list(csv.DictReader(io.StringIO(answer.text)))
    assert [one["object"] for one in lines] == [f"device {one}" for one in reversed(ids)]


def test_no_cell_of_the_csv_is_a_formula(guarded: Served, admin: Looker) -> None:
    guarded.post("groups", {"name": "=1+1"})
    guarded.call("DELETE", "/api/v1/groups/=1+1")
    for line in csv.reader(io.StringIO(admin.ask("/audit.csv").text)):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in line)


def test_the_page_follows_what_people_do_and_what_they_are_refused(guarded: Served, admin: Looker) -> None:
    with admin.following("/audit?object=followed-") as stream:
        stream.wait_for("region", "No entry is like that")
        guarded.accept("followed-9")
        stream.wait_for("region", "device followed-9")
