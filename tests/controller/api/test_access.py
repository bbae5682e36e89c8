"""Who may call the API, whether it is well, and what it says of itself."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.controller.api.served import Served
from tests.support.device import Device
from tests.support.mosquitto import Mosquitto
from tests.support.wait import wait_until
from wainwright_common import __version__
from wainwright_common.errors import ArtifactError
from wainwright_controller.api import problems
from wainwright_controller.rules.actions import ALLOWED, Act, Refused, Stage, code_of


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Served:
    """A controller that wants a token."""
    return Served(tmp_path_factory.mktemp("guarded"), mosquitto, token="sesame")


def test_a_token_guards_the_api_and_nothing_else(guarded: Served) -> None:
    with guarded:
        for given in ("", "Bearer", "Bearer wrong", "Basic sesame", "Bearer sesamé", "sesame"):
            answer = guarded.call("GET", "/api/v1/devices", headers={"Authorization": given.encode("utf-8")})
            assert (given, answer.status_code, answer.json()["code"]) == (given, 401, "not-authenticated")
            assert answer.headers["www-authenticate"] == "Bearer"
        refused = guarded.call("POST", "/api/v1/artifacts", data=b"x" * 10, headers={"Authorization": "Bearer x"})
        assert refused.status_code == 401
        assert guarded.call("GET", "/api/v1/devices").status_code == 200
        assert guarded.call("GET", "/api/v1/devices", headers={"Authorization": "bearer sesame"}).status_code == 200
        for path in ("/healthz", "/readyz", "/metrics"):
            assert guarded.call("GET", path, headers={"Authorization": ""}).status_code == 200


def test_a_page_of_another_site_cannot_steer_a_controller_through_its_visitors_browser(served: Served) -> None:
    for site, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
        headers = {"Sec-Fetch-Site": site}
        answer = served.call("POST", "/api/v1/devices/accept", json={"all_pending": True}, headers=headers)
        assert (site, answer.status_code) == (site, status)
        assert served.call("GET", "/api/v1/devices", headers=headers).status_code == 200


def test_a_page_cannot_reach_a_controller_without_token_under_a_name_of_its_own(served: Served) -> None:
    def accept(**headers: str) -> int:
        return served.call("POST", "/api/v1/devices/accept", json={"all_pending": True}, headers=headers).status_code

    assert accept(Host="attacker.example") == 403
    assert served.call("GET", "/api/v1/devices", headers={"Host": "attacker.example:8080"}).status_code == 403
    assert accept(Origin="http://attacker.example") == 403
    assert accept(Origin="null") == 403
    assert accept(Host=f"localhost:{served.port}", Origin=f"http://localhost:{served.port}") == 200


@pytest.mark.parametrize("header", ["Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto", "X-Real-IP"])
def test_nobody_is_the_local_admin_through_a_proxy(served: Served, guarded: Served, header: str) -> None:
    """Not even if it names the controller's own address as the host, as nginx does when nobody says otherwise."""
    for sender in ("192.0.2.7", "127.0.0.1"):
        for method, path in (("GET", "/api/v1/devices"), ("POST", "/api/v1/devices/accept")):
            answer = served.call(method, path, json={"all_pending": True}, headers={header: sender})
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
            assert "http.require_token" in answer.json()["detail"]
    assert served.call("GET", "/healthz", headers={header: "192.0.2.7"}).status_code == 200
    with guarded:
        assert guarded.call("GET", "/api/v1/devices", headers={header: "192.0.2.7"}).status_code == 200


def test_a_request_that_is_too_large_is_refused(served: Served) -> None:
    answer = served.call("POST", "/api/v1/devices/accept", data=b" " * (16 * 2**20 + 1))
    assert (answer.status_code, answer.json()["code"]) == (413, "body-too-large")


def test_a_controller_without_a_broker_lives_but_is_not_ready(tmp_path: Path, own_mosquitto: Mosquitto) -> None:
    with Served(tmp_path, own_mosquitto) as served:
        assert served.call("GET", "/readyz").json() == {"ready": True, "store": True, "broker": True}
        own_mosquitto.kill()
        wait_until(lambda: not served.controller.link.connected.is_set(), what="the loss of the broker")
        answer = served.call("GET", "/readyz")
        assert (answer.status_code, answer.json()) == (503, {"ready": False, "store": True, "broker": False})
        assert served.call("GET", "/healthz").json() == {"alive": True}
        assert served.get("status")["broker"] == {"connected": False}


def test_status_and_metrics_count_the_same_things(served: Served) -> None:
    served.release("counted-1")
    served.accept("counted-1")
    with Device(served.broker.port, "counted-1") as device:
        device.announce()
        device.check_in()
        device.send_raw("wain/v1/counted-1/up/report", b"nonsense")
        wait_until(lambda: served.controller.counts.refused["not-json"] == 1, what="the refusal")
        status = served.get("status")
        metrics = dict(
            line.rsplit(" ", 1)
            for line in served.call("GET", "/metrics").text.splitlines()
            if line and not line.startswith("#")
        )
    assert status["version"] == __version__
    assert (status["devices"]["accepted"], status["devices_online"]) == (1, 1)
    assert (status["releases"], status["artifacts"]) == (1, 1)
    assert metrics['wainwright_devices{state="accepted"}'] == "1"
    assert metrics["wainwright_devices_online"] == "1"
    assert metrics['wainwright_messages_total{kind="check-in"}'] == "1"
    assert metrics['wainwright_messages_refused_total{reason="not-json"}'] == "1"
    assert metrics["wainwright_broker_connected"] == "1"


def test_openapi_describes_every_answer_and_every_problem(served: Served) -> None:
    described = served.get("openapi.json")
    for path, methods in described["paths"].items():
        for method, operation in methods.items():
            assert operation["description"], (method, path)
            assert "application/problem+json" in operation["responses"]["default"]["content"], (method, path)
            good = [status for status in operation["responses"] if status.startswith("2")]
            assert good, (method, path)
    assert set(described["components"]["schemas"]) >= {"DeploymentOut", "DeviceDetail", "OrderIn", "Problem"}


def test_the_page_about_the_api_lists_every_code_that_a_problem_can_have() -> None:
    docs = Path(__file__).parents[3] / "docs"
    page = "".join((docs / name).read_text(encoding="utf-8") for name in ("api.md", "enrolment.md"))
    codes = {code for kind, (_, code) in problems.STATUSES.items() if kind not in {ArtifactError, Refused}}
    codes |= set(problems.HTTP_CODES.values())
    for source in Path(problems.__file__).parents[1].rglob("*.py"):
        codes |= set(re.findall(r'Refused\(\s*"([a-z-]+)"', source.read_text(encoding="utf-8")))
    codes |= {code_of(act, stage) for act in Act for stage in Stage if stage not in ALLOWED[act]}
    assert len(codes) > 20
    assert {code for code in codes if f"`{code}`" not in page} == set()
