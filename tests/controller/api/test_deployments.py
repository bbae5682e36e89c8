"""Deployments over the API: made, followed, ended."""

from __future__ import annotations

import base64
import threading
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event

from tests.controller.api.served import Json, Served
from wainwright_common.statuses import DeviceStatus


@pytest.fixture(scope="module", autouse=True)
def _release(served: Served) -> None:
    served.release("panel-2")
    served.accept(*(f"press-{number:02}" for number in range(10)))


def fresh(served: Served, name: str, count: int = 1) -> list[str]:
    """Devices that no other test uses."""
    made = [f"{name}-{number}" for number in range(1, count + 1)]
    served.accept(*made)
    return made


def test_a_deployment_is_shown_with_its_phases_counts_and_derived_fields(served: Served) -> None:
    devices = fresh(served, "shown", 5)
    phases: list[Json] = [{"percent": 20}, {"opens": "after", "delay_s": 3600}]
    made = served.deploy("panel-2", *devices, phases=phases, strategy="canary", name="first", retries=2)
    assert (made["status"], made["margo_state"], made["summary"]) == ("pending", "pending", "0/5 successful")
    assert (made["device_count"], made["counts"], made["retries"]) == (5, {"pending": 5}, 2)
    assert [(p["number"], p["size"], p["opens"], p["counts"]) for p in made["phases"]] == [
        (1, 1, "now", {"pending": 1}),
        (2, 4, "after", {"pending": 4}),
    ]
    assert "opened_at" in made["phases"][0]
    assert not {"opened_at", "done_at", "opens_at"} & set(made["phases"][1])
    assert not {"hold", "outcome", "started_at", "finished_at"} & set(made)
    served.carry_out(made["id"], "shown-1")
    later = served.get(f"deployments/{made['id']}")
    assert (later["status"], later["margo_state"], later["summary"]) == ("inprogress", "installing", "1/5 successful")
    assert later["phases"][0]["counts"] == {"success": 1}
    assert "done_at" in later["phases"][0]


def test_a_deployment_is_found_by_id_prefix_and_name(served: Served) -> None:
    (device,) = fresh(served, "found")
    made = served.deploy("panel-2", device, name="to be found")
    for reference in (made["id"], made["id"][:8], "to be found"):
        assert served.get(f"deployments/{reference}")["id"] == made["id"]
    short = served.call("GET", f"/api/v1/deployments/{made['id'][:3]}")
    assert (short.status_code, short.json()["code"]) == (404, "not-found")
    served.deploy("panel-2", device, name="to be found")
    answer = served.call("GET", "/api/v1/deployments/to be found")
    assert (answer.status_code, answer.json()["code"]) == (409, "ambiguous")


def test_deployments_are_listed_newest_first_and_by_status(served: Served) -> None:
    (device,) = fresh(served, "listed")
    made = [served.deploy("panel-2", device, name=f"listed {n}")["id"] for n in range(4)]
    served.post(f"deployments/{made[1]}/abort")
    page = served.get("deployments", q="LISTED", limit=3)
    assert ([d["id"] for d in page["items"]], page["total"]) == ([made[3], made[2], made[1]], 4)
    rest = served.get("deployments", q="LISTED", limit=3, cursor=page["next"])
    assert [d["id"] for d in rest["items"]] == [made[0]]
    finished = served.get("deployments", q="listed", status="finished")["items"]
    assert [(d["id"], d["outcome"], d["margo_state"]) for d in finished] == [(made[1], "aborted", "failed")]
    assert [d["id"] for d in served.get("deployments", name="listed 2")["items"]] == [made[2]]


def test_a_list_takes_as_many_queries_for_many_deployments_as_for_one(served: Served) -> None:
    (device,) = fresh(served, "counted")
    for number in range(8):
        served.deploy("panel-2", device, name=f"counted {number}")
    statements: list[str] = []

    def count(_c: object, _cursor: object, statement: str, *_: object) -> None:
        is_listed = "deployment.name" in statement or "phase" in statement or "tally" in statement
        if is_listed and threading.current_thread().name != "ticker":  # the clock looks whenever it likes
            statements.append(statement)

    event.listen(served.controller.store.engine, "before_cursor_execute", count)
    try:
        needed = []
        for limit in (1, 8):
            statements.clear()
            assert len(served.get("deployments", q="counted", limit=limit)["items"]) == limit
            needed.append(len([s for s in statements if s.startswith("SELECT")]))
    finally:
        event.remove(served.controller.store.engine, "before_cursor_execute", count)
    assert needed[1] == needed[0] > 0


def test_a_deployment_says_why_what_it_does_not_allow_is_refused_and_a_list_does_not(served: Served) -> None:
    (device,) = fresh(served, "asked")
    made = served.deploy("panel-2", device, name="asked")
    acts = {"approve", "deny", "start", "promote", "pause", "resume", "install", "retry", "rollback", "finish", "abort"}

    shown = served.get(f"deployments/{made['id']}")

    assert {*shown["allowed"], *shown["refused"]} == acts | {"delete"}
    for act in acts & set(shown["refused"]):
        refused = served.call("POST", f"/api/v1/deployments/{made['id']}/{act}", json={})
        assert refused.status_code == 409
        assert shown["refused"][act] == {"code": refused.json()["code"], "text": refused.json()["detail"]}
    (listed,) = served.get("deployments", name="asked")["items"]
    assert "refused" not in listed
    assert listed["allowed"] == shown["allowed"]


def test_the_devices_of_a_deployment_are_listed_with_progress_and_errors(served: Served) -> None:
    devices = fresh(served, "parts", 3)
    made = served.deploy("panel-2", *devices)
    served.carry_out(made["id"], "parts-2", status=DeviceStatus.FAILURE)
    path = f"deployments/{made['id']}/devices"
    first = served.get(path, limit=2)
    assert (first["total"], [p["device_id"] for p in first["items"]]) == (3, ["parts-1", "parts-2"])
    assert [p["device_id"] for p in served.get(path, limit=2, cursor=first["next"])["items"]] == ["parts-3"]
    (failed,) = served.get(path, status=["failure", "aborted"])["items"]
    assert failed["error"] == {"code": "no-space", "text": "disk full"}
    assert (failed["margo_state"], failed["former_name"], failed["attempt"]) == ("failed", "panel-1", 1)


def test_a_promotion_that_names_its_phase_is_done_once_however_often_it_is_sent(served: Served) -> None:
    phases: list[Json] = [{"count": 1}, {"count": 1, "opens": "approval"}, {"opens": "approval"}]
    made = served.deploy("panel-2", *fresh(served, "double", 3), phases=phases)
    path = f"/api/v1/deployments/{made['id']}/promote"

    answers = [served.call("POST", path, json={"phase": 2}) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [200, 409]
    assert answers[1].json()["code"] == "phase-open"
    assert [p["number"] for p in served.get(f"deployments/{made['id']}")["phases"] if "opened_at" in p] == [1, 2]
    assert served.call("POST", path, json={"phase": 0}).status_code == 422


def test_starting_and_promoting_open_phases_and_abort_ends_all(served: Served) -> None:
    devices = fresh(served, "steps", 4)
    phases: list[Json] = [{"count": 1}, {"count": 1, "opens": "approval"}, {"opens": "approval"}]
    made = served.deploy("panel-2", *devices, phases=phases, manual=True)
    path = f"deployments/{made['id']}"
    assert made["hold"] == "awaiting-start"
    assert "hold" not in served.post(f"{path}/start", {"reason": "maintenance window"})
    again = served.call("POST", f"/api/v1/{path}/start")
    assert (again.status_code, again.json()["code"]) == (409, "not-awaiting-start")
    served.carry_out(made["id"], "steps-1")
    assert served.get(path)["hold"] == "awaiting-promotion"
    assert len([p for p in served.post(f"{path}/promote")["phases"] if "opened_at" in p]) == 2
    ended = served.post(f"{path}/abort", {"reason": "smoke"})
    assert (ended["status"], ended["outcome"], ended["counts"]) == ("finished", "aborted", {"success": 1, "aborted": 3})
    timeline = [line["text"] for line in served.get(f"{path}/timeline", limit=1000)["items"]]
    assert "start: maintenance window" in timeline
    assert "abort: smoke" in timeline
    assert served.call("DELETE", f"/api/v1/{path}").status_code == 204
    assert served.call("GET", f"/api/v1/{path}").status_code == 404


def test_a_phase_at_a_time_is_scheduled(served: Served) -> None:
    (device,) = fresh(served, "timed")
    at = datetime.now(UTC) + timedelta(hours=1)
    made = served.deploy("panel-2", device, phases=[{"opens": "at", "opens_at": at.isoformat()}])
    assert made["hold"] == "scheduled"
    assert abs(datetime.fromisoformat(made["phases"][0]["opens_at"]) - at) < timedelta(milliseconds=1)


def test_a_deployment_to_a_group_takes_its_present_members(served: Served) -> None:
    devices = fresh(served, "grouped", 2)
    served.post("groups", {"name": "presses", "ids": devices})
    made = served.post("deployments", {"release": "panel-2", "group": "presses"})
    assert (made["target"], made["device_count"]) == ("group presses", 2)


# Order, status, code.
BAD_ORDERS: list[tuple[Json, int, str]] = [
    ({"release": "panel-2"}, 422, "bad-plan"),
    ({"release": "panel-2", "devices": ["press-01"], "all_devices": True}, 422, "bad-plan"),
    ({"release": "panel-2", "devices": []}, 422, "bad-plan"),
    ({"release": "nothing", "all_devices": True}, 404, "not-found"),
    ({"release": "panel-2", "group": "nobody"}, 404, "not-found"),
    ({"release": "panel-2", "devices": ["nobody"]}, 404, "not-found"),
    ({"release": "panel-2", "all_devices": True, "phases": [{"percent": 60}, {"percent": 60}]}, 422, "bad-plan"),
    ({"release": "panel-2", "all_devices": True, "phases": [{}, {"percent": 60}]}, 422, "bad-plan"),
    ({"release": "panel-2", "all_devices": True, "phases": [{"opens": "at"}]}, 422, "bad-plan"),
    ({"release": "panel-2", "all_devices": True, "phases": [{"count": 1, "percent": 1}, {}]}, 422, "bad-plan"),
    ({"release": "panel-2", "all_devices": True, "phases": [{"count": 0}, {}]}, 422, "invalid"),
    ({"release": "panel-2", "all_devices": True, "phases": [{}] * 101}, 422, "invalid"),
    ({"release": "panel-2", "all_devices": True, "max_failures": 3}, 422, "invalid"),
    ({"release": "panel-2", "all_devices": True, "retries": -1}, 422, "invalid"),
    ({"release": "", "all_devices": True}, 422, "invalid"),
    ({"release": "panel-2", "all_devices": True, "phases": [{"opens": "at", "opens_at": "tomorrow"}]}, 422, "invalid"),
    (
        {"release": "panel-2", "all_devices": True, "phases": [{"opens": "at", "opens_at": "2030-01-01T00:00:00"}]},
        422,
        "invalid",
    ),
]


@pytest.mark.parametrize(("order", "status", "code"), BAD_ORDERS)
def test_an_order_that_cannot_be_carried_out_is_refused_and_makes_nothing(
    served: Served, order: Json, status: int, code: str
) -> None:
    before = served.get("deployments")["total"]
    answer = served.call("POST", "/api/v1/deployments", json=order)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert served.get("deployments")["total"] == before


def test_a_deployment_that_runs_cannot_be_deleted_and_one_that_is_over_cannot_be_aborted(served: Served) -> None:
    (device,) = fresh(served, "rules")
    made = served.deploy("panel-2", device)
    path = f"/api/v1/deployments/{made['id']}"
    assert served.call("DELETE", path).json()["code"] == "deployment-not-finished"
    served.call("POST", f"{path}/abort")
    assert served.call("POST", f"{path}/abort").json()["code"] == "deployment-finished"
    assert served.call("POST", f"{path}/promote").json()["code"] == "deployment-finished"


def test_a_cursor_with_a_number_that_no_column_holds_is_refused(served: Served) -> None:
    cursor = base64.urlsafe_b64encode(b"[%d]" % 10**30).decode().rstrip("=")
    answer = served.call("GET", "/api/v1/deployments", params={"cursor": cursor})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
