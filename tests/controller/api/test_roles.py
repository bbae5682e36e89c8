"""Every request of the OpenAPI document, as every role: who may, and who may not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import iter_route_contexts

from tests.controller.api.served import Json, Served
from tests.support.mosquitto import Mosquitto
from wainwright_controller.api.access import PREFIX
from wainwright_controller.api.app import create_app
from wainwright_controller.api.roles import LEAST, OPEN, least
from wainwright_controller.people import Role
from wainwright_controller.web.roles import OPEN as PAGES_OPEN
from wainwright_controller.web.roles import SHOWS

CHECKED = "not-allowed"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[Served]:
    """A controller that wants tokens, with a user of each role."""
    with Served(tmp_path_factory.mktemp("guarded"), mosquitto, token="sesame") as served:
        for role in Role:
            served.post("users", {"name": f"a-{role}", "role": role})
        yield served


@pytest.fixture(scope="module")
def tokens(guarded: Served) -> dict[Role, str]:
    """A token of each role."""
    return {role: guarded.post("tokens", {"user": f"a-{role}"})["token"] for role in Role}


def operations(described: Json) -> set[tuple[str, str]]:
    """Return (method, path below /api/v1) of each operation of an OpenAPI document that is for people."""
    return {
        (method.upper(), path.removeprefix(PREFIX))
        for path, methods in described["paths"].items()
        for method in methods
        if path.startswith(f"{PREFIX}/")
    }


def test_every_request_has_a_rule_and_every_rule_a_request(guarded: Served) -> None:
    described = operations(guarded.get("openapi.json"))

    assert len(described) > 35
    assert described - LEAST.keys() == set(), "add them to api/roles.py"
    assert LEAST.keys() - described == set(), "no such requests: take them out of api/roles.py"


def test_every_route_is_for_somebody_or_is_known_to_be_for_everybody(guarded: Served) -> None:
    """Also one that the OpenAPI document does not show, and one that was made past our routers."""
    app = create_app(guarded.controller.context)
    routes = {
        (method, str(route.path_format or route.path))
        for route in iter_route_contexts(app.routes)
        for method in (route.methods or {"ANY"}) - {"HEAD"}
    }
    known = {(method, f"{PREFIX}{path}") for method, path in LEAST}
    pages = SHOWS.keys() | PAGES_OPEN.keys()

    assert len(routes) > 60
    assert routes - known - OPEN.keys() - pages == set(), "add them to api/roles.py or web/roles.py"
    assert OPEN.keys() - routes == set(), "no such routes: take them out of OPEN in api/roles.py"
    assert pages - routes == set(), "no such pages: take them out of web/roles.py"


def test_a_page_asks_for_the_role_of_what_it_shows() -> None:
    assert set(SHOWS.values()) - LEAST.keys() == set(), "no such requests of the API"


def test_what_is_for_everybody_changes_nothing_but_that_devices_enrol() -> None:
    changing = {path for method, path in OPEN if method != "GET"}
    assert changing == {"/.well-known/est/simpleenroll", "/.well-known/est/simplereenroll"}


def test_reading_the_fleet_is_for_everybody_and_changing_it_is_not() -> None:
    for (method, path), role in LEAST.items():
        if method != "GET":
            assert role is not Role.VIEWER, (method, path)
        elif not path.startswith(("/users", "/tokens", "/audit", "/enrolment/tokens")):
            assert role is Role.VIEWER, (method, path)


def test_what_has_no_rule_is_for_admins() -> None:
    assert least("POST", "/something/new") is Role.ADMIN
    assert least("GET", "/something/new") is Role.ADMIN


@pytest.mark.parametrize("role", list(Role), ids=list(Role))
def test_each_role_may_do_what_the_table_says_and_nothing_else(
    guarded: Served, tokens: dict[Role, str], role: Role
) -> None:
    """A body that no request takes, and things that are not there: who is allowed is told something else than 403."""
    headers = {"Authorization": f"Bearer {tokens[role]}"}
    for method, path in sorted(operations(guarded.get("openapi.json"))):
        place = re.sub(r"{\w+}", "nothing-of-that-name", path)
        with guarded.call(method, PREFIX + place, headers=headers, json=["no", "body"], stream=True) as answer:
            is_event_stream = answer.headers["content-type"].startswith("text/event-stream")
            code = "" if answer.ok or is_event_stream else answer.json()["code"]
        if role.includes(LEAST[method, path]):
            assert (method, path, answer.status_code in {401, 403, 500}) == (method, path, False)
        else:
            assert (method, path, answer.status_code, code) == (method, path, 403, CHECKED)


def test_without_a_token_nothing_is_allowed(guarded: Served) -> None:
    for method, path in sorted(operations(guarded.get("openapi.json"))):
        place = re.sub(r"{\w+}", "x", path)
        answer = guarded.call(method, PREFIX + place, headers={"Authorization": ""}, json=["no", "body"])
        assert (method, path, answer.status_code) == (method, path, 401)
        assert answer.json()["code"] == "not-authenticated"


def test_the_page_about_security_has_the_table_of_roles() -> None:
    page = (Path(__file__).parents[3] / "docs" / "security.md").read_text(encoding="utf-8")
    told = set(re.findall(r"^\| `(GET|POST|PUT|DELETE) (\S+)` \| (\w+) \|$", page, re.MULTILINE))

    assert told == {(method, path, str(role)) for (method, path), role in LEAST.items() if role is not Role.VIEWER}
    for (method, path), why in OPEN.items():
        assert f"| `{method} {path}` | {why} |" in page
