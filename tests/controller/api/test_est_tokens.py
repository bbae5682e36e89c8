"""Tokens of enrolment: whom they let in, and every attempt to get more out of one."""

from __future__ import annotations

import re
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import update

from tests.controller.api.est_lab import NAMES, Make, code, keys_of, token
from tests.controller.api.served import Served
from tests.support.est import EstDevice, csr_of
from tests.support.wait import PATIENCE_S
from wainwright_controller.refusals import Refusals
from wainwright_controller.rows import ENROLMENT_TOKEN

CROWD = 12


def test_a_token_accepts_as_many_devices_as_its_budget_says(est: Served, make: Make) -> None:
    text = token(est, budget=2, note="line 7")
    first, second, third = make(), make(), make()

    assert first.enrol(text).status_code == 200
    assert first.enrol(text).status_code == 200  # once more, because the answer was lost: counted once
    assert second.enrol(text).status_code == 200

    assert code(third.enrol(text)) == (401, "token-invalid")
    assert "used up" in third.enrol(text).json()["detail"]
    listed = next(one for one in est.get("enrolment/tokens")["items"] if one["id"] == text.split("_")[1])
    assert (listed["used"], listed["budget"], listed["note"]) == (2, 2, "line 7")
    assert "token" not in listed
    assert est.get(f"devices/{first.name}")["keys"][0]["decided_by"] == f"token {listed['id']}"


def test_a_token_that_was_stolen_after_its_use_is_worth_nothing(est: Served, make: Make) -> None:
    text = token(est)
    victim, thief = make(), make()
    assert victim.enrol(text).status_code == 200

    assert code(thief.enrol(text)) == (401, "token-invalid")
    assert code(thief.enrol(text, name=victim.name)) == (401, "token-invalid")
    assert keys_of(est, victim.name) == {victim.digest: "accepted"}


def test_who_tries_a_token_or_a_certificate_that_does_not_count_is_counted_and_logged_without_secrets(
    est: Served, make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(est.controller.context.enrolments_refused, "_lines", Refusals())
    text, victim, thief = token(est), make(), make()
    assert victim.enrol(text).status_code == 200
    before = refused_by_code(est)

    assert code(thief.enrol(text)) == (401, "token-invalid")
    assert code(thief.enrol("guessed")) == (401, "token-invalid")
    assert code(thief.renew(shown=victim)) == (403, "wrong-name")
    assert code(thief.enrol(body=b"nothing")) == (400, "csr-unreadable")

    lines = [one.getMessage() for one in caplog.records if one.name == "wainwright_controller.refusals"]
    told = f"enrolment of {thief.name} refused to 127.0.0.1:"
    _, token_id, secret = text.split("_", 2)
    assert [line.removeprefix(f"{told} ") for line in lines] == [
        f"token-invalid: The enrolment token {token_id} was used up: ask for another.",
        "token-invalid: This enrolment token is not one of this controller: ask for another.",
        f"wrong-name: This certificate is {victim.name}'s, and the request asks for {thief.name}.",
    ]
    assert secret not in caplog.text
    assert "guessed" not in caplog.text
    assert refused_by_code(est) - before == Counter({"token-invalid": 2, "wrong-name": 1, "csr-unreadable": 1})


def refused_by_code(est: Served) -> Counter[str]:
    found = re.findall(
        r'^wainwright_enrolments_refused_total{code="([\w-]+)"} (\d+)$', est.call("GET", "/metrics").text, re.MULTILINE
    )
    return Counter({code: int(n) for code, n in found})


def test_of_a_crowd_with_one_token_at_one_moment_no_more_get_in_than_its_budget_says(est: Served, make: Make) -> None:
    for budget, names in ((1, {}), (3, {}), (CROWD, {"name": f"press-{next(NAMES):03d}"})):
        text, crowd = token(est, budget=budget), [make(**names) for _ in range(CROWD)]
        gate = threading.Barrier(CROWD)

        def ask(device: EstDevice, text: str = text, gate: threading.Barrier = gate) -> int:
            gate.wait(PATIENCE_S)
            return device.enrol(text).status_code

        with ThreadPoolExecutor(CROWD) as threads:
            answers = Counter(threads.map(ask, crowd))

        if names:  # all of them are one device, so they say
            assert answers[200] == 1
            assert list(keys_of(est, names["name"]).values()).count("accepted") == 1
        else:
            assert answers == {200: budget, 401: CROWD - budget}


def test_a_token_is_refused_when_it_is_expired_revoked_for_another_bent_or_of_a_person(est: Served, make: Make) -> None:
    device = make()
    revoked, bound, other = token(est), token(est, device="press-of-another"), token(est)
    est.call("POST", f"/api/v1/enrolment/tokens/{revoked.split('_')[1]}/revoke")
    short = token(est)
    with est.controller.store.write() as connection:
        expired = update(ENROLMENT_TOKEN).where(ENROLMENT_TOKEN.c.id == short.split("_")[1]).values(expires_at=1.0)
        connection.execute(expired)
    person = "wwt_" + other.removeprefix("wwe_")

    for bad, why in (
        (revoked, "was revoked"),
        (bound, "is for press-of-another alone"),
        (short, "has expired"),
        (other[:-1] + ("A" if other[-1] != "A" else "B"), "not one of this controller"),
        (person, "not one of this controller"),
        ("x", "not one of this controller"),
    ):
        answer = device.enrol(bad)
        assert code(answer) == (401, "token-invalid")
        assert why in answer.json()["detail"]
        assert answer.headers["www-authenticate"].startswith("Basic")
    for header in ("Basic !!!", "Basic", "Basic bm9jb2xvbg==", f"Bearer {other}", "Basic dXNlcjo="):
        malformed = est.call(
            "POST",
            "/.well-known/est/simpleenroll",
            data=csr_of(device.name, device.key),
            headers={"Authorization": header},
        )
        assert code(malformed) == (401, "token-invalid")
    assert est.call("GET", f"/api/v1/devices/{device.name}").status_code == 404
