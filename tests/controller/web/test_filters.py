"""What the filter editor is told while somebody types."""

from __future__ import annotations

from tests.controller.api.served import Served
from tests.controller.web.looking import Looker
from tests.controller.web.visitor import Visitor


def test_a_filter_is_answered_with_whom_it_chooses_first(guarded: Served, viewer: Looker) -> None:
    ids = [f"matched-{number}" for number in range(7)]
    guarded.accept(*ids)
    guarded.post("devices/tags", {"ids": ids, "given": {"line": "7"}})
    found = viewer.ask("/filters", params={"where": "tags.line=7 and x != 1"}).json()
    assert found == {"where": "tags.line = 7 and x != 1", "devices": 7, "unknown": ["x"], "first": ids[:5]}


def test_a_mistake_is_an_answer_with_its_column(viewer: Looker) -> None:
    answer = viewer.ask("/filters", params={"where": "tags.line = 7 adn x = 1"})
    assert answer.status_code == 200
    found = answer.json()
    assert found["column"] == 15
    assert found["wrong"].startswith("The filter cannot be read at column 15")
    assert "\n" not in found["wrong"]


def test_names_are_written_as_filters_write_them(guarded: Served, viewer: Looker) -> None:
    guarded.accept("named-1")
    guarded.post("devices/tags", {"ids": ["named-1"], "given": {"site": "north"}})
    names = viewer.ask("/filters/names").json()
    assert {"tags.site", "device_type", "online"} <= set(names)
    assert names == sorted(names)


def test_strangers_are_told_nothing(guarded: Served) -> None:
    answer = Visitor(guarded).get("/filters", params={"where": "x = 1"})
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/sign-in")
