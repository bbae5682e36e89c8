"""The list of groups, and the page of one."""

from __future__ import annotations

from urllib.parse import quote

from tests.controller.api.served import Served
from tests.controller.web.looking import HOSTILE, Element, Looker
from tests.support.wait import wait_until
from wainwright_controller.web.devices import ROWS

EVIL = HOSTILE.replace("/", "\N{DIVISION SLASH}")  # names of groups have no slash


def refusals(page: Element, *names: str) -> list[str]:
    """Return why actions are not possible, "" where they are."""
    return [page.one("button", id=f"open-{name}").attributes.get("data-refused", "") for name in names]


def test_both_kinds_are_listed_with_their_members(guarded: Served, viewer: Looker) -> None:
    guarded.accept("listed-1", "listed-2")
    guarded.post("groups", {"name": "two", "ids": ["listed-1", "listed-2"]})
    guarded.post("groups", {"name": "first", "where": 'device_id ~ "^listed-.$" and not group = "x"'})
    page = viewer.page("/groups")
    rows = {one.one("th").text: one for one in page.one("div", id="list").one("tbody").all("tr")}
    assert rows["two"].one("td", data_label="Members").text == "2"
    assert rows["first"].one("td", data_label="Members").text == "2"
    assert rows["first"].one("code").text == 'device_id ~ "^listed-.$" and not group = "x"'
    assert "For operators" in rows["two"].one("button")["data-refused"]
    assert viewer.page("/groups?q=tw").one("div", id="list").text.count("two") == 1


def test_an_operator_deploys_to_a_group_from_the_list_and_from_its_page(guarded: Served, operator: Looker) -> None:
    guarded.post("groups", {"name": "north & south", "ids": []})
    for path in ("/groups?q=north", f"/groups/{quote('north & south')}"):
        assert operator.page(path).all("a", href="/deployments/new?group=north+%26+south")


def test_a_static_group_takes_and_gives_devices(guarded: Served, operator: Looker) -> None:
    ids = [f"member-{number:03}" for number in range(ROWS + 1)]
    guarded.accept(*ids)
    guarded.post("groups", {"name": "members", "ids": ids})
    page = operator.page("/groups/members")
    assert [one["value"] for one in page.all("input", data_choice="")] == ids[:-1]
    after = operator.page("/groups/members" + page.one("a", rel="next")["href"])
    assert [one["value"] for one in after.all("input", data_choice="")] == ids[-1:]
    assert page.one("dialog", id="add").one("form")["data-call"] == "POST /api/v1/groups/members/add"
    assert page.one("dialog", id="remove-chosen").one("form")["data-call"] == "POST /api/v1/groups/members/remove"
    assert page.all("button", id="open-filter") == []
    assert operator.page("/groups/members?q=002").one("div", id="list").one("tbody").one("th").text == ids[2]


def test_a_dynamic_group_changes_its_filter(guarded: Served, operator: Looker, viewer: Looker) -> None:
    guarded.post("groups", {"name": "dynamic", "where": 'tags.site = "<b>"'})
    page = operator.page("/groups/dynamic")
    form = page.one("dialog", id="filter").one("form")
    assert form["data-call"] == "PUT /api/v1/groups/dynamic/filter"
    assert form.one("textarea").text == 'tags.site = "<b>"'
    assert page.all("div", id=form.one("textarea")["data-filter"])
    assert page.all("button", id="open-add") == page.all("input", data_choice="") == []
    assert all(one.startswith("For operators") for one in refusals(viewer.page("/groups/dynamic"), "filter", "delete"))


def test_names_are_text_and_lead_to_their_group(guarded: Served, operator: Looker) -> None:
    for name in (EVIL, "\u0645\u062c\u0645\u0648\u0639\u0629", "x" * 128, "a?b#c%2F"):
        guarded.post("groups", {"name": name})
        page = operator.page(f"/groups/{quote(name, safe='')}")
        assert page.one("h1").text == name
        assert len(page.all("script")) == 3
        call = page.one("dialog", id="delete").one("form")["data-call"]
        assert call == f"DELETE /api/v1/groups/{quote(name, safe='')}"
        assert [one.text for one in operator.page("/groups").all("a", href=f"/groups/{quote(name, safe='')}")] == [name]


def test_the_page_follows_its_members_and_says_that_it_is_gone(guarded: Served, viewer: Looker) -> None:
    guarded.accept("joins-1")
    guarded.post("groups", {"name": "joined", "ids": []})
    with viewer.following("/groups/joined") as stream:
        stream.wait_for("region", "It has no members")
        guarded.post("groups/joined/add", {"ids": ["joins-1"]})
        stream.wait_for("region", "joins-1")
        assert guarded.call("DELETE", "/api/v1/groups/joined").ok
        stream.wait_for("gone", "No such group: joined")
    assert viewer.ask("/groups/joined").status_code == 404


def test_the_list_follows_its_groups_and_their_members(guarded: Served, viewer: Looker) -> None:
    guarded.accept("counted-1", "counted-2")
    with viewer.following("/groups?q=counted") as stream:
        stream.wait_for("region", "No group is called so")
        guarded.post("groups", {"name": "counted by name", "where": 'device_id ~ "^counted-" and tags.hall = "7"'})
        stream.wait_for("region", "counted by name")
        guarded.post("devices/tags", {"ids": ["counted-1", "counted-2"], "given": {"hall": "7"}})
        stream.wait_for("rows", "<span>2</span>")
        assert guarded.call("DELETE", "/api/v1/groups/counted by name").ok
        wait_until(lambda: "No group is called so" in str(stream.heard[-1].data), what="the group to be gone")
