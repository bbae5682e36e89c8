"""Enrolment over HTTPS: who is given a certificate, who waits, and how it is renewed."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from tests.controller.api.est_lab import LIFETIME_S, Make, accepted, code, grown_old, keys_of
from tests.controller.api.served import Served
from tests.support.est import certificates_in, new_key


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
