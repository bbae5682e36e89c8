"""`wain enrol` on a device, against a real controller: who is trusted, what is kept, and what a power cut costs."""

from __future__ import annotations

import itertools
import json
import stat
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import update

from tests.controller.api.served import Served
from tests.support.enrolling_agent import EnrollingAgent
from tests.support.mosquitto import Mosquitto
from wainwright_agent.enrolment import Job
from wainwright_agent.est import Est
from wainwright_agent.keys import KeyPair, read_bundle
from wainwright_agent.masking import HIDDEN
from wainwright_controller.config import Enrolment
from wainwright_controller.rows import CERTIFICATE

NUMBERS = itertools.count(1)
Make = Callable[..., EnrollingAgent]
WAITS, REFUSED, UNREACHABLE = 8, 4, 3
NO_BROKER = "mqtts://127.0.0.1:1"


@pytest.fixture(scope="module")
def est(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[Served]:
    """A controller that gives certificates."""
    with Served(tmp_path_factory.mktemp("est"), mosquitto, enrolment=Enrolment(enabled=True)) as served:
        yield served


@pytest.fixture
def make(est: Served, tmp_path: Path) -> Make:
    """`make(...)` is a device with these settings of enrolment; by default it knows the root's file."""

    def made(name: str = "", **enrolment: str) -> EnrollingAgent:
        number = next(NUMBERS)
        trust = enrolment or {"ca": str(est.config.pki_folder / "root.pem")}
        return EnrollingAgent(tmp_path / str(number), name or f"lathe-{number}", est.url, NO_BROKER, **trust)

    return made


def enrolled(est: Served, device: EnrollingAgent) -> str:
    """Enrol a device, with a person; returns its key."""
    code, said = device.wain("enrol", "--timeout", "0")
    assert code == WAITS, said
    est.post("devices/accept", {"ids": [device.name]})
    code, said = device.wain("enrol", "-o", "json")
    assert code == 0, said
    return str(json.loads(said)["key"])


def certificate(device: EnrollingAgent) -> x509.Certificate:
    return x509.load_pem_x509_certificate(device.files.device.read_bytes())


def grown_old(est: Served, device: EnrollingAgent) -> None:
    """Have the controller take a device's certificates for old ones, so that it issues another."""
    with est.controller.store.write() as connection:
        mine = CERTIFICATE.c.name == device.name
        connection.execute(update(CERTIFICATE).where(mine).values(issued_at=CERTIFICATE.c.issued_at - 40 * 86_400))


def test_a_technician_sees_the_key_that_is_to_be_accepted_and_then_the_certificate(est: Served, make: Make) -> None:
    device = make()

    code, said = device.wain("enrol", "--timeout", "0")
    [waiting] = est.get("enrolment/keys", device=device.name)["items"]
    assert code == WAITS
    assert f"Its key is {waiting['digest']}" in said
    assert f"wainwright device accept {device.name}" in said
    code, line = device.wain("test", "-o", "json")
    finding = next(one for one in json.loads(line) if one["name"] == "certificate")
    assert (code, finding["ok"], waiting["digest"] in finding["text"]) == (1, False, True)

    est.post("devices/accept", {"ids": [device.name]})
    code, said = device.wain("enrol")
    assert (code, f"for the key {waiting['digest']}" in said) == (0, True)
    assert certificate(device).subject.rfc4514_string() == f"CN={device.name}"
    finding = next(one for one in json.loads(device.wain("test", "-o", "json")[1]) if one["name"] == "certificate")
    assert (finding["ok"], "renewed from" in finding["text"]) == (True, True)
    assert device.wain("enrol")[0] == 0  # already so
    assert len(est.get("certificates", name=device.name)["items"]) == 1


def test_what_is_secret_is_for_the_owner_alone(est: Served, make: Make) -> None:
    device = make()
    enrolled(est, device)
    folder = device.files.folder

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()}
    assert modes.keys() == {"key.pem", "device.pem", "ca.pem", "record.json", "lock"}
    assert set(modes.values()) == {0o600}


def test_the_root_may_be_known_by_its_fingerprint_alone_and_a_token_accepts(
    est: Served, make: Make, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(
        est.post("enrolment/tokens", {"expires_at": "2099-01-01T00:00Z"})["token"] + "\n", encoding="ascii"
    )
    fingerprint = est.get("ca")["fingerprint"]
    pairs = ":".join(fingerprint[at : at + 2].upper() for at in range(0, 64, 2))
    device = make(ca_fingerprint=pairs, token_file=str(token))

    code, said = device.wain("enrol")

    assert code == 0, said
    assert device.files.ca.read_bytes() == (est.config.pki_folder / "root.pem").read_bytes()
    token.unlink()  # used, and not needed to renew
    grown_old(est, device)
    assert device.wain("enrol", "--renew")[0] == 0


def test_a_token_is_in_no_process_list_and_in_nothing_that_is_shown(est: Served, make: Make) -> None:
    text = str(est.post("enrolment/tokens", {"expires_at": "2099-01-01T00:00Z"})["token"])
    device = make(ca=str(est.config.pki_folder / "root.pem"), token=text)

    assert device.wain("enrol")[0] == 0

    shown = device.wain("config", "show")[1]
    assert text not in shown
    assert f'token = "{HIDDEN}"' in shown


def test_another_who_answers_in_the_controllers_place_hears_nothing_of_the_device(
    est: Served, make: Make, tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """Neither a name nor a key reaches a server that is not trusted."""
    with Served(tmp_path / "other", mosquitto, enrolment=Enrolment(enabled=True)) as other:
        root = str(other.config.pki_folder / "root.pem")
        by_file = make(ca=root)
        by_fingerprint = make(ca_fingerprint=other.get("ca")["fingerprint"])
        by_system = EnrollingAgent(tmp_path / "system", "lathe-system", est.url, NO_BROKER)

        for device in (by_file, by_fingerprint, by_system):
            code, said = device.wain("enrol", "--timeout", "0")
            assert code == UNREACHABLE, said
            assert "Cannot trust" in said or "another authority" in said
            assert not device.files.device.exists()
            assert est.get("enrolment/keys", device=device.name)["items"] == []


def test_who_is_refused_is_told_why_and_keeps_what_it_has(est: Served, make: Make) -> None:
    gone, stolen = make(), make()
    key = enrolled(est, gone)
    enrolled(est, stolen)
    before = gone.files.device.read_bytes()
    est.post(f"devices/{gone.name}/decommission")
    est.post(f"devices/{stolen.name}/revoke", {})

    code, said = gone.wain("enrol", "--renew")
    assert (code, "taken out of the fleet" in said) == (REFUSED, True)
    assert gone.files.device.read_bytes() == before
    code, said = stolen.wain("enrol", "--renew")
    assert (code, "was revoked" in said) == (REFUSED, True)
    assert key in gone.wain("enrol")[1]  # what it has, is still there

    # A new key is a new beginning, with a person.
    code, said = stolen.wain("enrol", "--new-key", "--timeout", "0")
    assert code == WAITS, said
    est.post("devices/accept", {"ids": [stolen.name]})
    assert stolen.wain("enrol", "--renew")[0] == 0


def test_a_certificate_that_has_expired_is_replaced_with_the_same_key_and_nobody_is_asked(
    est: Served, make: Make
) -> None:
    """A device that was in a cupboard for a year."""
    device = make()
    key = enrolled(est, device)
    keeper = est.controller.keeper
    bundle = read_bundle(device.files)
    assert keeper is not None
    assert bundle is not None
    then = datetime.now(UTC) - timedelta(days=365)
    expired = keeper.authority().issue_client(bundle.pair.key.public_key(), device.name, then, timedelta(days=90))
    device.files.write(device.files.device, bundle.pair.pem + keeper.authority().chain(expired))
    grown_old(est, device)

    code, said = device.wain("enrol", "--renew")

    assert code == 0, said
    assert key in said
    assert certificate(device).not_valid_after_utc > datetime.now(UTC) + timedelta(days=80)


def test_a_new_key_takes_the_place_of_the_old_one_and_a_lost_answer_costs_nothing(est: Served, make: Make) -> None:
    device = make()
    old = enrolled(est, device)
    before = device.files.device.read_bytes()
    # The power is cut after the controller has answered and before the device has stored it.
    new = KeyPair.make(device.files, device.files.next_key)
    asked = Est(_job(est, device), device.files)
    asked.trust()
    asked.renew(new.request(device.name))
    assert device.files.device.read_bytes() == before

    code, said = device.wain("enrol", "--renew")

    assert code == 0, said
    assert new.digest in said
    assert not device.files.next_key.exists()
    assert KeyPair.read(device.files.key).digest == new.digest
    assert {one["digest"]: one["state"] for one in est.get(f"devices/{device.name}")["keys"]} == {
        old: "replaced",
        new.digest: "accepted",
    }


def test_a_power_cut_after_the_certificate_was_stored_leaves_the_old_key_file_to_be_replaced(
    est: Served, make: Make
) -> None:
    device = make()
    enrolled(est, device)
    assert device.wain("enrol", "--new-key")[0] == 0
    key = KeyPair.read(device.files.key)
    other = KeyPair.make(device.files, device.files.key)  # as it was before the last rename
    device.files.write(device.files.next_key, key.pem)
    assert other.digest != key.digest

    code, said = device.wain("enrol", "--renew")

    assert (code, key.digest in said) == (0, True)
    assert KeyPair.read(device.files.key).digest == key.digest


def _job(est: Served, device: EnrollingAgent) -> Job:
    root = str(est.config.pki_folder / "root.pem")
    return Job(url=est.url, device_id=device.name, data_dir=str(device.folder / "data"), ca=root)


@pytest.mark.parametrize("damage", ["record.json", "device.pem"])
def test_a_damaged_file_costs_another_question_and_no_person(est: Served, make: Make, damage: str) -> None:
    device = make()
    key = enrolled(est, device)
    (device.files.folder / damage).write_bytes(b"\0" * 100)

    code, said = device.wain("enrol", "--renew")

    assert (code, key in said) == (0, True)
    assert read_bundle(device.files) is not None


def test_a_damaged_key_is_not_made_anew_in_silence(est: Served, make: Make) -> None:
    device = make()
    enrolled(est, device)
    device.files.key.write_bytes(b"\0" * 100)

    code, said = device.wain("enrol", "--renew")

    assert code == UNREACHABLE
    assert "key.pem holds no key" in said
    assert len(est.get(f"devices/{device.name}")["keys"]) == 1


def test_two_devices_with_one_id_the_second_waits(est: Served, make: Make) -> None:
    first = make()
    enrolled(est, first)
    second = make(first.name)

    code, said = second.wain("enrol", "--timeout", "0")

    assert (code, "waits to be accepted" in said) == (WAITS, True)
    assert not second.files.device.exists()
    assert first.wain("enrol", "--renew")[0] == 0


def test_an_id_that_no_certificate_can_have_is_refused_before_anybody_is_asked(est: Served, make: Make) -> None:
    device = make("x" * 65)

    code, said = device.wain("enrol")

    assert (code, "65 characters" in said) == (REFUSED, True)
    assert est.get("enrolment/keys", device=device.name)["items"] == []


@pytest.mark.parametrize("then", ["1970-01-02 00:00:00", "2099-01-01 00:00:00"])
def test_a_device_whose_clock_is_wrong_says_so_and_loses_nothing(est: Served, make: Make, then: str) -> None:
    device = make()
    key = enrolled(est, device)
    before = device.files.device.read_bytes()
    device.env = {"LD_PRELOAD": "/usr/$LIB/faketime/libfaketime.so.1", "FAKETIME": f"@{then}"}

    today = datetime.now(UTC)
    code, said = device.wain("enrol", "--renew")
    assert code == UNREACHABLE, said
    assert f"This device's clock shows {then[:10]}" in said
    assert any(f"the controller's {day:%Y-%m-%d}" in said for day in (today, datetime.now(UTC)))
    assert device.files.device.read_bytes() == before
    findings = {one["name"]: one for one in json.loads(device.wain("test", "-o", "json")[1])}
    assert not findings["certificate"]["ok"]
    assert not findings["clock"]["ok"] or then.startswith("2099")

    device.env = {}
    code, said = device.wain("enrol", "--renew")
    assert (code, key in said) == (0, True)
    findings = {one["name"]: one for one in json.loads(device.wain("test", "-o", "json")[1])}
    assert findings["certificate"]["ok"]


@pytest.mark.parametrize(
    ("enrolment", "words"),
    [
        ('url = "http://updates.example"', "use https://"),
        ('url = "updates.example"', "expected https://"),
        ('url = "https://u.example"\nca_fingerprint = "12ab"', "64 hexadecimal digits"),
        ('url = "https://u.example"\nca = "/a"\nca_fingerprint = "' + "0" * 64 + '"', "not both"),
        ('url = "https://u.example"\ntoken = "a"\ntoken_file = "/b"', "not both"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(make: Make, enrolment: str, words: str) -> None:
    device = make()
    device.config.write_text(f'[broker]\nurl = "mqtts://b"\n[enrolment]\n{enrolment}\n', encoding="utf-8")

    code, said = device.wain("config", "check")

    assert (code, words in said) == (2, True), said
