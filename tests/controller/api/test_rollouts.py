"""Rollouts over the API: planned, gated, undone; and what every action is refused with."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from tests.controller.api.served import Json, Served
from tests.support.device import Device
from tests.support.mosquitto import Mosquitto
from wainwright_common.messages import Line, LogLines
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind
from wainwright_controller.rules.actions import ALLOWED, Act, Stage, code_of

CONDITIONS: Json = {
    "time_limits": {"attempt_s": 3600.0, "rebooting_s": 300.0},
    "limits": [{"percent": 5.0, "min_sample": 20, "codes": ["no-space"], "action": "abort"}],
    "pace": {"per_minute": 30.0, "factor": 2.0, "every": 50, "max_per_minute": 600.0, "concurrency": 10},
    "policy": {
        "windows": [{"start": "22:00", "end": "04:00", "days": [1, 2, 3, 4, 5]}],
        "bytes_per_second": 500_000,
        "download_only": True,
    },
}


@pytest.fixture(scope="module", autouse=True)
def _release(served: Served) -> None:
    served.release("panel-1")
    served.release("panel-2")


def fleet(served: Served, name: str, count: int = 2) -> list[str]:
    """Devices that no other test uses, known by a check-in."""
    ids = [f"{name}-{number}" for number in range(1, count + 1)]
    served.accept(*ids)
    for device_id in ids:
        with Device(served.broker.port, device_id) as device:
            device.check_in()
    return ids


def refused(served: Served, path: str, body: Json | None = None) -> tuple[int, str]:
    answer = served.call("POST", f"/api/v1/{path}", json=body or {})
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


def test_the_conditions_of_an_order_are_kept_and_shown_as_they_were_given(served: Served) -> None:
    made = served.deploy("panel-2", *fleet(served, "kept"), phases=[{"count": 1, "soak_s": 60}, {}], **CONDITIONS)

    shown = served.get(f"deployments/{made['id']}")
    assert shown["limits"] == CONDITIONS["limits"]
    assert shown["policy"] == CONDITIONS["policy"]
    assert {k: v for k, v in shown["pace"].items() if k in CONDITIONS["pace"]} == CONDITIONS["pace"]
    assert shown["time_limits"] == CONDITIONS["time_limits"]
    assert shown["phases"][0]["soak_s"] == 60
    assert shown["phases"][1]["waits_for"] == "phase 1 to finish"
    assert shown["allowed"] == ["promote", "pause", "install", "rollback", "abort"]


@pytest.mark.parametrize(
    ("conditions", "code"),
    [
        ({"limits": [{}]}, "bad-limit"),
        ({"limits": [{"count": 1, "percent": 5}]}, "bad-limit"),
        ({"limits": [{"count": 1}] * 9}, "invalid"),
        ({"limits": [{"percent": 101}]}, "invalid"),
        ({"limits": [{"count": 1, "codes": ["No Space"]}]}, "invalid"),
        ({"pace": {"per_minute": 0}}, "invalid"),
        ({"pace": {"concurrency": 0}}, "invalid"),
        ({"policy": {"windows": [{"start": "25:00", "end": "04:00"}]}}, "invalid"),
        ({"policy": {"windows": [{"start": "22:00", "end": "04:00", "days": [0]}]}}, "invalid"),
        ({"time_limits": {"attempt_s": 0}}, "invalid"),
        ({"max_devices": 3}, "bad-plan"),
        ({"where": "device_type = 'pi4'"}, "bad-plan"),
    ],
    ids=str,
)
def test_conditions_that_cannot_be_kept_are_refused_alike_by_plan_and_create(
    served: Served, conditions: Json, code: str
) -> None:
    served.accept("refused-1")
    order = {"release": "panel-2", "devices": ["refused-1"]} | conditions
    assert refused(served, "deployments", order) == refused(served, "deployments/plan", order) == (422, code)


def test_a_bad_filter_is_told_with_its_column(served: Served) -> None:
    answer = served.call("POST", "/api/v1/deployments/plan", json={"release": "panel-2", "where": "x = = 1"})
    assert (answer.status_code, answer.json()["code"], answer.json()["column"]) == (422, "bad-filter", 5)


def test_a_plan_says_who_gets_what_and_makes_nothing(served: Served) -> None:
    ids = fleet(served, "planned", 3)
    with Device(served.broker.port, "planned-3", device_type="other") as device:
        device.check_in()
    before = served.get("deployments")["total"]

    plan = served.post("deployments/plan", {"release": "panel-2", "devices": ids, "phases": [{"count": 1}, {}]})

    assert (plan["devices"], plan["updated"], plan["left_counts"]) == (3, 2, {"no-artifact": 1})
    assert (plan["left"][0]["device_id"], plan["first"]) == ("planned-3", ids)
    assert [(phase["number"], phase["size"], phase["updated"]) for phase in plan["phases"]] == [(1, 1, 1), (2, 2, 1)]
    assert plan["bytes"] == 2 * plan["artifacts"][0]["size"] > 0
    assert served.get("deployments")["total"] == before


def test_a_dynamic_deployment_takes_who_matches_until_it_is_finished(served: Served) -> None:
    ids = fleet(served, "joins")
    served.post("devices/tags", {"ids": ids, "given": {"line": "joins"}})
    order = {"release": "panel-2", "where": "tags.line = 'joins'", "max_devices": 5}
    made = served.post("deployments", order)
    assert (made["kind"], made["where"], made["max_devices"]) == ("dynamic", 'tags.line = "joins"', 5)

    served.carry_out(made["id"], *ids)

    assert served.get(f"deployments/{made['id']}")["summary"] == "2/2 successful"
    ended = served.post(f"deployments/{made['id']}/finish", {"reason": "the line is complete"})
    assert (ended["status"], ended["outcome"], "closed_at" in ended) == ("finished", "success", True)


def test_a_pause_is_shown_with_its_reason_and_lifted_by_a_resume(served: Served) -> None:
    made = served.deploy("panel-2", *fleet(served, "paused"))
    path = f"deployments/{made['id']}"

    paused = served.post(f"{path}/pause", {"reason": "the line is running"})

    assert (paused["hold"], paused["hold_reason"]) == ("paused", "the line is running")
    assert {"resume", "abort"} <= set(paused["allowed"])
    assert refused(served, f"{path}/pause") == (409, "paused")
    assert not {"hold", "hold_reason"} & set(served.post(f"{path}/resume"))
    assert refused(served, f"{path}/resume") == (409, "not-paused")


def test_what_a_closed_phase_waits_for_in_a_paused_deployment_is_that_it_is_resumed(served: Served) -> None:
    made = served.deploy("panel-2", *fleet(served, "stopped"), phases=[{"count": 1}, {}])
    served.carry_out(made["id"], "stopped-1")
    other = served.deploy("panel-2", *fleet(served, "waits"), phases=[{"count": 1}, {}])
    paused = served.post(f"deployments/{other['id']}/pause")

    assert paused["phases"][1]["waits_for"] == "the deployment to be resumed"
    assert "waits_for" not in paused["phases"][0]
    assert "waits_for" not in served.get(f"deployments/{made['id']}")["phases"][1]


def test_equal_failures_are_counted_once_with_the_first_devices_the_most_frequent_first(served: Served) -> None:
    ids = fleet(served, "broken", 8)
    made = served.deploy("panel-2", *ids, phases=[{"count": 2}, {}])
    path = f"deployments/{made['id']}/failures"
    assert served.get(path) == {"items": [], "total": 0}

    served.carry_out(made["id"], ids[0], status=DeviceStatus.FAILURE, why=("no-space", "disk full"))
    served.carry_out(made["id"], ids[1])
    served.carry_out(made["id"], *ids[:1:-1], status=DeviceStatus.FAILURE, why=("install-failed", "no driver"))

    most = {"code": "install-failed", "text": "no driver", "devices": 6, "again": 0, "first": ids[2:7]}
    least = {"code": "no-space", "text": "disk full", "devices": 1, "again": 0, "first": [ids[0]]}
    assert served.get(path) == {"items": [most, least], "total": 2}
    assert served.get(path, limit=1) == {"items": [most], "total": 2}
    last = [line for line in served.events(f"deployments/{made['id']}/events") if line.kind == "state"][-1]
    assert last.data["failures"] == [most, least]


def test_devices_that_try_again_are_counted_with_the_error_of_their_last_attempt(served: Served) -> None:
    ids = fleet(served, "tries", 3)
    made = served.deploy("panel-2", *ids, retries=1)
    path = f"deployments/{made['id']}/failures"
    why = ("install-failed", "no driver")

    served.carry_out(made["id"], ids[0], ids[2], status=DeviceStatus.FAILURE, why=why)
    served.carry_out(made["id"], ids[1], status=DeviceStatus.FAILURE, why=("no-space", "disk full"))

    again = {"code": "install-failed", "text": "no driver", "devices": 0, "again": 2, "first": [ids[0], ids[2]]}
    final = {"code": "no-space", "text": "disk full", "devices": 1, "again": 0, "first": [ids[1]]}
    assert served.get(path) == {"items": [final, again], "total": 2}


def test_the_logs_of_a_deployment_are_read_by_device_in_pieces_and_of_the_failed_ones(served: Served) -> None:
    ids = fleet(served, "logs", 3)
    made = served.deploy("panel-2", *ids)
    path = f"deployments/{made['id']}/logs"
    for device_id, status in zip(ids, [DeviceStatus.SUCCESS, DeviceStatus.FAILURE, DeviceStatus.SUCCESS], strict=True):
        served.carry_out(made["id"], device_id, status=status)
        lines = [Line(at=datetime.now(UTC), level="info", text=f"{device_id} {n}") for n in range(2)]
        with Device(served.broker.port, device_id) as device:
            device.send(Kind.LOG, LogLines(deployment_id=made["id"], attempt=1, first=0, lines=lines))
            device.check_in()  # what came before it is stored

    def texts(**wanted: object) -> list[str]:
        return [line["text"] for line in served.get(path, **wanted)["items"]]

    assert texts() == [f"{device_id} {n}" for device_id in ids for n in range(2)]
    first = served.get(path, limit=3)
    assert [line["text"] for line in first["items"]] + texts(cursor=first["next"]) == texts()
    assert texts(status="failure") == texts(device=ids[1]) == [f"{ids[1]} 0", f"{ids[1]} 1"]


def test_a_timeline_can_be_of_the_deployment_alone_or_of_one_device(served: Served) -> None:
    ids = fleet(served, "told")
    made = served.deploy("panel-2", *ids)
    served.carry_out(made["id"], *ids)
    path = f"deployments/{made['id']}/timeline"

    of_all = served.get(path)["items"]
    assert {line["kind"] for line in of_all} == {"deployment", "phase", "device"}
    assert served.get(path, devices="false")["items"] == [x for x in of_all if "device_id" not in x]
    assert served.get(path, device=ids[0])["items"] == [x for x in of_all if x.get("device_id") == ids[0]]


def test_too_many_failures_hold_a_deployment_and_a_retry_is_for_those_that_failed(served: Served) -> None:
    ids = fleet(served, "limited", 3)
    made = served.deploy("panel-2", *ids, limits=[{"count": 0}])
    served.carry_out(made["id"], ids[0], status=DeviceStatus.FAILURE)

    held = served.get(f"deployments/{made['id']}")
    assert (held["hold"], held["hold_reason"]) == ("paused", "1 failed, at most 0 may")
    told = [line["text"] for line in served.get(f"deployments/{made['id']}/timeline", devices="false")["items"]]
    assert [text for text in told if "at most" in text] == ["paused: 1 failed, at most 0 may"]
    assert "retry" in held["allowed"]
    again = served.call("POST", f"/api/v1/deployments/{made['id']}/retry")
    assert (again.status_code, again.json()["retry_of"], again.json()["device_count"]) == (201, made["id"], 1)


def test_a_rollback_says_first_what_it_does_and_shows_how_far_it_is(served: Served) -> None:
    ids = fleet(served, "undone")
    made = served.deploy("panel-2", *ids)
    served.carry_out(made["id"], *ids)
    path = f"deployments/{made['id']}"
    plan = served.get(f"{path}/rollback-plan")
    assert (plan["devices"], plan["restored"], plan["releases"]) == (2, 2, {"panel-1": 2})

    undone = served.post(f"{path}/rollback", {"reason": "screens stay dark"})

    assert (undone["margo_state"], undone["rollback"]["summary"]) == ("removing", "0/2 successful")
    assert undone["allowed"] == []
    assert {p["margo_state"] for p in served.get(f"{path}/devices")["items"]} == {"removing"}
    assert served.get(f"devices/{ids[0]}/history")["items"][1]["margo_state"] == "removing"
    child = undone["rollback"]["id"]
    assert served.get(f"deployments/{child}")["rolls_back"] == made["id"]
    assert {p["restore_name"] for p in served.get(f"deployments/{child}/devices")["items"]} == {"panel-1"}
    assert served.call("DELETE", "/api/v1/releases/panel-1").json()["code"] == "artifact-in-use"
    for device_id in ids:
        with Device(served.broker.port, device_id, running="panel-2") as device:
            device.check_in()
            device.report(child, 1, DeviceStatus.SUCCESS)
    over = served.get(path)
    assert (over["outcome"], over["margo_state"], over["rollback"]["outcome"]) == ("rolled-back", "removed", "success")
    assert {p["margo_state"] for p in served.get(f"{path}/devices")["items"]} == {"removed"}
    assert refused(served, f"{path}/rollback") == (409, "rolled-back")


def test_an_approval_is_an_admins_who_did_not_make_it(
    tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto
) -> None:
    with Served(tmp_path_factory.mktemp("approved"), mosquitto, token="sesame", approval_above=1) as served:
        served.release("panel-2")
        served.accept("a-1", "a-2")
        tokens = {}
        for name, role in (("olga", "operator"), ("anton", "admin")):
            served.post("users", {"name": name, "role": role})
            tokens[name] = {"Authorization": f"Bearer {served.post('tokens', {'user': name})['token']}"}
        order = {"release": "panel-2", "devices": ["a-1", "a-2"]}
        made = served.post("deployments", order)
        path = f"/api/v1/deployments/{made['id']}"
        assert (made["hold"], served.post("deployments/plan", order)["needs_approval"]) == ("awaiting-approval", True)
        codes = [
            served.call("POST", f"{path}/approve").json()["code"],
            served.call("POST", f"{path}/approve", headers=tokens["olga"]).json()["code"],
            served.call("POST", f"{path}/start").json()["code"],
        ]
        assert codes == ["own-deployment", "not-allowed", "not-awaiting-start"]
        approved = served.call("POST", f"{path}/approve", headers=tokens["anton"]).json()
        assert (approved["approved_by"], "hold" in approved) == ("anton", False)
        denied = served.post("deployments", {"release": "panel-2", "where": "device_type = 'pi4'"})
        assert denied["hold"] == "awaiting-approval"  # it may grow
        assert served.post(f"deployments/{denied['id']}/deny")["outcome"] == "aborted"


def test_what_a_stage_does_not_allow_is_refused_with_the_code_of_the_table(served: Served) -> None:
    (device, *_) = fleet(served, "table", 1)
    stages = {
        Stage.AWAITING_APPROVAL: served.deploy("panel-2", device, approval=True),
        Stage.AWAITING_START: served.deploy("panel-2", device, manual=True),
        Stage.PENDING: served.deploy("panel-2", device),
        Stage.PAUSED: served.post(f"deployments/{served.deploy('panel-2', device)['id']}/pause"),
        Stage.FINISHED: served.post(f"deployments/{served.deploy('panel-2', device)['id']}/abort"),
    }
    for stage, made in stages.items():
        for act in set(Act) - {Act.DELETE}:
            if stage not in ALLOWED[act]:
                assert refused(served, f"deployments/{made['id']}/{act}") == (409, code_of(act, stage)), (act, stage)
