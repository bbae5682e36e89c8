"""The audit log: every change is in it, every refusal, and whoever cuts or changes it is found out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace
from sqlalchemy import delete, select, text, update

from tests.controller.api.served import Json, Served
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S
from wainwright_controller import audit
from wainwright_controller.api.roles import LEAST
from wainwright_controller.people import Actor, Role
from wainwright_controller.refusals import ALL_BURST, EACH_BURST, EACH_REFILL_S, Refusals
from wainwright_controller.rows import AUDIT, SETTING, from_row
from wainwright_controller.store import Store


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[Served]:
    """A controller that wants tokens, with an operator otto."""
    with Served(tmp_path_factory.mktemp("guarded"), mosquitto, token="sesame") as served:
        served.post("users", {"name": "otto", "role": "operator"})
        yield served


@pytest.fixture(scope="module")
def otto(guarded: Served) -> dict[str, str]:
    """Otto's header."""
    return {"Authorization": f"Bearer {guarded.post('tokens', {'user': 'otto'})['token']}"}


def newest(served: Served, **filters: object) -> Json:
    """Return the newest entry."""
    entry: Json = served.get("audit", limit=1, **filters)["items"][0]
    return entry


def act(served: Served, headers: dict[str, str], method: str, path: str, body: object = None) -> tuple[int, Json]:
    """Make a request; returns its status and the newest entry."""
    answer = served.call(method, f"/api/v1/{path}", headers=headers, json=body)
    return answer.status_code, newest(served)


def test_every_change_of_an_operator_is_entered_with_before_and_after(guarded: Served, otto: dict[str, str]) -> None:
    def said(method: str, path: str, body: object = None) -> tuple[str, str, Any, Any]:
        status, entry = act(guarded, otto, method, path, body)
        assert status < 300, (path, status)
        assert (entry["who"], entry["role"], entry["address"]) == ("otto", "operator", "127.0.0.1")
        assert (entry["verdict"], "code" in entry) == ("allowed", False)
        return entry["action"], entry["object"], entry["before"], entry["after"]

    action, thing, before, after = said("POST", "devices/preauthorize", {"ids": ["p1", "p2"]})
    assert (action, thing, before) == ("preauthorize-devices", "device p1, device p2", {})
    assert after["device p1"]["state"] == "accepted"

    action, thing, before, after = said("POST", "devices/reject", {"ids": ["p2"]})
    assert (action, before, after) == (
        "reject-devices",
        {"device p2": {"state": "accepted"}},
        {"device p2": {"state": "rejected"}},
    )

    assert said("POST", "devices/check-in", {"ids": ["p1"]}) == ("ask-to-check-in", "device p1", {}, {})

    _, thing, before, after = said("POST", "groups", {"name": "plant", "ids": ["p1"]})
    assert (thing, before, after) == ("group plant", {}, {"group plant": {"devices": 1, "added": ["p1"]}})
    _, _, before, after = said("POST", "groups/plant/remove", {"ids": ["p1"]})
    assert before == {"group plant": {"devices": 1}}
    assert after == {"group plant": {"devices": 0, "removed": ["p1"]}}
    assert said("DELETE", "groups/plant") == ("delete-group", "group plant", {"group plant": {"devices": 0}}, {})

    stored = guarded.release("panel-9")
    assert newest(guarded)["after"][f"artifact {stored['id']}"]["sha256"] == stored["sha256"]

    action, thing, before, after = said("POST", "deployments", {"release": "panel-9", "devices": ["p1"]})
    deployment = thing.removeprefix("deployment ")
    assert (action, before) == ("create-deployment", {})
    assert after[thing]["artifact_name"] == "panel-9"
    assert after[thing]["created_by"] == "otto"
    action, thing, before, after = said("POST", f"deployments/{deployment[:8]}/abort", {"reason": "wrong"})
    assert (action, thing) == ("abort-deployment", f"deployment {deployment}")
    assert before[thing]["status"] == "pending"
    assert (after[thing]["status"], after[thing]["outcome"]) == ("finished", "aborted")
    action, thing, before, after = said("DELETE", f"deployments/{deployment}")
    assert (action, before[thing]["outcome"], after) == ("delete-deployment", "aborted", {})


def test_changes_of_people_are_entered_too(guarded: Served) -> None:
    guarded.post("users", {"name": "paula", "role": "viewer"})
    assert newest(guarded)["after"] == {"user paula": {"role": "viewer"}}
    made = guarded.post("tokens", {"user": "paula", "note": "n"})
    assert newest(guarded)["after"] == {f"token {made['id']}": {"user": "paula", "note": "n"}}
    guarded.post("users/paula/role", {"role": "operator"})
    entry = newest(guarded)
    assert (entry["before"], entry["after"]) == (
        {"user paula": {"role": "viewer"}},
        {"user paula": {"role": "operator"}},
    )
    guarded.call("POST", f"/api/v1/tokens/{made['id']}/revoke")
    assert "revoked_at" in newest(guarded)["after"][f"token {made['id']}"]
    assert (newest(guarded)["who"], newest(guarded)["role"]) == ("configuration", "admin")


def test_looking_leaves_no_entry(guarded: Served, otto: dict[str, str]) -> None:
    before = newest(guarded)["number"]
    for method, path in LEAST:
        if method == "GET" and "{" not in path and path != "/events" and LEAST[method, path] is Role.VIEWER:
            params = {"where": "device_id exists"} if path == "/filters" else {}
            answer = guarded.call("GET", f"/api/v1{path}", headers=otto, params=params)
            assert answer.status_code == (404 if path == "/ca" else 200)  # this controller has no authority
    assert newest(guarded)["number"] == before


@pytest.mark.parametrize(
    ("method", "path", "body", "code"),
    [
        ("POST", "users", {"name": "x", "role": "admin"}, "not-allowed"),
        ("GET", "audit", None, "not-allowed"),
        ("POST", "devices/nobody/decommission", None, "not-allowed"),
        ("POST", "devices/accept", {"ids": ["nobody"]}, "not-found"),
        ("DELETE", "groups/nothing", None, "not-found"),
        ("POST", "deployments", {"release": "none", "devices": ["p1"]}, "not-found"),
    ],
)
def test_what_is_refused_is_entered_with_the_reason(
    guarded: Served, otto: dict[str, str], method: str, path: str, body: object, code: str
) -> None:
    status, entry = act(guarded, otto, method, path, body)

    assert status in {403, 404}
    assert (entry["who"], entry["verdict"], entry["code"]) == ("otto", "refused", code)
    assert (entry["before"], "refusals left out before this one" in entry["after"]) == ({}, False)


def test_a_wrong_token_is_entered_as_somebody_unknown_and_a_revoked_one_by_its_name(guarded: Served) -> None:
    _, entry = act(guarded, {"Authorization": "Bearer wrong"}, "GET", "devices")
    assert (entry["who"], entry["action"], entry["code"]) == ("unknown", "list-devices", "not-authenticated")

    guarded.post("users", {"name": "rita", "role": "viewer"})
    made = guarded.post("tokens", {"user": "rita"})
    guarded.post("users/rita/revoke")
    _, entry = act(guarded, {"Authorization": f"Bearer {made['token']}"}, "GET", "devices")
    assert (entry["who"], entry["code"]) == ("rita", "not-authenticated")


def test_filters_find_entries(guarded: Served, otto: dict[str, str]) -> None:
    act(guarded, otto, "POST", "devices/preauthorize", {"ids": ["found-1"]})
    act(guarded, otto, "POST", "devices/accept", {"ids": ["not-there"]})

    def numbers(**filters: object) -> list[int]:
        return [entry["number"] for entry in guarded.get("audit", **filters)["items"]]

    everything = numbers(limit=1000)
    assert everything == list(range(len(everything), 0, -1))
    assert set(numbers(who="otto", limit=1000)) < set(everything)
    assert numbers(object="found-1") == [everything[1]]
    assert numbers(action="ACCEPT", verdict="refused", limit=1) == [everything[0]]
    assert numbers(since="2999-01-01T00:00:00Z") == []
    assert numbers(until="2001-01-01T00:00:00Z") == []
    first = guarded.get("audit", limit=2)
    assert [e["number"] for e in guarded.get("audit", limit=1, cursor=first["next"])["items"]] == [everything[2]]


@pytest.mark.parametrize("since", ["929", "0.5", "-1", "2026", "2026-11-27", "yesterday", ""])
def test_a_time_is_a_date_with_its_offset_and_no_number(guarded: Served, since: str) -> None:
    for path in ("audit", "deployments"):
        assert guarded.call("GET", f"/api/v1/{path}", params={"since": since}).status_code == 422, path


def test_a_change_and_its_entry_are_one_transaction(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Served(tmp_path, mosquitto) as served:
        with served.controller.store.write() as connection:
            connection.execute(
                text("CREATE TRIGGER broken BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no'); END")
            )
        answer = served.call("POST", "/api/v1/devices/preauthorize", json={"ids": ["p1"]})
        assert answer.status_code == 500
        assert served.call("GET", "/api/v1/devices/p1").status_code == 404  # others may be known: the broker is shared


def test_a_change_of_a_whole_fleet_is_one_entry_of_bounded_size(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Served(tmp_path, mosquitto) as served:
        served.accept(*(f"d{n:04}" for n in range(2000)))
        entry = newest(served)
    assert len(entry["after"]) == 21
    assert entry["after"]["and more"] == 1980
    assert entry["object"].endswith("device d0019 and 1980 more")
    assert len(str(entry)) < 10_000


# ---- the chain --------------------------------------------------------------------------------------------------


@pytest.fixture
def chain(store: Store) -> Store:
    """A store whose audit log has ten entries."""
    about = audit.Attempt(Actor("anna", Role.ADMIN, "192.0.2.1"), "try-things", "x")
    with store.write() as connection:
        for number in range(10):
            audit.append(connection, 1000.5 + number / 7, about, f"thing {number}", after={"n": {"is": number}})
    return store


def finding(store: Store, anchor: audit.Anchor | None = None) -> audit.Finding:
    """Verify a store's log."""
    with store.read() as connection:
        return audit.verify(connection, anchor)


def test_a_log_that_nobody_touched_is_whole(chain: Store) -> None:
    found = finding(chain)

    assert (found.entries, found.last.number, found.fault) == (10, 10, None)
    assert finding(chain, found.last) == found


@pytest.mark.parametrize("subject", ["\0", "\ud800x", "é" * 5000, "it's\n"], ids=["nul", "surrogate", "long", "quote"])
def test_no_name_in_a_request_breaks_the_chain(chain: Store, subject: str) -> None:
    about = audit.Attempt(Actor("anna", Role.ADMIN), "try-things", subject)
    with chain.write() as connection:
        audit.append(connection, 2000.0, about, subject, after={subject[:5].replace("\ud800", ""): "\0"})

    assert finding(chain).fault is None


@pytest.mark.parametrize("column", [c.name for c in AUDIT.c if c.name not in {"number", "at"}])
def test_a_changed_field_is_found(chain: Store, column: str) -> None:
    with chain.write() as connection:
        connection.execute(update(AUDIT).where(AUDIT.c.number == 4).values({column: "changed"}))

    assert "Entry 4 does not follow from entry 3" in (finding(chain).fault or "")


def test_an_entry_that_was_changed_with_its_own_hash_does_not_lead_to_the_next(chain: Store) -> None:
    with chain.write() as connection:
        query = select(AUDIT).where(AUDIT.c.number.in_([3, 4])).order_by(AUDIT.c.number)
        before, entry = (from_row(audit.Entry, row) for row in connection.execute(query).mappings())
        forged = replace(entry, actor="bert")
        values = {"actor": "bert", "hash": audit.chained(before.hash, forged)}
        connection.execute(update(AUDIT).where(AUDIT.c.number == 4).values(values))

    assert "Entry 5 does not follow from entry 4" in (finding(chain).fault or "")


def test_a_changed_time_is_found(chain: Store) -> None:
    with chain.write() as connection:
        connection.execute(update(AUDIT).where(AUDIT.c.number == 4).values(at=AUDIT.c.at + 1e-6))

    assert "Entry 4" in (finding(chain).fault or "")


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([5], "After entry 4, entry 5 is missing"),
        ([5, 6], "After entry 4, entries 5 to 6 are missing"),
        ([1, 2], "After entry 0, entries 1 to 2 are missing"),
        ([9, 10], "The log ends with entry 8, but 10 was the last"),
        (range(1, 11), "The log ends with entry 0, but 10 was the last"),
    ],
    ids=["one", "two", "first", "last", "all"],
)
def test_a_cut_is_found_and_said_where(chain: Store, numbers: list[int], said: str) -> None:
    with chain.write() as connection:
        connection.execute(delete(AUDIT).where(AUDIT.c.number.in_(list(numbers))))

    assert said in (finding(chain).fault or "")


def test_entries_that_changed_places_are_found(chain: Store) -> None:
    with chain.write() as connection:
        for old, new in ((4, 40), (5, 4), (40, 5)):
            connection.execute(update(AUDIT).where(AUDIT.c.number == old).values(number=new))

    assert "Entry 4 does not follow" in (finding(chain).fault or "")


def test_a_chain_that_was_computed_anew_is_found_by_an_anchor(chain: Store) -> None:
    anchor = finding(chain).last
    with chain.write() as connection:
        kept = [from_row(audit.Entry, row) for row in connection.execute(select(AUDIT)).mappings()]
        connection.execute(delete(AUDIT))
        beginning = {"value": f"0:{audit.BEGINNING}"}
        connection.execute(update(SETTING).where(SETTING.c.key == audit.HEAD).values(beginning))
        for entry in [e for e in kept if e.number != 3]:
            about = audit.Attempt(Actor(entry.actor, Role(entry.role), entry.address), entry.action)
            audit.append(connection, entry.at, about, entry.object)

    assert finding(chain).fault is None
    assert "Entry 10 was noted elsewhere" in (finding(chain, anchor).fault or "")
    assert "computed anew" in (finding(chain, anchor._replace(number=5)).fault or "")


def test_many_people_at_once_make_one_chain(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Served(tmp_path, mosquitto) as served:

        def accept(which: int) -> None:
            for number in range(10):
                served.accept(f"d-{which}-{number}")

        threads = [threading.Thread(target=accept, args=(which,)) for which in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        found = served.get("audit/verify")
        assert (found["whole"], found["entries"]) == (True, 80)
        assert served.get("audit/verify", anchor=found["anchor"])["whole"]
        wrong = served.get("audit/verify", anchor=f"80:{'0' * 64}")
        assert (wrong["whole"], "80" in wrong["fault"]) == (False, True)
        assert served.call("GET", "/api/v1/audit/verify", params={"anchor": "x"}).json()["code"] == "invalid"


# ---- refusals ---------------------------------------------------------------------------------------------------


def test_refusals_are_bounded_for_each_address_and_in_all_and_counted() -> None:
    refusals = Refusals()
    kept = [refusals.take("192.0.2.1", 0.0) for _ in range(EACH_BURST + 5)]
    assert kept == [0] * EACH_BURST + [None] * 5
    assert refusals.take("192.0.2.2", 0.0) == 5

    everybody = [refusals.take(f"198.51.{n // 250}.{n % 250}", 0.0) for n in range(3 * ALL_BURST)]
    assert sum(one is not None for one in everybody) == ALL_BURST - EACH_BURST - 1
    assert refusals.take("192.0.2.3", 10.0) == 2 * ALL_BURST + EACH_BURST + 1


def test_a_flood_of_refusals_does_not_fill_the_log(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Served(tmp_path, mosquitto, token="sesame") as served:
        begun = time.monotonic()
        for _ in range(3 * EACH_BURST):
            assert served.call("GET", "/api/v1/devices", headers={"Authorization": "Bearer x"}).status_code in {
                401,
                429,
            }
        with served.controller.store.read() as connection:
            entries = len(connection.execute(select(AUDIT.c.number)).all())
        assert entries <= EACH_BURST + 1 + (time.monotonic() - begun) / EACH_REFILL_S
