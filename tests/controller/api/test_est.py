"""Enrolment over HTTPS: who is given a certificate, who waits, and every attempt to get another's."""

from __future__ import annotations

import base64
import itertools
import re
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import update

from tests.controller.api.served import Served
from tests.support.authority import Authority as Forger
from tests.support.est import EstDevice, certificates_in, csr_of, new_key
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S
from wainwright_controller.buckets import Buckets
from wainwright_controller.config import Enrolment
from wainwright_controller.pki import Authority, Folder
from wainwright_controller.pki.authority import key_pem
from wainwright_controller.refusals import Refusals
from wainwright_controller.rows import CERTIFICATE, ENROLMENT_TOKEN
from wainwright_controller.rules.enrolment import KEY_CHANGES_MAX

LIFETIME_S = 3600
CROWD = 12
NAMES = itertools.count(1)
Make = Callable[..., EstDevice]


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[Served]:
    """A controller that gives certificates."""
    enrolment = Enrolment(enabled=True, certificate_lifetime_s=LIFETIME_S)
    with Served(tmp_path_factory.mktemp("est"), mosquitto, enrolment=enrolment) as served:
        yield served


@pytest.fixture
def make(est: Served, tmp_path: Path) -> Make:
    """`make()` is a new device; `make("name")` one that says that it is somebody."""

    def made(name: str | None = None, folder: str = "") -> EstDevice:
        place = tmp_path / (folder or f"{next(NAMES)}")
        place.mkdir(exist_ok=True)
        return EstDevice(est.url, est.config.pki_folder / "root.pem", place, name or f"press-{next(NAMES):03d}")

    return made


def code(answer: requests.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["code"]


def keys_of(est: Served, name: str) -> dict[str, str]:
    return {key["digest"]: key["state"] for key in est.get(f"devices/{name}")["keys"]}


def accepted(est: Served, device: EstDevice) -> EstDevice:
    est.post("devices/preauthorize", {"keys": {device.name: device.digest}})
    assert device.enrol().status_code == 200
    return device


def token(est: Served, **order: object) -> str:
    body = {"expires_at": (datetime.now(UTC) + timedelta(hours=1)).isoformat()} | order
    return str(est.post("enrolment/tokens", body)["token"])


# ---- as it should be ------------------------------------------------------------------------------------------


def test_the_authority_is_given_with_its_root(est: Served) -> None:
    answer = est.call("GET", "/.well-known/est/cacerts")

    given = certificates_in(answer.content)
    roots = [one for one in given if one.subject == one.issuer]
    assert answer.headers["content-type"] == "application/pkcs7-mime"
    assert max(map(len, answer.content.splitlines())) <= 76
    assert [one.public_bytes(Encoding.PEM) for one in roots] == [(est.config.pki_folder / "root.pem").read_bytes()]
    authority = est.get("ca")
    assert len(given) == 1 + len(authority["issuers"])
    assert authority["fingerprint"] == roots[0].fingerprint(hashes.SHA256()).hex()


def test_a_device_waits_until_somebody_accepts_it(est: Served, make: Make) -> None:
    device = make()

    first = device.enrol()
    assert (first.status_code, int(first.headers["retry-after"])) == (202, 10)
    assert keys_of(est, device.name) == {device.digest: "pending"}
    assert est.get(f"devices/{device.name}")["state"] == "pending"
    assert device.enrol().status_code == 202

    assert est.post("devices/accept", {"ids": [device.name]})["changed"] == [device.name]
    assert device.enrol().status_code == 200

    made = device.certificate
    assert made.subject.rfc4514_string() == f"CN={device.name}"
    assert keys_of(est, device.name) == {device.digest: "accepted"}
    recorded = est.get("certificates", name=device.name)["items"]
    assert [one["serial"] for one in recorded] == [f"{made.serial_number:040x}"]
    assert (made.not_valid_after_utc - datetime.now(UTC)).total_seconds() == pytest.approx(LIFETIME_S, abs=60)


def test_who_asks_again_because_the_answer_was_lost_gets_the_same_certificate(est: Served, make: Make) -> None:
    device = accepted(est, make())
    first = device.certificate

    assert device.enrol().status_code == 200

    assert device.certificate == first
    assert len(est.get("certificates", name=device.name)["items"]) == 1


def test_a_device_whose_key_was_authorised_in_advance_waits_for_nobody(est: Served, make: Make) -> None:
    device = make()
    est.post("devices/preauthorize", {"keys": {device.name: device.digest.upper()}})

    assert device.enrol().status_code == 200


def test_a_device_that_was_accepted_by_its_name_alone_still_shows_its_key_to_somebody(est: Served, make: Make) -> None:
    """Else whoever knows the name first would have it."""
    device = make()
    est.accept(device.name)

    assert device.enrol().status_code == 202
    assert est.post("devices/accept", {"ids": [device.name]})["changed"] == [device.name]
    assert device.enrol().status_code == 200


def test_all_that_wait_are_accepted_at_once_but_for_those_that_are_fought_over(est: Served, make: Make) -> None:
    plain, by_name = make(), make()
    est.accept(by_name.name)
    disputed, rival = make(), make()
    for device in (plain, by_name, disputed):
        assert device.enrol().status_code == 202
    assert rival.enrol(name=disputed.name).status_code == 202

    changed = est.post("devices/accept", {"all_pending": True})["changed"]

    assert {plain.name, by_name.name} <= set(changed)
    assert disputed.name not in changed
    refused = est.call("POST", "/api/v1/devices/accept", json={"ids": [disputed.name]})
    assert code(refused) == (409, "which-key")
    est.post(f"devices/{disputed.name}/accept-key", {"key": rival.digest[:12]})
    assert keys_of(est, disputed.name) == {disputed.digest: "pending", rival.digest: "accepted"}


def test_a_certificate_is_renewed_with_the_same_key(est: Served, make: Make) -> None:
    device = accepted(est, make())
    first = device.certificate
    grown_old(est, device)

    assert device.renew().status_code == 200

    assert device.certificate.serial_number != first.serial_number
    assert device.certificate.public_key() == first.public_key()


def test_a_certificate_is_renewed_with_a_new_key_and_again_if_the_answer_was_lost(est: Served, make: Make) -> None:
    device = accepted(est, make())
    old, old_key = device.certificate, device.key
    new = new_key()

    assert device.renew(key=new).status_code == 200
    now = device.certificate
    device.key = old_key
    device.keep(old)  # power was lost before the new one was stored
    assert device.renew(key=new).status_code == 200

    assert device.certificate == now
    assert sorted(keys_of(est, device.name).values()) == ["accepted", "replaced"]
    other = make(device.name)
    other.key, device_key = new_key(), device.key
    device.key = old_key
    device.keep(old)
    assert code(other.renew(shown=device)) == (403, "key-replaced")  # the former key may name no third one
    device.key = device_key


def test_after_a_rotation_a_device_renews_from_the_former_issuing_authority_to_the_new_one(
    est: Served, make: Make
) -> None:
    device = accepted(est, make())
    former = device.certificate.issuer

    rotated = est.post("ca/rotate")

    assert device.renew().status_code == 200
    assert device.certificate.issuer != former
    assert accepted(est, make()).certificate.issuer == device.certificate.issuer
    assert [one["signs_now"] for one in rotated["issuers"]].count(True) == 1
    assert len(rotated["issuers"]) >= 2


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


# ---- attacks --------------------------------------------------------------------------------------------------


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


def test_two_devices_with_one_name_the_second_waits_and_takes_nothing_over(est: Served, make: Make) -> None:
    first = accepted(est, make())
    second = make()

    assert second.enrol(name=first.name).status_code == 202
    assert second.enrol(token(est), name=first.name).status_code == 202  # whatever token it brings

    assert keys_of(est, first.name) == {first.digest: "accepted", second.digest: "pending"}
    assert first.renew().status_code == 200
    assert est.post("devices/accept", {"ids": [first.name]})["changed"] == []  # accepting again decides nothing
    assert second.enrol(name=first.name).status_code == 202


def test_a_person_who_decides_for_the_other_key_ends_the_first_one(est: Served, make: Make) -> None:
    first = accepted(est, make())
    second = make(first.name)
    assert second.enrol().status_code == 202

    est.post(f"devices/{first.name}/accept-key", {"key": second.digest})

    assert second.enrol().status_code == 200
    assert code(first.enrol()) == (403, "key-replaced")
    assert code(first.renew()) == (403, "certificate-revoked")
    states = {one["key"]: one.get("reason") for one in est.get("certificates", name=first.name)["items"]}
    assert states == {first.digest: "superseded", second.digest: None}


def test_a_crowd_that_asks_for_one_name_is_not_remembered_without_end(est: Served, make: Make) -> None:
    target = make()
    answers = [make().enrol(name=target.name) for _ in range(6)]

    assert [answer.status_code for answer in answers] == [202] * 4 + [403] * 2
    assert code(answers[-1]) == (403, "too-many-keys")
    assert len(keys_of(est, target.name)) == 4


def test_a_key_that_was_copied_with_an_image_gives_one_device_its_name_and_no_other(est: Served, make: Make) -> None:
    first, copy = accepted(est, make()), make()
    copy.key = first.key

    assert code(copy.enrol()) == (403, "key-in-use")
    assert code(copy.enrol(token(est))) == (403, "key-in-use")
    preauthorised = est.call("POST", "/api/v1/devices/preauthorize", json={"keys": {copy.name: copy.digest}})
    assert code(preauthorised) == (409, "key-in-use")


def test_nobody_renews_with_anothers_certificate(est: Served, make: Make) -> None:
    mallory, victim = accepted(est, make()), accepted(est, make())

    assert code(mallory.renew(name=victim.name)) == (403, "wrong-name")
    assert code(mallory.renew(name=f"{victim.name}x")) == (403, "wrong-name")
    # His own name, but the victim's key, which he cannot have signed with.
    body = base64.b64encode(_bent(csr_of(mallory.name, mallory.key), csr_of(victim.name, victim.key)))
    answer = mallory._ask("simplereenroll", "", cert=_cert(mallory), body=body)
    assert code(answer) == (400, "csr-signature")
    assert keys_of(est, victim.name) == {victim.digest: "accepted"}


def _bent(mine: bytes, theirs: bytes) -> bytes:
    """Return my request with their key in it."""
    length = 65  # an uncompressed point
    a, b = base64.b64decode(mine), base64.b64decode(theirs)
    at_mine, at_theirs = a.index(b"\x03\x42\x00\x04") + 3, b.index(b"\x03\x42\x00\x04") + 3
    return a[:at_mine] + b[at_theirs : at_theirs + length] + a[at_mine + length :]


def _cert(device: EstDevice) -> tuple[str, str]:
    return str(device.certificate_file), str(device.key_file)


def test_a_request_with_a_bad_signature_or_name_is_refused_and_leaves_no_trace(est: Served, make: Make) -> None:
    device = make()
    bad = _bent(csr_of(device.name, device.key), csr_of(device.name, new_key()))

    for body, expected in (
        (base64.b64encode(bad), "csr-signature"),
        (csr_of("wainwright-controller", device.key), "csr-name"),
        (csr_of("a/b", device.key), "csr-name"),
        (b"nothing", "csr-unreadable"),
    ):
        assert code(device.enrol(body=body)) == (400, expected)
    assert device.enrol(body=b"A" * 20_000).status_code == 413
    assert est.call("GET", f"/api/v1/devices/{device.name}").status_code == 404


def test_without_a_certificate_nothing_is_renewed(est: Served, make: Make) -> None:
    device = accepted(est, make())

    answer = device._ask("simplereenroll", device.name)

    assert code(answer) == (403, "certificate-needed")


@pytest.mark.parametrize("form", ["stored", "number", "octets", "colons"])
def test_a_certificate_is_revoked_by_its_number_however_openssl_shows_it(est: Served, make: Make, form: str) -> None:
    device = accepted(est, make())
    made = f"{device.certificate.serial_number:040x}"
    serial = "00" + made[2:]  # an octet that is not shown
    with est.controller.store.write() as connection:
        connection.execute(update(CERTIFICATE).where(CERTIFICATE.c.serial == made).values(serial=serial))
    octets = serial[2:].upper()
    colons = ":".join(octets[at : at + 2] for at in range(0, len(octets), 2))
    given = {"stored": serial, "number": f"{int(serial, 16):x}", "octets": octets, "colons": colons}[form]

    assert est.post(f"certificates/{given}/revoke", {})["changed"] == [serial]

    (found,) = est.get("certificates", name=device.name)["items"]
    assert (found["serial"], "revoked_at" in found) == (serial, True)


def test_a_revoked_certificate_renews_nothing_and_its_key_gets_no_other(est: Served, make: Make) -> None:
    device = accepted(est, make())

    revoked = est.post(f"devices/{device.name}/revoke", {"reason": "key-compromise"})

    assert revoked["serials"] == [f"{device.certificate.serial_number:040x}"]
    assert code(device.renew()) == (403, "certificate-revoked")
    assert code(device.enrol()) == (403, "key-revoked")
    assert code(device.enrol(token(est))) == (403, "key-revoked")
    preauthorised = est.call("POST", "/api/v1/devices/preauthorize", json={"keys": {device.name: device.digest}})
    assert code(preauthorised) == (409, "key-revoked")
    # The device itself stays, and is let in again with a new key by a person.
    device.key = new_key()
    assert device.enrol().status_code == 202
    est.post("devices/accept", {"ids": [device.name]})
    assert device.enrol().status_code == 200


@pytest.mark.parametrize("how", [["revoke"], ["decommission", "recommission"]])
def test_a_name_whose_key_was_taken_back_is_given_by_no_token_to_another(
    est: Served, make: Make, how: list[str]
) -> None:
    """A stolen device has the token of its batch, and makes itself a new key."""
    device, text = accepted(est, make()), token(est, budget=20)
    for action in how:
        est.post(f"devices/{device.name}/{action}")
    device.key = new_key()

    assert device.enrol(text).status_code == 202
    assert device.enrol(text).status_code == 202

    assert sorted(keys_of(est, device.name).values()) == ["pending", "revoked"]
    listed = next(one for one in est.get("enrolment/tokens")["items"] if one["id"] == text.split("_")[1])
    assert listed["used"] == 0
    est.post("devices/accept", {"ids": [device.name]})
    assert device.enrol(text).status_code == 200


def test_who_was_taken_out_of_the_fleet_or_rejected_gets_nothing_more(est: Served, make: Make) -> None:
    gone, rejected = accepted(est, make()), accepted(est, make())

    est.post(f"devices/{gone.name}/decommission")
    est.post("devices/reject", {"ids": [rejected.name]})

    assert code(gone.renew()) == (403, "certificate-revoked")
    assert code(gone.enrol()) == (403, "decommissioned")
    assert code(make().enrol(token(est), name=gone.name)) == (403, "decommissioned")
    assert code(rejected.renew()) == (403, "rejected")
    assert code(rejected.enrol()) == (403, "rejected")
    assert [one["reason"] for one in est.get("certificates", name=gone.name)["items"]] == ["decommissioned"]


def test_who_is_brought_back_into_the_fleet_needs_a_new_key_and_a_person(est: Served, make: Make) -> None:
    device = accepted(est, make())
    former = device.key
    est.post(f"devices/{device.name}/decommission")
    by_key = est.call("POST", f"/api/v1/devices/{device.name}/accept-key", json={"key": device.digest})
    assert (by_key.status_code, by_key.json()["code"]) == (409, "decommissioned")

    est.post(f"devices/{device.name}/recommission")

    assert code(device.enrol()) == (403, "key-revoked")
    device.key = new_key()
    assert device.enrol().status_code == 202
    est.post("devices/accept", {"ids": [device.name]})
    assert device.enrol().status_code == 200
    device.key = former
    assert code(device.enrol()) == (403, "key-revoked")


def test_certificates_of_others_do_not_get_as_far_as_a_request(est: Served, make: Make, tmp_path: Path) -> None:
    """Another authority's, an expired one, a server's, and one that names our authority but was not signed by it."""
    device = accepted(est, make())
    now = datetime.now(UTC)
    ours = est.controller.keeper.authority() if est.controller.keeper is not None else None
    assert ours is not None
    theirs = Authority.create(Folder(tmp_path / "theirs"), "Wainwright", now, timedelta(days=1))
    key = new_key()
    expired = ours.issue_client(key.public_key(), device.name, now - timedelta(hours=1), timedelta(minutes=1))
    wrong = theirs.issue_client(key.public_key(), device.name, now, timedelta(days=1))
    ours.issue_server([device.name], tmp_path / "server.pem", tmp_path / "server.key", now)

    for name, pem in (("expired", ours.chain(expired)), ("wrong", theirs.chain(wrong))):
        (tmp_path / f"{name}.pem").write_bytes(pem)
        (tmp_path / f"{name}.key").write_bytes(key_pem(key))
    for name in ("expired", "wrong", "server"):
        shown = (str(tmp_path / f"{name}.pem"), str(tmp_path / f"{name}.key"))
        with pytest.raises(
            requests.exceptions.ConnectionError, match=r"(?i)alert|reset|broken pipe|closed connection|EOF"
        ):
            device._ask("simplereenroll", device.name, cert=shown)


def test_a_certificate_that_the_authority_signed_but_nobody_recorded_is_refused(est: Served, make: Make) -> None:
    """A thief of an issuing key could make one; it renews nothing."""
    device = accepted(est, make())
    keeper = est.controller.keeper
    assert keeper is not None
    forged = keeper.authority().issue_client(device.key.public_key(), device.name, datetime.now(UTC), timedelta(days=1))
    device.certificate_file.write_bytes(keeper.authority().chain(forged))

    assert code(device.renew()) == (403, "certificate-unknown")


def test_a_certificate_with_the_number_of_one_that_was_recorded_renews_nothing(
    est: Served, make: Make, tmp_path: Path
) -> None:
    """Numbers are no secret: a thief of an issuing key takes one for a key of his own, also after that was retired."""
    device, thief, pki = accepted(est, make()), make(), est.config.pki_folder
    forged = Forger.with_keys_of(pki, tmp_path / "stolen").issue(device.name, serial=device.certificate.serial_number)
    assert forged.certificate is not None
    forged.certificate.write_bytes(forged.certificate.read_bytes() + (pki / "issuing.pem").read_bytes())
    former = next(one["id"] for one in est.get("ca")["issuers"] if one["signs_now"])
    shown = (str(forged.certificate), str(forged.key))

    assert code(thief._ask("simplereenroll", device.name, cert=shown)) == (403, "certificate-unknown")
    est.post("ca/rotate")
    est.post("ca/retire", {"issuer": former})

    assert code(thief._ask("simplereenroll", device.name, cert=shown)) == (403, "certificate-unknown")
    assert keys_of(est, device.name) == {device.digest: "accepted"}
    assert device.renew().status_code == 200  # its own certificate was recorded, whoever signed it


def test_a_page_in_a_browser_cannot_ask_for_a_certificate(est: Served, make: Make) -> None:
    device = accepted(est, make())
    mine = _cert(device)
    for number, headers in enumerate(({"Sec-Fetch-Site": "cross-site"}, {"Origin": "https://attacker.example"})):
        for operation, shown in (("simpleenroll", None), ("simplereenroll", mine)):
            key, name = new_key(), f"page-{number}"
            answer = est.call(
                "POST", f"/.well-known/est/{operation}", data=csr_of(name, key), headers=headers, cert=shown
            )
            assert code(answer) == (403, "forbidden")
            assert est.call("GET", f"/api/v1/devices/{name}").status_code == 404


def test_a_device_that_changes_its_key_again_and_again_is_stopped_and_others_are_not(est: Served, make: Make) -> None:
    """Each key and certificate is kept, and all would be in the list of what is revoked once it is decommissioned."""
    device, other = accepted(est, make()), accepted(est, make())
    for _ in range(KEY_CHANGES_MAX):
        assert device.renew(key=new_key()).status_code == 200
    kept = device.key

    assert code(device.renew(key=new_key())) == (403, "too-many-keys")

    device.key = kept
    assert device.renew().status_code == 200  # with the key that it has, it goes on
    assert len(keys_of(est, device.name)) == KEY_CHANGES_MAX + 1
    assert other.renew(key=new_key()).status_code == 200


def test_a_device_certificate_opens_nothing_of_the_operators(est: Served, make: Make, tmp_path: Path) -> None:
    device = accepted(est, make())
    with Served(tmp_path / "guarded", est.broker, token="sesame", enrolment=Enrolment(enabled=True)) as guarded:
        guarded.token = ""
        assert code(guarded.call("GET", "/api/v1/devices")) == (401, "not-authenticated")
    answer = est.call("GET", "/api/v1/me", cert=_cert(device))
    assert answer.json()["name"] == "local"  # as anybody on this machine, and not as the device


def test_old_tls_is_not_spoken(est: Served) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    with (
        socket.create_connection(("127.0.0.1", est.port)) as plain,
        pytest.raises((ssl.SSLError, ConnectionError)),
    ):
        context.wrap_socket(plain)


def test_without_the_setting_nobody_enrols(tmp_path: Path, mosquitto: Mosquitto) -> None:
    with Served(tmp_path, mosquitto) as plain:
        assert code(plain.call("GET", "/.well-known/est/cacerts")) == (404, "not-found")
        assert code(plain.call("POST", "/.well-known/est/simpleenroll", data=b"x")) == (404, "not-found")
        assert code(plain.call("GET", "/api/v1/ca")) == (404, "not-found")


def test_newcomers_of_one_address_are_written_down_at_a_bounded_rate(
    est: Served, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk = est.controller.desk
    assert desk is not None
    monkeypatch.setattr(desk, "_newcomers", Buckets(burst=2, refill_s=3600.0, keys_max=10))
    devices = [make() for _ in range(4)]

    assert [device.enrol().status_code for device in devices] == [202] * 4

    known = [est.call("GET", f"/api/v1/devices/{device.name}").status_code for device in devices]
    assert known == [200, 200, 404, 404]
    assert devices[3].enrol(token(est)).status_code == 200  # a token waits for nobody


def grown_old(est: Served, device: EstDevice) -> None:
    """Make a device's certificates half an hour old, as far as the controller knows."""
    with est.controller.store.write() as connection:
        earlier = CERTIFICATE.c.issued_at - LIFETIME_S / 2
        connection.execute(update(CERTIFICATE).where(CERTIFICATE.c.name == device.name).values(issued_at=earlier))
