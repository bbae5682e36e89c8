"""What the warden keeps in use by renewing it, and what it forgets, with a clock of the test's."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from msgspec.structs import replace
from sqlalchemy import insert, select

from tests.controller.warden_lab import DAY_S, Lab
from wainwright_controller import enrolment_store as shelf
from wainwright_controller.config import Config, Http
from wainwright_controller.enrolment_store import KEPT_S, PENDING_KEPT_S
from wainwright_controller.https import ServerTls
from wainwright_controller.ledger import Ledger
from wainwright_controller.pki import CONTROLLER, Authority, Folder
from wainwright_controller.pki.keeper import utc
from wainwright_controller.pki.profiles import ISSUING_LIFETIME
from wainwright_controller.records import CertificateKind, Device, DeviceKey, DeviceState
from wainwright_controller.rows import DEVICE, TAG
from wainwright_controller.store import Store


@pytest.fixture
def lab(tmp_path: Path, store: Store) -> Lab:
    return Lab(tmp_path, store)


def test_of_a_name_the_certificates_that_are_old_are_forgotten_and_the_last_is_not(lab: Lab) -> None:
    first = lab.issue("press-07")
    lab.now += DAY_S
    last = lab.issue("press-07")

    def kept() -> list[bool]:
        lab.another().look()
        with lab.store.read() as connection:
            return [shelf.load_certificate(connection, one.serial) is not None for one in (first, last)]

    lab.now += 89 * DAY_S + KEPT_S - 1
    assert kept() == [True, True]
    lab.now += 2
    assert kept() == [False, True]
    lab.now += 1000 * DAY_S
    assert kept() == [False, True]


def test_what_was_revoked_is_remembered_as_long_as_its_authority_is_trusted(lab: Lab) -> None:
    record, authority = lab.issue("press-07"), lab.keeper.authority()
    lab.revoke(record)
    lab.now += 1000 * DAY_S
    lab.another().look()
    with lab.store.read() as connection:
        assert shelf.load_certificate(connection, record.serial) is not None

    authority.rotate("Test", utc(lab.now)).retire(authority.issuer.id, utc(lab.now))
    lab.another().look()

    with lab.store.read() as connection:
        assert shelf.load_certificate(connection, record.serial) is None


def test_names_that_strangers_chose_and_nobody_decided_about_are_forgotten_and_no_others(lab: Lab) -> None:
    """Their keys make room for others after a week: the names must, too."""
    asked = {"asked_at": lab.now, "last_asked_at": lab.now}
    made = {
        "stranger": Device(id="stranger", created_at=lab.now),
        "persistent": Device(id="persistent", created_at=lab.now),
        "tagged": Device(id="tagged", created_at=lab.now),
        "heard": Device(id="heard", created_at=lab.now, agent_version="1"),
        "accepted": Device(id="accepted", created_at=lab.now, state=DeviceState.ACCEPTED),
        "rejected": Device(id="rejected", created_at=lab.now, state=DeviceState.REJECTED),
    }
    with lab.store.write() as connection:
        ledger = Ledger(connection, lab.now)
        ledger.load_devices(made)
        for device in made.values():
            ledger.put_device(device)
        ledger.flush()
        for name in ("stranger", "persistent", "tagged"):
            shelf.put_key(connection, DeviceKey(device_id=name, digest=name, **asked))  # type: ignore[arg-type]
        connection.execute(insert(TAG), {"device_id": "tagged", "name": "site", "value": "north"})
    lab.now += PENDING_KEPT_S - 1
    lab.another().look()
    with lab.store.write() as connection:
        [key] = shelf.load_keys(connection, ["persistent"])["persistent"]
        shelf.put_key(connection, replace(key, last_asked_at=lab.now))

    def there() -> set[str]:
        with lab.store.read() as connection:
            return set(connection.execute(select(DEVICE.c.id)).scalars())

    assert there() == set(made)
    lab.now += 2
    lab.another().look()
    assert there() == set(made) - {"stranger"}


def test_certificates_of_machines_are_renewed_at_once_when_their_authority_is_retired(lab: Lab) -> None:
    """The broker would refuse the controller, and nobody would ever renew them."""
    authority, folder = lab.keeper.authority(), lab.keeper.folder
    authority.issue_server(["broker.example"], folder.broker, folder.broker_key, utc(lab.now))
    authority.issue_controller(CONTROLLER, folder.controller, folder.controller_key, utc(lab.now))
    rotated = authority.rotate("Test", utc(lab.now))
    before = folder.broker.read_bytes(), folder.controller.read_bytes()
    lab.warden.look()
    assert (folder.broker.read_bytes(), folder.controller.read_bytes()) == before

    rotated.retire(authority.issuer.id, utc(lab.now))
    lab.warden.look()

    for file in (folder.broker, folder.controller):
        made = x509.load_pem_x509_certificate(file.read_bytes())
        assert made.issuer == rotated.issuer.certificate.subject


def test_certificates_of_machines_are_renewed_at_two_thirds_and_written_down(lab: Lab, tmp_path: Path) -> None:
    authority, folder = lab.keeper.authority(), lab.keeper.folder
    authority.issue_server(["broker.example", "192.0.2.1"], folder.broker, folder.broker_key, utc(lab.now))
    authority.issue_controller(CONTROLLER, folder.controller, folder.controller_key, utc(lab.now))
    lab.warden.look()
    before = folder.broker.read_bytes(), folder.controller.read_bytes()
    lab.now += 397 * DAY_S * 2 / 3 - DAY_S
    lab.warden.look()
    assert (folder.broker.read_bytes(), folder.controller.read_bytes()) == before
    reloads = lab.reloads

    lab.now += 2 * DAY_S
    lab.warden.look()

    new = x509.load_pem_x509_certificate(folder.broker.read_bytes())
    names = new.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == ["broker.example", "192.0.2.1"]
    assert new.not_valid_after_utc > utc(lab.now + 390 * DAY_S)
    assert folder.controller.read_bytes() != before[1]
    assert lab.reloads > reloads
    with lab.store.read() as connection:
        assert shelf.load_certificate(connection, shelf.serial_of(new.serial_number)) is not None
    # A certificate of another authority in the same place is left alone.
    other = Authority.create(Folder(tmp_path / "other"), "Other", utc(lab.now), timedelta(days=1))
    other.issue_server(["x.example"], folder.broker, folder.broker_key, utc(lab.now), timedelta(hours=1))
    theirs = folder.broker.read_bytes()
    lab.now += DAY_S
    lab.warden.look()
    assert folder.broker.read_bytes() == theirs


def test_certificates_of_machines_that_a_clock_ahead_has_made_are_renewed_when_it_is_set_back(lab: Lab) -> None:
    """Devices would refuse the broker, and it the controller, until the clock had caught up."""
    authority, folder = lab.keeper.authority(), lab.keeper.folder
    authority.issue_server(["broker.example"], folder.broker, folder.broker_key, utc(lab.now))
    authority.issue_controller(CONTROLLER, folder.controller, folder.controller_key, utc(lab.now))
    lab.now += 300 * DAY_S
    lab.warden.look()
    lab.now -= 300 * DAY_S

    lab.warden.look()

    for file in (folder.broker, folder.controller):
        made = x509.load_pem_x509_certificate(file.read_bytes())
        assert made.not_valid_before_utc <= utc(lab.now)
    assert (lab.shown, lab.reloads) == (2, 2)


def test_a_controller_takes_its_certificate_also_when_another_one_has_renewed_it(lab: Lab) -> None:
    """They share the folder: who lost the race would show what was revoked, and be shut out by the broker."""
    authority, folder = lab.keeper.authority(), lab.keeper.folder
    authority.issue_controller(CONTROLLER, folder.controller, folder.controller_key, utc(lab.now))
    one, other = lab.another(), lab.another()
    for warden in (one, other):
        warden.look()
    record = lab.recorded(folder.controller)
    assert record is not None
    lab.revoke(record)
    before = lab.shown

    for warden in (one, other, one, other):
        warden.look()

    assert lab.shown == before + 2


def test_a_file_that_cannot_be_read_keeps_no_controller_from_starting(lab: Lab) -> None:
    lab.keeper.folder.controller.mkdir()

    lab.another().look()

    assert lab.shown == 0


@pytest.mark.parametrize("damaged", ["https", "controller"])
def test_a_file_that_cannot_be_used_keeps_no_other_certificate_from_being_renewed(
    lab: Lab, tmp_path: Path, damaged: str
) -> None:
    """The administrator's own of HTTPS, for one: the fleet would lose the broker over it, months later."""
    authority, folder = lab.keeper.authority(), lab.keeper.folder
    certificate, key = tmp_path / "own.pem", tmp_path / "own.key"
    authority.issue_server(["localhost"], certificate, key, utc(lab.now))
    config = Config(data_dir=tmp_path, http=Http(tls=True, certificate=str(certificate), key=str(key)))
    lab.tls = ServerTls(config, lab.keeper, lab.now)
    loop = asyncio.new_event_loop()
    lab.tls.belongs_to(loop)  # as while it serves
    authority.issue_server(["broker.example"], folder.broker, folder.broker_key, utc(lab.now))
    before, warden = folder.broker.read_bytes(), lab.another()
    file = certificate if damaged == "https" else folder.controller
    file.write_text("half a fi")
    lab.now += 300 * DAY_S

    warden.look()

    loop.close()
    assert folder.broker.read_bytes() != before
    assert lab.reloads == 1


def test_what_a_machine_shows_is_written_down_also_when_its_maker_was_killed_before_that(lab: Lab) -> None:
    """No list shows a certificate that is not, and nobody can take it back; the file itself is fresh."""
    authority, folder = lab.keeper.authority(), lab.keeper.folder
    authority.issue_server(["broker.example"], folder.broker, folder.broker_key, utc(lab.now))
    authority.issue_controller(CONTROLLER, folder.controller, folder.controller_key, utc(lab.now))
    authority.rotate("Test", utc(lab.now))

    lab.warden.look()

    for file, kind in ((folder.broker, CertificateKind.SERVER), (folder.controller, CertificateKind.CONTROLLER)):
        record = lab.recorded(file)
        assert record is not None
        assert (record.kind, record.issuer) == (kind, authority.issuer.id)
    assert (lab.shown, lab.reloads) == (1, 1)
    lab.warden.look()
    assert (lab.shown, lab.reloads) == (1, 1)


def test_what_a_machine_shows_is_made_anew_at_once_when_it_is_revoked(lab: Lab) -> None:
    authority, folder = lab.keeper.authority(), lab.keeper.folder
    authority.issue_server(["broker.example"], folder.broker, folder.broker_key, utc(lab.now))
    authority.issue_controller(CONTROLLER, folder.controller, folder.controller_key, utc(lab.now))
    lab.warden.look()
    before = [lab.recorded(folder.controller), lab.recorded(folder.broker)]
    for times, record in enumerate(before, start=1):
        assert record is not None
        lab.revoke(record)
        lab.warden.look()
        assert lab.reloads == 1 + times
    assert lab.shown == 2

    after = [lab.recorded(folder.controller), lab.recorded(folder.broker)]
    for former, record in zip(before, after, strict=True):
        assert former is not None
        assert record is not None
        assert record.serial != former.serial
        assert (record.name, record.revoked_at) == (former.name, None)


def test_another_issuing_authority_signs_in_time_and_the_list_has_it_in_the_same_round(lab: Lab) -> None:
    first = lab.keeper.authority().issuer
    lab.warden.look()
    lab.now += ISSUING_LIFETIME.total_seconds() * 3 / 5 - DAY_S
    lab.warden.look()
    assert lab.keeper.authority().issuer.id == first.id

    lab.now += 2 * DAY_S
    lab.warden.look()

    signs = lab.keeper.authority().issuer
    assert signs.id != first.id
    lists = lab.keeper.folder.crl.read_bytes().split(b"-----END X509 CRL-----\n")[:-1]
    issuers = {x509.load_pem_x509_crl(one + b"-----END X509 CRL-----\n").issuer for one in lists}
    assert issuers == {first.certificate.subject, signs.certificate.subject}
    lab.warden.look()
    assert lab.keeper.authority().issuer.id == signs.id


def test_an_issuing_authority_that_cannot_be_followed_is_told_of_daily(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    lab.keeper.folder.root_key.unlink()
    lab.now += ISSUING_LIFETIME.total_seconds() * 3 / 5 + DAY_S
    for _ in range(3):
        lab.warden.look()
        lab.now += DAY_S / 2 + 1
    assert caplog.text.count("wainwright ca rotate --request") == 2
