"""Users and tokens over HTTP: made, used, expired, revoked; and who guesses."""

from __future__ import annotations

import hashlib
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import select, update

from tests.controller.api.served import Json, Served
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_controller.config import Config, Http
from wainwright_controller.first_admin import FILE
from wainwright_controller.gate import FAILURES_BURST
from wainwright_controller.rows import TOKEN


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[Served]:
    """A controller that wants tokens; use users of your own."""
    with Served(tmp_path_factory.mktemp("guarded"), mosquitto, token="sesame") as served:
        yield served


def user(served: Served, name: str, role: str = "operator", **token: object) -> Json:
    """Make a user with a token; returns what the API said of the token."""
    served.post("users", {"name": name, "role": role})
    return served.post("tokens", {"user": name} | token)


def bearer(token: str) -> dict[str, str]:
    """Return the header that brings a token."""
    return {"Authorization": f"Bearer {token}"}


def code(served: Served, method: str, path: str, token: str, body: object = None) -> tuple[int, str]:
    """Return status and problem code of a request with a token."""
    answer = served.call(method, f"/api/v1/{path}", headers=bearer(token), json=body)
    return answer.status_code, "" if answer.ok else answer.json()["code"]


def test_a_token_says_who_it_is_and_the_timeline_tells_it(guarded: Served) -> None:
    made = user(guarded, "anna")

    me = guarded.call("GET", "/api/v1/me", headers=bearer(made["token"])).json()
    assert me == {"name": "anna", "role": "operator"}
    assert guarded.get("me") == {"name": "configuration", "role": "admin"}

    body = {"ids": ["known-by-anna"]}
    assert code(guarded, "POST", "devices/preauthorize", made["token"], body) == (200, "")
    line = guarded.get("devices/known-by-anna/timeline")["items"][0]
    assert line["actor"] == "anna"


def test_only_a_digest_of_a_token_is_kept(guarded: Served) -> None:
    made = user(guarded, "bert", note="his laptop")

    with guarded.controller.store.read() as connection:
        row = connection.execute(select(TOKEN).where(TOKEN.c.id == made["id"])).mappings().one()
    assert row["digest"] == hashlib.sha256(made["token"].encode()).hexdigest()
    secret = made["token"].removeprefix(f"wwt_{made['id']}_")
    assert len(secret) == 43
    for file in guarded.config.data_dir.rglob("*"):
        if file.is_file():
            assert secret.encode() not in file.read_bytes(), file
    listed = guarded.call("GET", "/api/v1/tokens?user=bert").text
    assert made["id"] in listed
    assert "his laptop" in listed
    assert secret not in listed
    assert secret not in guarded.call("GET", "/api/v1/audit").text


def test_a_revoked_token_is_refused_from_the_next_request_on(guarded: Served) -> None:
    made = user(guarded, "carl")
    assert code(guarded, "GET", "devices", made["token"]) == (200, "")

    assert guarded.call("POST", f"/api/v1/tokens/{made['id']}/revoke").status_code == 204

    assert code(guarded, "GET", "devices", made["token"]) == (401, "not-authenticated")
    assert guarded.call("POST", f"/api/v1/tokens/{made['id']}/revoke").status_code == 204
    assert code(guarded, "POST", "tokens/none/revoke", "sesame") == (404, "not-found")


def test_a_revoked_user_loses_all_tokens_and_the_name_is_not_given_again(guarded: Served) -> None:
    first = user(guarded, "dora")
    second = guarded.post("tokens", {"user": "dora"})

    assert "revoked_at" in guarded.post("users/dora/revoke")

    for made in (first, second):
        assert code(guarded, "GET", "devices", made["token"]) == (401, "not-authenticated")
    assert code(guarded, "POST", "users", "sesame", {"name": "dora", "role": "viewer"}) == (409, "user-exists")
    assert code(guarded, "POST", "tokens", "sesame", {"user": "dora"}) == (404, "not-found")
    assert code(guarded, "POST", "users/dora/role", "sesame", {"role": "admin"}) == (404, "not-found")


def test_another_role_holds_from_the_next_request_on(guarded: Served) -> None:
    made = user(guarded, "emil", "viewer")
    body = {"ids": ["emils"]}
    assert code(guarded, "POST", "devices/preauthorize", made["token"], body) == (403, "not-allowed")

    assert guarded.post("users/emil/role", {"role": "operator"})["role"] == "operator"

    assert code(guarded, "POST", "devices/preauthorize", made["token"], body) == (200, "")


def test_a_token_expires(guarded: Served) -> None:
    made = user(guarded, "fred", expires_at="2099-01-01T00:00:00Z")
    assert code(guarded, "GET", "devices", made["token"]) == (200, "")

    with guarded.controller.store.write() as connection:
        connection.execute(update(TOKEN).where(TOKEN.c.id == made["id"]).values(expires_at=1.0))

    answer = guarded.call("GET", "/api/v1/devices", headers=bearer(made["token"]))
    assert (answer.status_code, "has expired" in answer.json()["detail"]) == (401, True)
    past = {"user": "fred", "expires_at": "2001-01-01T00:00:00Z"}
    assert code(guarded, "POST", "tokens", "sesame", past) == (409, "token-expired")


def test_the_last_use_is_noted_coarsely(guarded: Served) -> None:
    made = user(guarded, "gina")

    def used() -> object:
        return next(t for t in guarded.get("tokens", user="gina")["items"] if t["id"] == made["id"]).get("last_used_at")

    assert used() is None
    code(guarded, "GET", "devices", made["token"])
    first = used()
    assert first is not None
    code(guarded, "GET", "devices", made["token"])
    assert used() == first


@pytest.mark.parametrize("name", ["local", "configuration", "controller", "device", "unknown"])
def test_names_with_a_meaning_of_their_own_are_not_given(guarded: Served, name: str) -> None:
    assert code(guarded, "POST", "users", "sesame", {"name": name, "role": "viewer"}) == (409, "user-exists")


@pytest.mark.parametrize("name", ["", "-x", "a b", "a/b", "x" * 65, "a\n"], ids=repr)
def test_what_is_no_name_is_refused(guarded: Served, name: str) -> None:
    assert code(guarded, "POST", "users", "sesame", {"name": name, "role": "viewer"}) == (422, "invalid")


def test_the_last_admin_stays(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Served(tmp_path, mosquitto, token="sesame") as served:
        user(served, "hans", "admin")
        for path, body in (("revoke", None), ("role", {"role": "viewer"})):
            assert code(served, "POST", f"users/hans/{path}", "sesame", body) == (409, "last-admin")
        user(served, "ida", "admin")
        assert code(served, "POST", "users/hans/revoke", "sesame") == (200, "")


def test_a_live_stream_ends_when_its_token_is_revoked(guarded: Served) -> None:
    made = user(guarded, "jan", "viewer")
    ended = threading.Event()
    begun = threading.Event()

    def follow() -> None:
        with guarded.call("GET", "/api/v1/events", headers=bearer(made["token"]), stream=True) as response:
            assert response.status_code == 200
            begun.set()
            for _ in response.iter_content(1):
                pass
        ended.set()

    thread = threading.Thread(target=follow)
    thread.start()
    assert begun.wait(PATIENCE_S)
    assert not ended.is_set()
    guarded.call("POST", f"/api/v1/tokens/{made['id']}/revoke")
    assert ended.wait(PATIENCE_S)
    thread.join(PATIENCE_S)


def test_who_guesses_must_wait_and_tokens_that_cannot_be_guessed_pass(
    tmp_path: Path, mosquitto: Mosquitto, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Served(tmp_path, mosquitto, token="sesame") as served:
        monkeypatch.setattr(served.controller.context.gate, "_timer", lambda: 0.0)  # nobody has waited yet
        made = user(served, "kurt")
        forged = made["token"][:-5] + "AAAAA"
        guesses = [forged if n % 2 else f"guess-{n}" for n in range(FAILURES_BURST)]
        assert [code(served, "GET", "devices", guess)[0] for guess in guesses] == [401] * FAILURES_BURST

        answer = served.call("GET", "/api/v1/devices", headers=bearer("guess"))
        assert (answer.status_code, answer.json()["code"]) == (429, "too-many-failures")
        assert 1 <= int(answer.headers["retry-after"]) <= 6
        assert code(served, "GET", "devices", "sesame") == (429, "too-many-failures")
        assert code(served, "GET", "devices", made["token"]) == (200, "")

        elsewhere = {"X-Forwarded-For": "192.0.2.7"} | bearer("sesame")
        assert served.call("GET", "/api/v1/devices", headers=elsewhere).status_code == 200


def test_a_token_counts_where_none_is_asked_for(served: Served) -> None:
    made = user(served, "lea", "viewer")

    assert served.get("me") == {"name": "local", "role": "admin"}
    assert served.call("GET", "/api/v1/me", headers=bearer(made["token"])).json()["name"] == "lea"
    assert code(served, "POST", "devices/preauthorize", made["token"], {"ids": ["x"]}) == (403, "not-allowed")
    assert code(served, "GET", "devices", "wrong") == (401, "not-authenticated")


def test_the_first_admin_gets_his_token_in_a_file_for_the_controllers_user_alone(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    served = Served(tmp_path, mosquitto)
    served.config = msgspec.structs.replace(served.config, http=Http(require_token=True))
    file = tmp_path / FILE
    with served:
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        token = file.read_text().strip()
        assert code(served, "GET", "devices", "")[0] == 401
        assert served.call("GET", "/api/v1/me", headers=bearer(token)).json() == {"name": "admin", "role": "admin"}
        assert code(served, "POST", "users", token, {"name": "mia", "role": "admin"}) == (201, "")
        assert code(served, "POST", "users/admin/revoke", token) == (200, "")
        with served.controller.store.read() as connection:
            whos = connection.exec_driver_sql("SELECT actor, action FROM audit ORDER BY number").all()
        assert whos[0] == ("controller", "first-admin")
    file.unlink()
    with served:
        wait_until(served.controller.link.connected.is_set, what="the broker")
        assert not file.exists()
        assert code(served, "GET", "devices", token)[0] == 401


@pytest.mark.parametrize(
    ("http", "needs"),
    [
        (Http(), False),
        (Http(host="::1"), False),
        (Http(public_url="http://localhost:8080"), False),
        (Http(token="x"), True),
        (Http(require_token=True), True),
        (Http(host="0.0.0.0", allow_plain=True), True),  # noqa: S104  that is the point
        (Http(public_url="https://updates.example"), True),
    ],
    ids=["default", "ipv6-loopback", "public-loopback", "token", "asked-for", "all-interfaces", "behind-a-proxy"],
)
def test_a_token_is_needed_as_soon_as_more_than_this_machine_reaches_the_api(
    tmp_path: Path, http: Http, *, needs: bool
) -> None:
    assert Config(data_dir=tmp_path, http=http).needs_token is needs
