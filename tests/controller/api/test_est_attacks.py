"""Every attempt to be given a certificate in another's name, or after one's own was taken back."""

from __future__ import annotations

import base64
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import requests
from sqlalchemy import update

from tests.controller.api.est_lab import Make, accepted, code, keys_of, token
from tests.controller.api.served import Served
from tests.support.authority import Authority as Forger
from tests.support.est import EstDevice, csr_of, new_key
from tests.support.mosquitto import Mosquitto
from wainwright_controller.buckets import Buckets
from wainwright_controller.config import Enrolment
from wainwright_controller.pki import Authority, Folder
from wainwright_controller.pki.authority import key_pem
from wainwright_controller.rows import CERTIFICATE
from wainwright_controller.rules.enrolment import KEY_CHANGES_MAX


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
