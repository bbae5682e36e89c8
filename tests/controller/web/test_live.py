"""Live pages: what is sent, when, to whom, and that nothing is missed."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import update

from tests.controller.api.served import Served
from tests.controller.web.conftest import TOKEN, user
from tests.controller.web.visitor import Heard, Stream, Visitor
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.people import Actor, Role
from wainwright_controller.rows import TOKEN as TOKENS
from wainwright_controller.sessions import LIFETIME_S
from wainwright_controller.web import live
from wainwright_controller.web import shared as shared_looks
from wainwright_controller.web.live import changes, event
from wainwright_controller.web.rendering import Viewer, release_of_pages
from wainwright_controller.web.shared import KEPT_MAX, Region, Regions, Rendering, Shared, pause_after

DEPLOYMENTS = "/live?view=deployments"
NEVER_S = 3600.0  # while a test lasts


@pytest.fixture(scope="module", autouse=True)
def _release(guarded: Served) -> None:
    guarded.release("panel-2")


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """What nobody is told of shows soon."""
    monkeypatch.setattr(live, "IDLE_LOOK_S", 0.3)


def table(rows: Mapping[str, str], around: str = "") -> Region:
    """Return a region that is a list of rows."""
    return Region(f"<table>{''.join(rows.values())}</table>{around}", rows)


def parsed(events: list[str]) -> list[tuple[str, dict[str, str]]]:
    """Return (kind, what it brings) of events as a browser reads them."""
    found = []
    for one in events:
        kind, data, *rest = one.split("\n")
        assert rest == ["", ""]
        found.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def applied(regions: dict[str, str], rows: Mapping[str, Mapping[str, str]], events: list[str]) -> dict[str, str]:
    """Return what a page shows after events; `rows` are those that it showed before, by region."""
    shown = dict(regions)
    for kind, brought in parsed(events):
        if kind == "region":
            shown |= brought
            continue
        for region, known in rows.items():
            for row, html in brought.items():
                if row in known:
                    shown[region] = shown[region].replace(known[row], html, 1)
    return shown


def test_what_has_not_changed_is_not_sent() -> None:
    now = {"head": Region("<h1>a</h1>"), "list": table({"r1": "<tr>1</tr>"})}

    assert changes(now, dict(now)) == []
    assert parsed(changes({}, now)) == [
        ("region", {"head": "<h1>a</h1>"}),
        ("region", {"list": "<table><tr>1</tr></table>"}),
    ]


def test_of_a_list_the_rows_that_changed_are_sent() -> None:
    before = {"list": table({"r1": "<tr>1</tr>", "r2": "<tr>2</tr>"})}
    now = {"list": table({"r1": "<tr>1</tr>", "r2": "<tr>two</tr>"})}

    assert parsed(changes(before, now)) == [("rows", {"r2": "<tr>two</tr>"})]


@pytest.mark.parametrize(
    "rows",
    [
        {"r2": "<tr>2</tr>", "r1": "<tr>1</tr>"},
        {"r1": "<tr>1</tr>"},
        {"r1": "<tr>1</tr>", "r2": "<tr>2</tr>", "r3": "<tr>3</tr>"},
        {},
    ],
    ids=["another order", "fewer", "more", "none"],
)
def test_other_rows_are_another_list(rows: dict[str, str]) -> None:
    before = {"list": table({"r1": "<tr>1</tr>", "r2": "<tr>2</tr>"})}

    assert parsed(changes(before, {"list": table(rows)})) == [("region", {"list": table(rows).html})]


def test_what_stands_beside_rows_is_not_lost_when_a_row_changes_with_it() -> None:
    """The number of all deployments, below those of the first page."""
    before = {"list": table({"r1": "<tr>1</tr>"}, "1 of 25")}
    now = {"list": table({"r1": "<tr>one</tr>"}, "1 of 26")}

    assert parsed(changes(before, now)) == [("region", {"list": "<table><tr>one</tr></table>1 of 26"})]


REGIONS = st.dictionaries(
    st.sampled_from(["a", "b"]),
    st.one_of(
        st.text("xy\n", max_size=3).map(Region),
        st.tuples(
            st.dictionaries(st.sampled_from(["r1", "r2", "r3"]), st.sampled_from("1234"), max_size=3),
            st.text("z", max_size=2),
        ).map(lambda made: table({row: f'<tr id="{row}">{text}</tr>' for row, text in made[0].items()}, made[1])),
    ),
    min_size=2,
)


@given(REGIONS, REGIONS)
def test_the_events_bring_a_page_from_one_state_to_another(before: Regions, now: Regions) -> None:
    html = {name: region.html for name, region in before.items()}
    rows = {name: region.rows for name, region in before.items()}
    if set(rows["a"]) & set(rows["b"]):  # an element's id is on a page once
        rows["b"] = {}
        now = {**now, "b": Region("")}

    assert applied(html, rows, changes(before, now)) == {name: region.html for name, region in now.items()}


@given(st.text())
def test_nothing_that_a_page_shows_ends_its_event(text: str) -> None:
    assert parsed([event("region", {"a": text})]) == [("region", {"a": text})]


def html_of(found: Rendering) -> str:
    return (found.regions or {})["a"].html


def test_one_look_serves_all_who_ask_for_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_looks, "RENDERING_MAX_S", 60.0)
    shared, looks, gate = Shared(), [], threading.Event()

    def look() -> Regions:
        looks.append(1)
        assert gate.wait(PATIENCE_S)
        return {"a": Region("x")}

    found: list[Regions | None] = []
    readers = [threading.Thread(target=lambda: found.append(shared.get("page", 7, look).regions)) for _ in range(10)]
    for reader in readers:
        reader.start()
    gate.set()
    for reader in readers:
        reader.join(PATIENCE_S)
    assert (len(looks), found) == (1, [{"a": Region("x")}] * 10)


def test_a_look_is_good_until_something_is_posted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_looks, "RENDERING_MAX_S", 60.0)
    shared, answers = Shared(), iter(range(100))

    def look() -> Regions:
        return {"a": Region(str(next(answers)))}

    def get(key: str, number: int) -> str:
        return (shared.get(key, number, look).regions or {})["a"].html

    assert [get("one", 1), get("one", 1), get("one", 2), get("one", 1)] == ["0", "0", "1", "1"]
    assert get("another", 2) == "2", "another page, another role"


def test_a_look_does_not_get_old(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, answers = Shared(), iter("ab")
    monkeypatch.setattr(shared_looks, "RENDERING_MAX_S", 0.0)

    assert [shared.get(1, 1, lambda: {"a": Region(next(answers))}).regions for _ in range(2)] == [
        {"a": Region("a")},
        {"a": Region("b")},
    ]


def test_a_look_that_fails_is_nobodys() -> None:
    shared = Shared()
    with pytest.raises(ZeroDivisionError):
        shared.get(1, 1, lambda: {"a": Region(str(1 // 0))})
    assert shared.get(1, 1, lambda: {"a": Region("x")}).regions == {"a": Region("x")}


def test_what_asks_for_a_name_is_for_nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_looks, "RENDERING_MAX_S", NEVER_S)
    shared, looks = Shared(), []
    anna, bert, carl = (Actor(name, Role.ADMIN) for name in ("anna", "bert", "carl"))
    viewer = Actor("vera", Role.VIEWER)

    def same(viewer: Viewer) -> Regions:
        looks.append(viewer.role)
        return {"a": Region(f"for {viewer.role}s")}

    def personal(viewer: Viewer) -> Regions:
        return {"a": Region(f"for {viewer.name}")}

    assert [html_of(shared.look(same, one, "q", 1)) for one in (anna, bert, viewer)] == [
        "for admins",
        "for admins",
        "for viewers",
    ]
    assert looks == [Role.ADMIN, Role.VIEWER]
    assert [html_of(shared.look(personal, one, "p", 1)) for one in (anna, bert, carl, anna)] == [
        "for anna",
        "for bert",
        "for carl",
        "for anna",
    ]


def test_the_looks_that_are_kept_have_a_bound() -> None:
    shared = Shared()
    for number in range(KEPT_MAX * 3):
        shared.get(number, 1, lambda: {"a": Region("x")})

    assert len(shared._kept) == KEPT_MAX


def test_who_has_seen_a_page_is_given_within_the_pause_what_another_is_shown() -> None:
    """While reports come in all the time, each look of each reader is for a later posting than the one before."""
    shared, answers = Shared(), iter("abc")

    def look() -> Regions:
        return {"a": Region(next(answers))}

    first, second = shared.get(1, 10, look), shared.get(1, 11, look, within_s=60.0)
    assert second is first
    assert second.number == 10, "so that its reader looks again"
    assert shared.get(1, 12, look).regions == {"a": Region("b")}, "whose page may be newer than that"


def test_a_page_that_costs_much_to_look_at_is_looked_at_less_often() -> None:
    assert pause_after(0.0, []) == 0.5
    assert pause_after(0.001, [0.001]) == 0.5
    assert pause_after(0.03, [0.03]) == pytest.approx(0.75)
    assert pause_after(0.06, [0.06]) == pytest.approx(0.8), "one page alone shows within a second what is reported"
    assert pause_after(0.006, [0.006] * 10) == pytest.approx(1.5), "ten pages together take as much as one"
    assert pause_after(0.1, [0.1] * 10) == 5.0
    assert pause_after(0.8, [0.8, 0.02]) == pytest.approx(8.0), "groups by 25 filters over a large fleet"
    assert pause_after(0.02, [0.8, 0.02]) == pytest.approx(1.6), "beside which others are looked at all the same"
    assert pause_after(3600.0, [3600.0]) == 60.0


def test_the_pause_is_for_all_pages_that_are_open(monkeypatch: pytest.MonkeyPatch) -> None:
    shared, used = Shared(), 0.0  # the latter of a processor, in seconds
    monkeypatch.setattr(shared_looks, "time", SimpleNamespace(monotonic=lambda: 1000.0, thread_time=lambda: used))

    def look() -> Regions:
        nonlocal used
        used += 0.02
        return {}

    first = shared.get(0, 1, look)
    assert shared.pause_s(first) < 1
    for key in range(1, 5):
        shared.get(key, 1, look)
    assert shared.pause_s(first) == pytest.approx(2.5)


# ---- the stream -----------------------------------------------------------------------------------------------------


def test_a_stream_begins_with_the_whole_page(guarded: Served) -> None:
    guarded.accept("whole-1")
    made = guarded.deploy("panel-2", "whole-1", name="the whole")
    with Stream(Visitor.signed_in(guarded, TOKEN), f"/live?view=deployment&id={made['id']}") as stream:

        def named() -> list[str]:
            return [name for one in stream.heard if one.kind == "region" for name in one.data]

        wait_until(lambda: "timeline" in named() and len(named()) >= 6, what="the regions")
        assert stream.heard[0].data == {"pages": release_of_pages()}
        regions = named()
        page = Visitor.signed_in(guarded, TOKEN).get(f"/deployments/{made['id']}").text
        assert len(set(regions)) == len(regions)
        for name in regions:
            assert f'<div id="{name}">' in page


def test_a_change_comes_at_once_as_the_row_that_changed(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """How soon that is, benchmarks/pages.py measures: here a busy machine would take most of it."""
    monkeypatch.setattr(live, "IDLE_LOOK_S", NEVER_S)
    guarded.accept("row-1", "row-2")
    guarded.deploy("panel-2", "row-1", name="stays as it is")
    made = guarded.deploy("panel-2", "row-2", name="moves")
    with Stream(Visitor.signed_in(guarded, TOKEN), DEPLOYMENTS) as stream:
        stream.wait_for("region", "moves")
        guarded.carry_out(made["id"], "row-2", status=DeviceStatus.SUCCESS)
        heard = stream.wait_for("rows", "1/1 successful")
        assert list(heard.data) == [f"d-{made['id']}"]


def test_a_page_that_follows_a_filter_sees_what_it_chose(guarded: Served) -> None:
    guarded.accept("chosen-1")
    with Stream(Visitor.signed_in(guarded, TOKEN), f"{DEPLOYMENTS}&q=chosen-name") as stream:
        stream.wait_for("region", "No deployment is like that")
        guarded.deploy("panel-2", "chosen-1", name="not of that name")
        guarded.deploy("panel-2", "chosen-1", name="chosen-name")
        assert "not of that name" not in str(stream.wait_for("region", "chosen-name").data)


def test_a_deployment_that_is_deleted_is_gone_from_its_page(guarded: Served) -> None:
    guarded.accept("gone-1")
    made = guarded.deploy("panel-2", "gone-1", name="to be deleted")
    guarded.post(f"deployments/{made['id']}/abort")
    with Stream(Visitor.signed_in(guarded, TOKEN), f"/live?view=deployment&id={made['id']}") as stream:
        stream.wait_for("region")
        assert guarded.call("DELETE", f"/api/v1/deployments/{made['id']}").ok
        assert "deployment" in stream.wait_for("gone").data["text"].lower()
        assert stream.ended.wait(PATIENCE_S)


@pytest.mark.parametrize("end", ["revoked", "expired", "user revoked"])
def test_a_stream_ends_with_the_token_that_its_reader_signed_in_with(guarded: Served, end: str) -> None:
    name = f"stream-{end.replace(' ', '-')}"
    made = user(guarded, name, "viewer")
    with Stream(Visitor.signed_in(guarded, made["token"]), DEPLOYMENTS) as stream:
        stream.wait_for("region")
        if end == "revoked":
            assert guarded.call("POST", f"/api/v1/tokens/{made['id']}/revoke").ok
        elif end == "user revoked":
            guarded.post(f"users/{name}/revoke")
        else:
            with guarded.controller.store.write() as connection:
                connection.execute(update(TOKENS).where(TOKENS.c.id == made["id"]).values(expires_at=1.0))
        stream.wait_for("signed-out")
        assert stream.ended.wait(PATIENCE_S)


def test_a_stream_ends_with_its_readers_session(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    with Stream(Visitor.signed_in(guarded, TOKEN), DEPLOYMENTS) as stream:
        stream.wait_for("region")
        assert stream.status == 200
        monkeypatch.setattr(guarded.controller.context.gate, "_clock", lambda: time.time() + LIFETIME_S)
        stream.wait_for("signed-out")
        assert stream.ended.wait(PATIENCE_S)


def test_the_streams_of_other_windows_end_when_somebody_signs_out(guarded: Served) -> None:
    visitor = Visitor.signed_in(guarded, user(guarded, "leaving", "viewer")["token"])
    with Stream(visitor, DEPLOYMENTS) as stream, Stream(visitor, "/api/v1/events") as of_the_api:
        stream.wait_for("region")
        visitor.post("/sign-out")
        stream.wait_for("signed-out")
        assert stream.ended.wait(PATIENCE_S)
        assert of_the_api.ended.wait(PATIENCE_S)


def test_a_page_loads_itself_again_when_its_reader_has_another_role(guarded: Served) -> None:
    made = user(guarded, "promoted", "viewer")
    with Stream(Visitor.signed_in(guarded, made["token"]), DEPLOYMENTS) as stream:
        stream.wait_for("region")
        guarded.post("users/promoted/role", {"role": "operator"})
        stream.wait_for("reload")
        assert stream.ended.wait(PATIENCE_S)


def test_a_stream_needs_the_role_of_its_page(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(live.VIEWS, "for-admins", lambda *_: {"a": Region("secret")})
    viewer = Visitor.signed_in(guarded, user(guarded, "only-viewer", "viewer")["token"])

    refused = viewer.get("/live?view=for-admins", headers={"Accept": "text/event-stream"})
    assert (refused.status_code, refused.json()["code"]) == (403, "not-allowed")
    assert "secret" not in refused.text
    with Stream(Visitor.signed_in(guarded, TOKEN), "/live?view=for-admins") as stream:
        stream.wait_for("region", "secret")
    assert Visitor(guarded).get(DEPLOYMENTS, headers={"Accept": "text/event-stream"}).status_code == 401


def test_a_stream_catches_up_after_the_controller_was_away(tmp_path: Path, mosquitto: Mosquitto) -> None:
    served = Served(tmp_path, mosquitto, token=TOKEN)
    with served:
        served.release("panel-2")
        served.accept("away-1")
        made = served.deploy("panel-2", "away-1", name="meanwhile")
        visitor = Visitor.signed_in(served, TOKEN)
        with Stream(visitor, DEPLOYMENTS) as stream:
            stream.wait_for("region", "meanwhile")
            served.controller.context.closing.set()
            assert stream.ended.wait(PATIENCE_S), "streams must not hold up the end"
    with served:
        served.post(f"deployments/{made['id']}/abort", {"reason": "while the page was away"})
        with Stream(visitor, DEPLOYMENTS) as stream:
            first: Heard = stream.wait_for("region", "meanwhile")
            assert "aborted" in str(first.data)


def test_a_quiet_stream_says_that_it_is_still_there(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "HEARTBEAT_S", 0.0)
    visitor = Visitor.signed_in(guarded, TOKEN)
    with visitor.get(DEPLOYMENTS, stream=True, headers={"Accept": "text/event-stream"}) as answer:
        assert any(line == b": still here" for line in answer.iter_lines(chunk_size=None))


def test_streams_have_a_bound_for_each_person(guarded: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    made = user(guarded, "greedy", "viewer")
    visitor = Visitor.signed_in(guarded, made["token"])
    monkeypatch.setattr(guarded.controller.context.crowd.streams, "each_max", 1)
    with Stream(visitor, DEPLOYMENTS) as stream:
        stream.wait_for("region")
        refused = visitor.get(DEPLOYMENTS, headers={"Accept": "text/event-stream"})
        assert (refused.status_code, refused.json()["code"]) == (429, "too-many-at-once")
    wait_until(lambda: guarded.controller.context.crowd.streams.inside == 0, what="the stream to be counted out")
