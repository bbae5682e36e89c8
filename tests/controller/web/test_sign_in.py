"""Signing in by the form: what the cookie is like, how long it holds, who guesses, and where one gets to afterwards."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from urllib.parse import parse_qs, quote, urlsplit

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import insert, select, update

from tests.controller.api.served import Json, Served
from tests.controller.web.conftest import TOKEN, user
from tests.controller.web.visitor import Visitor, attributes_of, is_elsewhere, links
from tests.support.mosquitto import Mosquitto
from wainwright_controller.config import Enrolment, Http
from wainwright_controller.gate import FAILURES_BURST
from wainwright_controller.rows import ENDED_SESSION
from wainwright_controller.rows import TOKEN as TOKENS
from wainwright_controller.sessions import LIFETIME_S

ELSEWHERE = [
    "//evil.example/x",
    "///evil.example",
    "/\\evil.example",
    "\\\\evil.example",
    "https://evil.example",
    "javascript:alert(1)",
    "/\t/evil.example",
    "/\n/evil.example",
    "\t//evil.example",
    " //evil.example",
    "evil.example",
    "",
]


def test_a_token_gives_a_cookie_that_stands_for_it(guarded: Served, visitor: Visitor) -> None:
    made = user(guarded, "anna", "viewer")
    answer = visitor.sign_in(made["token"], "/deployments?status=pending")

    assert (answer.status_code, answer.headers["location"]) == (303, "/deployments?status=pending")
    name, attributes = attributes_of(answer)
    assert name == "wainwright"
    assert attributes == {"httponly": "", "samesite": "lax", "path": "/", "max-age": str(LIFETIME_S)}
    assert made["token"] not in answer.headers["set-cookie"]
    assert made["token"].split("_", 2)[2] not in visitor.cookie
    assert visitor.get("/api/v1/me").json() == {"name": "anna", "role": "viewer"}
    assert visitor.get("/deployments").status_code == 200


def test_with_https_the_cookie_is_for_https_and_this_host_alone(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Served(tmp_path, mosquitto, token=TOKEN, enrolment=Enrolment(enabled=True)) as served:
        visitor = Visitor(served)
        name, attributes = attributes_of(visitor.sign_in(TOKEN))

        assert name == "__Host-wainwright"
        expected = {"httponly": "", "samesite": "lax", "path": "/", "max-age": str(LIFETIME_S), "secure": ""}
        assert attributes == expected
        assert visitor.get("/api/v1/me").json()["name"] == "configuration"
        plain = {"Cookie": f"wainwright={visitor.cookie}"}
        assert served.call("GET", "/api/v1/me", headers={"Authorization": ""} | plain).status_code == 401
        name, attributes = attributes_of(visitor.post("/sign-out"))
        assert (name, attributes["max-age"], "secure" in attributes) == ("__Host-wainwright", "0", True)


def test_a_cookie_is_no_token(guarded: Served) -> None:
    cookie = Visitor.signed_in(guarded, TOKEN).cookie

    answer = guarded.call("GET", "/api/v1/me", headers={"Authorization": f"Bearer {cookie}"})

    assert answer.status_code == 401


def test_signing_out_has_the_browser_forget(guarded: Served) -> None:
    visitor = Visitor.signed_in(guarded, TOKEN)
    answer = visitor.post("/sign-out")

    assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
    assert list(visitor.http.cookies) == []
    assert visitor.get("/deployments").headers["location"].startswith("/sign-in?")


def test_a_session_that_was_signed_out_is_over_for_every_copy_of_its_cookie(guarded: Served) -> None:
    made = user(guarded, "carla")
    owner, thief = Visitor.signed_in(guarded, made["token"]), Visitor(guarded)
    thief.http.cookies.set("wainwright", owner.cookie, domain="127.0.0.1", path="/")
    other = Visitor.signed_in(guarded, TOKEN)
    assert thief.get("/deployments").status_code == 200

    owner.post("/sign-out")

    assert thief.get("/deployments").status_code == 303
    answer = thief.call("GET", "/me")
    assert (answer.status_code, answer.json()["code"]) == (401, "not-authenticated")
    assert thief.post("/sign-out").status_code == 303
    assert other.get("/deployments").status_code == 200
    assert owner.sign_in(made["token"]).status_code == 303


def test_sessions_that_are_over_by_their_time_are_forgotten(guarded: Served) -> None:
    with guarded.controller.store.write() as connection:
        connection.execute(insert(ENDED_SESSION), {"id": "0" * 64, "expires": 1.0})

    Visitor.signed_in(guarded, TOKEN).post("/sign-out")

    with guarded.controller.store.read() as connection:
        kept = connection.execute(select(ENDED_SESSION.c.expires)).scalars().all()
    assert kept
    assert 1.0 not in kept


def revoke(served: Served, made: Json) -> None:
    assert served.call("POST", f"/api/v1/tokens/{made['id']}/revoke").ok


def revoke_user(served: Served, made: Json) -> None:
    served.post(f"users/{made['user']}/revoke")


def expire(served: Served, made: Json) -> None:
    with served.controller.store.write() as connection:
        connection.execute(update(TOKENS).where(TOKENS.c.id == made["id"]).values(expires_at=1.0))


@pytest.mark.parametrize("end", [revoke, revoke_user, expire])
def test_a_session_ends_with_its_token(
    guarded: Served, end: Callable[[Served, Json], None], request: pytest.FixtureRequest
) -> None:
    made = user(guarded, f"ended-by-{request.node.callspec.id}")
    visitor = Visitor.signed_in(guarded, made["token"])
    assert visitor.get("/deployments").status_code == 200

    end(guarded, made)

    answer = visitor.get("/deployments?q=x&status=pending")
    assert answer.status_code == 303
    back = parse_qs(urlsplit(answer.headers["location"]).query)["next"]
    assert back == ["/deployments?q=x&status=pending"]
    refused = visitor.call("GET", "/deployments")
    assert (refused.status_code, refused.json()["code"]) == (401, "not-authenticated")


def test_another_role_holds_for_a_session_from_the_next_request_on(guarded: Served) -> None:
    made = user(guarded, "emil", "viewer")
    visitor = Visitor.signed_in(guarded, made["token"])
    csrf, body = visitor.csrf(), {"ids": ["emils"]}
    assert visitor.call("POST", "/devices/preauthorize", csrf, json=body).status_code == 403

    guarded.post("users/emil/role", {"role": "operator"})

    assert visitor.call("POST", "/devices/preauthorize", csrf, json=body).status_code == 200


def test_a_session_ends_by_itself(tmp_path: Path, mosquitto: Mosquitto) -> None:
    served = Served(tmp_path, mosquitto, token=TOKEN)
    with served:
        visitor = Visitor.signed_in(served, TOKEN)
        token_id, expires, number, signature = visitor.cookie.split(".")
        sessions = served.controller.context.sessions
        old = sessions.make(None, served.controller.context.clock() - LIFETIME_S - 1)
        for cookie in (old, f"{token_id}.{int(expires) + 9}.{number}.{signature}", "nonsense", "x" * 4000):
            visitor.http.cookies.clear()
            visitor.http.cookies.set("wainwright", cookie, domain="127.0.0.1")
            assert visitor.get("/deployments").status_code == 303, cookie
            assert visitor.call("GET", "/me").status_code == 401


def test_sessions_outlive_the_controller_but_not_the_token_of_its_configuration(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    served = Served(tmp_path, mosquitto, token=TOKEN)
    with served:
        configured = Visitor.signed_in(served, TOKEN)
        of_a_user = Visitor.signed_in(served, user(served, "anna")["token"])
    with served:
        assert [one.get("/deployments").status_code for one in (configured, of_a_user)] == [200, 200]
    served.config = msgspec.structs.replace(served.config, http=Http(token="another"))
    with served:
        assert [one.get("/deployments").status_code for one in (configured, of_a_user)] == [303, 200]
        assert configured.sign_in("another").status_code == 303
        assert configured.get("/deployments").status_code == 200


def test_a_wrong_token_is_told_where_it_was_typed(visitor: Visitor) -> None:
    for token, said in (("wrong", "not one of this controller"), ("", "Give a token"), ("wwt_x", "not one of this")):
        answer = visitor.sign_in(token, '/deployments?q="><script>alert(1)</script>')
        assert (answer.status_code, "set-cookie" in answer.headers) == (401, False)
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert said in answer.text
        assert '<input type="hidden" name="next" value="/deployments?q=&#34;&gt;&lt;script&gt;' in answer.text
        assert "wrong" not in answer.text.replace("Too many wrong", "")


@pytest.mark.parametrize("body", ["&".join(f"a{n}=1" for n in range(99)), "token", "=", "token=%ff%00", "\0" * 99])
def test_a_form_that_is_none_of_ours_is_a_wrong_token(visitor: Visitor, body: str) -> None:
    visitor.http.headers["X-Forwarded-For"] = "192.0.2.9"
    answer = visitor.post("/sign-in", data=body.encode())

    assert answer.status_code == 401
    assert "Give a token" in answer.text or "not one of this controller" in answer.text


def test_a_form_has_a_bound(visitor: Visitor) -> None:
    assert visitor.post("/sign-in", data={"token": "x" * 70_000}).status_code == 413


def test_who_guesses_at_the_form_must_wait_and_is_in_the_audit_log(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Served(tmp_path, mosquitto, token=TOKEN) as served:
        monkeypatch.setattr(served.controller.context.gate, "_timer", lambda: 0.0)  # nobody has waited yet
        made = user(served, "kurt")
        guesser = Visitor(served)
        statuses = [guesser.sign_in(f"guess-{n}").status_code for n in range(FAILURES_BURST)]
        assert statuses == [401] * FAILURES_BURST

        answer = guesser.sign_in("guess")
        assert (answer.status_code, 1 <= int(answer.headers["retry-after"]) <= 6) == (429, True)
        assert "Too many wrong tokens" in answer.text
        assert guesser.sign_in(TOKEN).status_code == 429, "not even compared"
        assert guesser.sign_in(made["token"]).status_code == 303
        elsewhere = Visitor(served)
        assert elsewhere.sign_in(TOKEN, **{"X-Forwarded-For": "192.0.2.7"}).status_code == 303

        entries = served.call("GET", "/api/v1/audit?action=sign-in", headers={"X-Forwarded-For": "192.0.2.8"}).json()[
            "items"
        ]
        assert [entry["who"] for entry in entries] == ["unknown"] * (FAILURES_BURST + 2)
        assert {entry["code"] for entry in entries} == {"not-authenticated", "too-many-failures"}
        assert {entry["address"] for entry in entries} == {"127.0.0.1"}
        assert "guess-1" not in str(entries)


def test_a_page_of_another_site_signs_nobody_in_or_out(guarded: Served) -> None:
    """Or one could work under a stranger's name without knowing it (login CSRF)."""
    visitor = Visitor(guarded)
    foreign: list[dict[str, str | None]] = [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://[", "Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": None, "Sec-Fetch-Site": "cross-site"},
        {"Origin": f"http://127.0.0.1.evil.example:{guarded.port}"},
    ]
    for headers in foreign:
        answer = visitor.post("/sign-in", data={"token": TOKEN}, headers=headers)
        assert (headers, answer.status_code, "set-cookie" in answer.headers) == (headers, 403, False)
        assert "another site" in answer.text
        assert visitor.post("/sign-out", headers=headers).status_code == 403


def test_a_controller_is_known_by_the_name_that_people_reach_it_by(guarded: Served) -> None:
    """Whoever listens on all addresses need not list them all, as long as a token is asked for."""
    name = "http://panel-room.example:8080"
    visitor = Visitor(guarded)

    answer = visitor.post("/sign-in", data={"token": TOKEN}, headers={"Host": name[7:], "Origin": name})
    assert answer.status_code == 303
    for origin in ("http://panel-room.example", "http://panel-room.example:9090", "http://evil.example:8080"):
        answer = visitor.post("/sign-in", data={"token": TOKEN}, headers={"Host": name[7:], "Origin": origin})
        assert answer.status_code == 403, origin


@pytest.mark.parametrize("wanted", ELSEWHERE, ids=repr)
def test_signing_in_leads_to_no_other_site(guarded: Served, wanted: str) -> None:
    visitor = Visitor(guarded)

    assert visitor.sign_in(TOKEN, wanted).headers["location"] == "/deployments"
    shown = visitor.get(f"/sign-in?next={quote(wanted)}").text
    assert 'name="next" value="/deployments"' in shown


@given(st.text("/\\.:@%?#\t\r\n \u2028a", max_size=12))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_signing_in_stays_here_whatever_next_is(visitor: Visitor, wanted: str) -> None:
    location = visitor.sign_in(TOKEN, wanted).headers["location"]

    assert location.startswith("/")
    assert not is_elsewhere(location)


def test_an_address_of_any_length_survives_signing_in(guarded: Served, visitor: Visitor) -> None:
    """A filter in an address may be long."""
    wanted = "/deployments?q=" + "x" * 5000
    asked = visitor.get(wanted)
    shown = visitor.get(asked.headers["location"])

    assert (asked.status_code, shown.status_code) == (303, 200)
    assert wanted in shown.text
    assert Visitor(guarded).sign_in(TOKEN, wanted).headers["location"] == wanted


def test_where_no_token_is_asked_for_nobody_signs_in(served: Served) -> None:
    visitor = Visitor(served)
    assert visitor.get("/sign-in?next=/devices").headers["location"] == "/devices"
    page = visitor.get("/deployments")
    assert (page.status_code, "Sign out" in page.text) == (200, False)
    assert "set-cookie" not in visitor.sign_in("").headers


def test_a_cookie_of_another_controller_on_this_machine_locks_nobody_out(served: Served) -> None:
    """Browsers send a cookie to all ports of a host."""
    visitor = Visitor(served)
    visitor.http.cookies.set("wainwright", "0123456789ab.1800000000." + "0" * 64, domain="127.0.0.1")

    assert visitor.get("/deployments").status_code == 200
    body = {"ids": ["of-the-other"]}
    assert visitor.call("POST", "/devices/preauthorize", json=body).status_code == 200
    foreign = {"Origin": "http://evil.example"}
    assert visitor.call("POST", "/devices/preauthorize", json=body, headers=foreign).status_code == 403
    assert visitor.get("/deployments", headers={"Host": "evil.example"}).status_code == 403


def test_a_session_counts_where_no_token_is_asked_for(served: Served) -> None:
    made = user(served, "lea", "viewer")
    visitor = Visitor.signed_in(served, made["token"])

    assert visitor.get("/api/v1/me").json()["name"] == "lea"
    assert "Sign out" in visitor.get("/deployments").text
    answer = visitor.call("POST", "/devices/preauthorize", visitor.csrf(), json={"ids": ["x"]})
    assert answer.status_code == 403
    assert not [one for one in links(visitor.get("/deployments").text) if is_elsewhere(one)]
