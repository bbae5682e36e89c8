"""Whoever may not, tries: every request that the OpenAPI document has, on real things, with bodies that are right.

Nothing may change; and at the end an admin makes the very same requests, which do change things.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from typing import NamedTuple

import pytest
from msgspec import UNSET

from tests.controller.api.served import artifact
from tests.support.device import Device
from tests.support.est import EstDevice
from tests.support.mosquitto import Mosquitto
from tests.support.serve import Serve
from tests.support.wait import wait_until
from wainwright_common.messages import Reason
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.api.access import PREFIX
from wainwright_controller.api.roles import LEAST
from wainwright_controller.people import Role

ENTERED = {"audit", "setting", "sqlite_sequence"}  # what a refusal changes: its entry, and the head of the chain
USED = "last_used_at"
LATER = "2099-01-01T00:00:00Z"


class Request(NamedTuple):
    """What somebody tries; `path` is below /api/v1."""

    method: str
    path: str
    body: object = None
    data: bytes | None = None


class World:
    """A controller with a thing for every request: what one does must not keep another from it."""

    def __init__(self, controller: Serve, broker: Mosquitto) -> None:
        self.controller = controller
        self._broker = broker
        self._devices = 0
        for name in ("panel-2", "panel-3", "panel-4"):
            stored = controller.good("POST", "artifacts", data=artifact(name))
        self.unused_artifact = stored["id"]
        controller.good("POST", "groups", json={"name": "plant", "ids": []})
        controller.good("POST", "groups", json={"name": "old", "ids": []})
        controller.good("POST", "groups", json={"name": "hot", "where": 'tags.hot = "1"'})
        self.people = {role: controller.person(f"a-{role}", role) for role in Role}
        controller.person("emil", "viewer")
        controller.person("fred", "viewer")
        self.token_id = controller.good("POST", "tokens", json={"user": "emil"})["id"]
        self.reject, self.decommission, self.tag = self.device(), self.device(), self.device()
        self.accept, self.disputed, self.revoke = self.device(), self._asks(), self._enrolled().name
        self.serial = f"{self._enrolled().certificate.serial_number:x}"
        self.enrolment_token = controller.good("POST", "enrolment/tokens", json={"expires_at": LATER})["id"]
        self.former_issuer = controller.good("GET", "ca")["issuers"][0]["id"]
        controller.good("POST", "ca/rotate", json={})
        controller.good("POST", "devices/reject", json={"ids": [self.accept]})
        self.recommission = self.device()
        controller.good("POST", f"devices/{self.recommission}/decommission")

    def device(self) -> str:
        """Accept a device of its own for a request."""
        self._devices += 1
        device_id = f"device-{self._devices}"
        self.controller.good("POST", "devices/preauthorize", json={"ids": [device_id]})
        return device_id

    def _asks(self) -> EstDevice:
        """Return a device that is accepted, whose key waits for somebody's decision."""
        found = EstDevice(self.controller.url, self.controller.folder, self.controller.folder, self.device())
        assert found.enrol().status_code == 202
        return found

    def _enrolled(self) -> EstDevice:
        """Return a device that has a certificate."""
        found = self._asks()
        self.controller.good("POST", f"devices/{found.name}/accept-key", json={"key": found.digest})
        assert found.enrol().status_code == 200
        return found

    def deployment(self, *, ends: DeviceStatus | None = None, devices: int = 1, **order: object) -> str:
        """Make a deployment, by an operator, and let its first device end as told; returns its id."""
        ids = [self.device() for _ in range(devices)]
        target: dict[str, object] = {} if "where" in order else {"devices": ids}
        otto = self.people[Role.OPERATOR]
        made = self.controller.good("POST", "deployments", otto, json={"release": "panel-2"} | target | order)
        if ends is not None:
            error = Reason(code="no-space", text="full") if ends is DeviceStatus.FAILURE else UNSET
            with Device(self._broker.port, ids[0], prefix=str(self.controller.settings["broker__prefix"])) as device:
                assert device.check_in().offer
                device.report(made["id"], 1, DeviceStatus.INSTALLING)
                device.report(made["id"], 2, ends, error=error)
        return str(made["id"])

    def held(self) -> str:
        """Make a deployment that waits to be promoted."""
        made = self.deployment(ends=DeviceStatus.SUCCESS, devices=2, phases=[{"count": 1}, {"opens": "approval"}])

        def waits() -> bool:
            return bool(self.controller.good("GET", f"deployments/{made}").get("hold") == "awaiting-promotion")

        wait_until(waits, what="the deployment to wait")
        return made

    def requests(self) -> dict[tuple[str, str], Request]:
        """Return one request for each that is not for viewers, by method and path of the document."""
        of = self.deployment
        ended = of(ends=DeviceStatus.FAILURE)
        paused, gone = of(), of()
        self.controller.good("POST", f"deployments/{paused}/pause", json={})
        self.controller.good("POST", f"deployments/{gone}/abort", json={})
        deployments = {
            "approve": of(approval=True), "deny": of(approval=True), "start": of(manual=True), "promote": self.held(),
            "approve-batch": self.held(), "pause": of(), "resume": paused,
            "install": of(policy={"download_only": True}), "retry": ended, "rollback": of(),
            "finish": of(where='tags.none = "1"'), "abort": of(),
        }  # fmt: skip
        order = {"release": "panel-3", "devices": [self.device()]}
        made = [
            Request("POST", "/devices/accept", {"ids": [self.accept]}),
            Request("POST", "/devices/reject", {"ids": [self.reject]}),
            Request("POST", "/devices/preauthorize", {"ids": ["nobody-yet"]}),
            Request("POST", "/devices/tags", {"ids": [self.tag], "given": {"line": "7"}}),
            Request("POST", "/devices/check-in", {"ids": [self.tag]}),
            Request("POST", "/groups", {"name": "new", "ids": [self.tag]}),
            Request("POST", "/artifacts", data=artifact("panel-9")),
            Request("POST", "/deployments", order),
            Request("POST", "/deployments/plan", order),
            Request("POST", "/users", {"name": "mallory", "role": "admin"}),
            Request("POST", "/tokens", {"user": "a-admin"}),
            Request("POST", "/enrolment/tokens", {"expires_at": LATER}),
            Request("POST", "/ca/retire", {"issuer": self.former_issuer}),
            Request("POST", "/ca/request"),
            Request("POST", "/ca/rotate", {}),
            *(Request("GET", path) for path in ("/users", "/tokens", "/audit", "/audit/verify", "/enrolment/tokens")),
        ]
        table = {(request.method, request.path): request for request in made}
        table |= {
            ("POST", "/devices/{device_id}/decommission"): Request(
                "POST", f"/devices/{self.decommission}/decommission"
            ),
            ("POST", "/devices/{device_id}/recommission"): Request(
                "POST", f"/devices/{self.recommission}/recommission"
            ),
            ("POST", "/devices/{device_id}/accept-key"): Request(
                "POST", f"/devices/{self.disputed.name}/accept-key", {"key": self.disputed.digest}
            ),
            ("POST", "/devices/{device_id}/revoke"): Request("POST", f"/devices/{self.revoke}/revoke", {}),
            ("POST", "/certificates/{serial}/revoke"): Request("POST", f"/certificates/{self.serial}/revoke", {}),
            ("POST", "/enrolment/tokens/{token_id}/revoke"): Request(
                "POST", f"/enrolment/tokens/{self.enrolment_token}/revoke"
            ),
            ("PUT", "/groups/{name}/filter"): Request("PUT", "/groups/hot/filter", {"where": 'tags.hot = "2"'}),
            ("POST", "/groups/{name}/add"): Request("POST", "/groups/plant/add", {"ids": [self.tag]}),
            ("POST", "/groups/{name}/remove"): Request("POST", "/groups/plant/remove", {"ids": [self.tag]}),
            ("DELETE", "/groups/{name}"): Request("DELETE", "/groups/old"),
            ("DELETE", "/artifacts/{artifact_id}"): Request("DELETE", f"/artifacts/{self.unused_artifact}"),
            ("DELETE", "/releases/{name}"): Request("DELETE", "/releases/panel-9"),
            ("DELETE", "/deployments/{deployment_id}"): Request("DELETE", f"/deployments/{gone}"),
            ("POST", "/users/{name}/role"): Request("POST", "/users/emil/role", {"role": "admin"}),
            ("POST", "/users/{name}/revoke"): Request("POST", "/users/fred/revoke"),
            ("POST", "/tokens/{token_id}/revoke"): Request("POST", f"/tokens/{self.token_id}/revoke"),
        }
        for act, deployment_id in deployments.items():
            path = f"/deployments/{deployment_id}/{act}"
            table["POST", f"/deployments/{{deployment_id}}/{act}"] = Request("POST", path, {"reason": "because"})
        return table

    def attempt(self, token: str, request: Request, **headers: str) -> tuple[int, str]:
        """Make a request; returns its status and its code, "" where it is no problem."""
        answer = self.controller.call(
            request.method, request.path[1:], token, json=request.body, data=request.data, headers=headers
        )
        return answer.status_code, "" if answer.ok else answer.json()["code"]

    def state(self) -> dict[str, object]:
        """Return all that is stored, past the controller: each table's rows, and the files."""
        with closing(sqlite3.connect(f"file:{self.controller.data_dir / 'wainwright.db'}?mode=ro", uri=True)) as store:
            store.row_factory = sqlite3.Row
            names = [row[0] for row in store.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            tables: dict[str, object] = {
                name: [{k: row[k] for k in row.keys() if k != USED} for row in store.execute(f"SELECT * FROM {name}")]  # noqa: S608, SIM118  names of the schema; a Row's keys
                for name in sorted(names)
                if name not in ENTERED
            }
        folders = (self.controller.data_dir / name for name in ("artifacts", "pki"))
        # A name that begins with a dot is one that is being written: the revocation list, whenever it is due.
        files = sorted(str(path) for folder in folders for path in folder.rglob("[!.]*"))
        return tables | {"files": files}


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[Serve]:
    """A controller that asks for tokens, and has an authority."""
    with Serve(tmp_path_factory.mktemp("serve"), mosquitto.url, enrolment__enabled=True) as running:
        yield running


@pytest.fixture(scope="module")
def world(controller: Serve, mosquitto: Mosquitto) -> World:
    """See World."""
    return World(controller, mosquitto)


@pytest.fixture(scope="module")
def requests_(world: World) -> dict[tuple[str, str], Request]:
    """One request for each line of roles.py that is not for viewers."""
    return world.requests()


def strangers(world: World) -> Iterator[tuple[str, str, dict[str, str]]]:
    """Yield (who, token, headers) of those who have no token that is valid."""
    good = world.people[Role.ADMIN]
    controller = world.controller
    gone = controller.person("gone", "admin")
    controller.good("POST", "users/gone/revoke")
    revoked = controller.good("POST", "tokens", json={"user": "a-admin"})
    controller.good("POST", f"tokens/{revoked['id']}/revoke")
    expired = controller.good("POST", "tokens", json={"user": "a-admin", "expires_at": "2099-01-01T00:00:00Z"})
    with closing(sqlite3.connect(controller.data_dir / "wainwright.db", timeout=30)) as store, store:
        store.execute("UPDATE token SET expires_at = 1 WHERE id = ?", (expired["id"],))
    yield "nobody", "", {}
    yield "a revoked user", gone, {}
    yield "a revoked token", revoked["token"], {}
    yield "an expired token", expired["token"], {}
    yield "a token's id with another secret", f"{good[:-43]}{'A' * 43}", {}
    yield "half a token", good[:30], {}
    yield "another scheme", "", {"Authorization": f"Basic {good}"}
    yield "a token as a cookie", "", {"Cookie": f"token={good}; Authorization=Bearer {good}"}
    yield "a header of proxies", "", {"X-Remote-User": "a-admin", "X-Forwarded-User": "a-admin"}


def test_every_request_that_is_not_for_viewers_is_tried(
    controller: Serve, requests_: dict[tuple[str, str], Request]
) -> None:
    """A request that is new in the document has to be added to World.requests."""
    paths = controller.good("GET", "openapi.json")["paths"].items()
    described = {(method.upper(), path.removeprefix(PREFIX)) for path, methods in paths for method in methods}
    for_more = {
        key for key in described if LEAST.get(key, Role.ADMIN) is not Role.VIEWER and f"{PREFIX}{key[1]}" in dict(paths)
    }
    assert len(for_more) > 30
    assert for_more == requests_.keys()


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
def test_who_may_not_changes_nothing(world: World, requests_: dict[tuple[str, str], Request], role: Role) -> None:
    before = world.state()
    for key, request in requests_.items():
        if not role.includes(LEAST[key]):
            assert (key, world.attempt(world.people[role], request)) == (key, (403, "not-allowed"))
    assert world.state() == before


def test_who_is_nobody_changes_nothing(world: World, requests_: dict[tuple[str, str], Request]) -> None:
    for tried, (who, token, headers) in enumerate(strangers(world)):
        before = world.state()
        for number, (key, request) in enumerate(requests_.items()):
            # From another address each time: else he would soon be told to wait, before anybody looked at his token.
            headers["X-Forwarded-For"] = f"198.51.{tried}.{number}"
            status, code = world.attempt(token, request, **headers)
            assert (who, key, status, code) == (who, key, 401, "not-authenticated")
        assert (who, world.state()) == (who, before)


def test_the_log_has_who_tried(world: World, requests_: dict[tuple[str, str], Request]) -> None:
    revoked = world.controller.good("POST", "tokens", json={"user": "a-admin"})
    world.controller.good("POST", f"tokens/{revoked['id']}/revoke")
    for number, token in enumerate((world.people[Role.VIEWER], "", revoked["token"])):
        headers = {"X-Forwarded-For": f"198.52.0.{number}"}
        assert world.attempt(token, requests_["POST", "/devices/accept"], **headers)[0] in {401, 403}
    refused = world.controller.good("GET", "audit", params={"verdict": "refused", "limit": 10})["items"]
    assert {(entry["who"], entry["code"]) for entry in refused} >= {
        ("a-viewer", "not-allowed"),
        ("unknown", "not-authenticated"),
        ("a-admin", "not-authenticated"),
    }


def test_the_same_requests_of_an_admin_do_change_things(
    world: World, requests_: dict[tuple[str, str], Request]
) -> None:
    """Last, because it does."""
    idle = []
    for key, request in requests_.items():
        before = world.state()
        status, code = world.attempt(world.people[Role.ADMIN], request)
        assert (key, status < 300, code) == (key, True, "")
        if world.state() == before:
            idle.append(key)
    assert {method for method, path in idle if path not in {"/deployments/plan", "/devices/check-in"}} <= {"GET"}, idle
