"""What a browser that has signed in may change, and what it takes: the cookie alone changes nothing."""

from __future__ import annotations

import itertools
import re

import pytest

from tests.controller.api.served import Json, Served
from tests.controller.web.conftest import TOKEN, user
from tests.controller.web.visitor import Visitor
from wainwright_controller.api.access import PREFIX


def changing(described: Json) -> list[tuple[str, str]]:
    """Return (method, path below /api/v1) of each request of an OpenAPI document that changes something."""
    return sorted(
        (method.upper(), re.sub(r"{\w+}", "nothing-of-that-name", path.removeprefix(PREFIX)))
        for path, methods in described["paths"].items()
        for method in methods
        if path.startswith(f"{PREFIX}/") and method != "get"
    )


def test_every_request_that_changes_something_needs_the_pages_value_with_a_cookie(guarded: Served) -> None:
    visitor = Visitor.signed_in(guarded, TOKEN)
    csrf = visitor.csrf()
    requests = changing(guarded.get("openapi.json"))
    assert len(requests) > 25
    wrong = itertools.cycle(["", "0" * 64, csrf[:-1], visitor.cookie])
    for method, path in requests:
        answer = visitor.call(method, path, next(wrong), json=["no", "body"])
        assert (method, path, answer.status_code, answer.json()["code"]) == (method, path, 403, "forbidden")
        right = visitor.call(method, path, csrf, json=["no", "body"])
        assert (method, path, right.status_code in {401, 403, 500}) == (method, path, False)


def test_no_request_needs_the_pages_value_with_a_token(guarded: Served) -> None:
    for method, path in changing(guarded.get("openapi.json")):
        answer = guarded.call(method, PREFIX + path, json=["no", "body"])
        assert (method, path, answer.status_code in {401, 403, 500}) == (method, path, False)


def test_a_token_beside_a_cookie_is_who_it_is(guarded: Served) -> None:
    made = user(guarded, "anna", "viewer")
    visitor = Visitor.signed_in(guarded, TOKEN)
    bearer = {"Authorization": f"Bearer {made['token']}"}

    assert visitor.call("GET", "/me", headers=bearer).json()["name"] == "anna"
    assert visitor.call("GET", "/me", headers={"Authorization": "Bearer wrong"}).status_code == 401
    body = {"ids": ["x"]}
    assert visitor.call("POST", "/devices/preauthorize", visitor.csrf(), json=body, headers=bearer).status_code == 403


def test_the_value_of_one_session_is_none_of_another(guarded: Served) -> None:
    anna = Visitor.signed_in(guarded, user(guarded, "one")["token"])
    bert = Visitor.signed_in(guarded, user(guarded, "two")["token"])
    body = {"ids": ["known-by-one"]}

    assert anna.csrf() != bert.csrf()
    assert anna.call("POST", "/devices/preauthorize", bert.csrf(), json=body).status_code == 403
    assert anna.call("POST", "/devices/preauthorize", anna.csrf(), json=body).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "https://127.0.0.1.evil.example"},
        {"Origin": "null"},
        {"Origin": ""},
        {"Origin": "http://evil.example", "Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "cross-site"},
    ],
    ids=str,
)
def test_a_page_of_another_site_changes_nothing_even_if_it_knew_everything(
    guarded: Served, headers: dict[str, str]
) -> None:
    visitor = Visitor.signed_in(guarded, TOKEN)
    body = {"ids": ["foreign"]}

    answer = visitor.call("POST", "/devices/preauthorize", visitor.csrf(), json=body, headers=headers)

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
    assert guarded.call("GET", f"{PREFIX}/devices/foreign").status_code == 404


def test_no_other_site_may_read_an_answer(guarded: Served) -> None:
    visitor = Visitor.signed_in(guarded, TOKEN)
    for path in ("/api/v1/me", "/deployments", "/sign-in", "/static/x/main.js"):
        answer = visitor.get(path, headers={"Origin": "http://evil.example"})
        assert not [name for name in answer.headers if name.lower().startswith("access-control-")], path
    asked = {"Origin": "http://evil.example", "Access-Control-Request-Method": "POST"}
    assert visitor.http.options(f"{guarded.url}/api/v1/devices/accept", headers=asked, timeout=30).status_code == 405


def test_the_audit_log_and_the_timeline_have_the_person_who_clicked(guarded: Served) -> None:
    visitor = Visitor.signed_in(guarded, user(guarded, "carl")["token"])
    visitor.http.headers["X-Forwarded-For"] = "192.0.2.3"  # of whom no refusal was left out yet
    assert visitor.call("POST", "/devices/preauthorize", visitor.csrf(), json={"ids": ["of-carl"]}).ok
    assert visitor.call("POST", "/devices/preauthorize", json={"ids": ["not-of-carl"]}).status_code == 403

    (line,) = guarded.get("devices/of-carl/timeline")["items"]
    assert line["actor"] == "carl"
    entries = [one for one in guarded.get("audit", limit=100)["items"] if one["action"] == "preauthorize-devices"]
    told = {(one["who"], one["address"], one["verdict"], one.get("code")) for one in entries}
    assert told >= {("carl", "192.0.2.3", "allowed", None), ("unknown", "192.0.2.3", "refused", "forbidden")}
