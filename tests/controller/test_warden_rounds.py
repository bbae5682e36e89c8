"""The warden's rounds: what it writes, ends, renews and forgets, with a clock and a broker of the test's."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from msgspec.structs import replace
from sqlalchemy import insert, select

from wainwright_common.errors import WainwrightError
from wainwright_controller import enrolment_store as shelf
from wainwright_controller.enrolment_store import KEPT_S, LISTED_S, PENDING_KEPT_S
from wainwright_controller.ingest.link import BrokerRefused
from wainwright_controller.ledger import Ledger
from wainwright_controller.pki import CONTROLLER, Authority, Folder
from wainwright_controller.pki.keeper import Keeper, utc
from wainwright_controller.pki.profiles import ISSUING_LIFETIME
from wainwright_controller.records import Certificate, CertificateKind, Device, DeviceKey, DeviceState
from wainwright_controller.renewals import Renewals
from wainwright_controller.rows import CERTIFICATE, DEVICE, TAG, to_row
from wainwright_controller.store import Store
from wainwright_controller.warden import (
    FAREWELL_S,
    REFUSED_MAX,
    REWRITTEN_AT,
    SETTLE_S,
    STILL_S,
    WATCH_EVERY_S,
    BrokerOrders,
    Warden,
)

DAY_S = 86_400.0
LIST_S = 30 * DAY_S
TRIES = 5  # of a measurement, that whatever else the machine does may spoil


class Lab:
    """A warden on a store, whose clock and broker are the test's."""

    def __init__(self, tmp_path: Path, store: Store) -> None:
        self.now = time.time()
        self.store = store
        self.keeper = Keeper(Folder(tmp_path / "pki"), "Test", self.now, LIST_S)
        self.reloads = 0
        self.shown = 0  # how often the controller was told to show another certificate
        self.ended: list[str] = []
        self.fault: BrokerRefused | None = None
        self.stubborn: set[str] = set()  # whose sessions cannot be ended
        self.tried: list[str] = []
        self.warden = self.another()

    def another(self) -> Warden:
        """Return a warden that remembers nothing, as after a restart."""
        orders = BrokerOrders(self._reload, self._end)
        renewals = Renewals(self.store, self.keeper, None, self._show)
        return Warden(self.store, self.keeper, orders, LIST_S, renewals.renew, clock=lambda: self.now)

    def _reload(self) -> None:
        if self.fault is not None:
            raise self.fault
        self.reloads += 1

    def _show(self) -> None:
        self.shown += 1

    def _end(self, name: str) -> None:
        self.tried.append(name)
        if self.fault is not None:
            raise self.fault
        if name in self.stubborn:
            raise BrokerRefused(f"{name} is not here")
        self.ended.append(name)

    def issue(self, name: str) -> Certificate:
        """Record a certificate."""
        authority = self.keeper.authority()
        key = authority.issuer.certificate.public_key()
        made = authority.issue_client(key, name, utc(self.now), timedelta(days=90))
        record = shelf.record_of(made, CertificateKind.DEVICE, authority.issuer.id, self.now, "test")
        with self.store.write() as connection:
            shelf.add_certificate(connection, record)
        return record

    def hear(self, *names: str) -> None:
        """Have devices said something just now."""
        with self.store.write() as connection:
            ledger = Ledger(connection, self.now)
            ledger.load_devices(names)
            for name in names:
                known = ledger.devices.get(name, Device(id=name, created_at=self.now))
                ledger.put_device(replace(known, last_seen_at=self.now))
            ledger.flush()

    def revoke(self, record: Certificate) -> None:
        """Take a certificate back, and let the time pass that its owner has to say goodbye."""
        with self.store.write() as connection:
            shelf.revoke_certificates(connection, self.now, "key-compromise", serial=record.serial)
        self.now += FAREWELL_S

    @property
    def list(self) -> x509.CertificateRevocationList:
        """The revocation list that the broker reads."""
        return x509.load_pem_x509_crl(self.keeper.folder.crl.read_bytes())

    def recorded(self, path: Path) -> Certificate | None:
        """Return what the store knows of the certificate in a file."""
        made = x509.load_pem_x509_certificate(path.read_bytes())
        with self.store.read() as connection:
            return shelf.load_certificate(connection, shelf.serial_of(made.serial_number))

    def is_done(self, record: Certificate) -> bool:
        """Say whether the store takes the session for ended."""
        with self.store.read() as connection:
            query = select(CERTIFICATE.c.session_ended_at).where(CERTIFICATE.c.serial == record.serial)
            return connection.execute(query).scalar_one() is not None


@pytest.fixture
def lab(tmp_path: Path, store: Store) -> Lab:
    return Lab(tmp_path, store)


def test_the_list_is_written_before_it_ends_and_when_something_changes_and_not_otherwise(lab: Lab) -> None:
    lab.warden.look()
    lab.warden.look()
    first = lab.list
    assert (lab.reloads, len(list(first))) == (1, 0)
    assert first.next_update_utc is not None

    lab.now += LIST_S * REWRITTEN_AT - 1
    lab.warden.look()
    assert lab.list == first
    lab.now += 2
    lab.warden.look()
    second = lab.list
    assert second.next_update_utc is not None
    assert second.next_update_utc > first.next_update_utc
    assert _number(second) > _number(first)
    assert lab.reloads == 2

    record = lab.issue("press-07")
    lab.warden.look()
    assert lab.reloads == 2
    lab.revoke(record)
    lab.warden.look()
    assert lab.list.get_revoked_certificate_by_serial_number(int(record.serial, 16)) is not None
    assert lab.reloads == 3

    lab.now += 89 * DAY_S + LISTED_S  # the certificate has ended by itself
    lab.warden.look()
    assert len(list(lab.list)) == 1
    lab.now += 2 * DAY_S
    lab.warden.look()
    assert len(list(lab.list)) == 0


def _number(crl: x509.CertificateRevocationList) -> int:
    return crl.extensions.get_extension_for_class(x509.CRLNumber).value.crl_number


def test_a_clock_that_goes_back_leaves_no_list_that_has_ended(lab: Lab) -> None:
    lab.warden.look()
    lab.now -= 400 * DAY_S
    lab.warden.look()
    lab.now += 400 * DAY_S
    lab.warden.look()

    assert lab.list.next_update_utc is not None
    assert lab.list.next_update_utc > utc(lab.now)


def test_a_clock_that_was_ahead_for_a_while_undoes_no_revocation(lab: Lab) -> None:
    """Nothing that is lost by it can be made again: nobody else knows the certificate's number."""
    revoked, other = lab.issue("press-07"), lab.issue("press-08")
    lab.revoke(revoked)
    lab.warden.look()
    lab.now += 200 * DAY_S  # a battery was changed, and the controller started
    lab.another().look()
    lab.now -= 200 * DAY_S

    lab.revoke(other)  # nor one that was only issued before
    lab.another().look()

    assert {f"{one.serial_number:040x}" for one in lab.list} == {revoked.serial, other.serial}


def test_what_is_revoked_by_a_clock_that_is_ahead_is_revoked(lab: Lab) -> None:
    record = lab.issue("press-07")
    lab.now += 200 * DAY_S
    lab.revoke(record)
    lab.another().look()
    lab.now -= 200 * DAY_S
    lab.another().look()

    [entry] = lab.list
    assert entry.serial_number == int(record.serial, 16)
    assert entry.revocation_date_utc <= utc(lab.now)


def test_a_session_is_ended_twice_and_only_then_it_is_done(lab: Lab) -> None:
    record = lab.issue("press-07")
    lab.revoke(record)

    lab.warden.look()
    lab.warden.look()
    assert (lab.ended, lab.is_done(record)) == (["press-07"], False)
    lab.now += SETTLE_S
    lab.warden.look()
    assert (lab.ended, lab.is_done(record)) == (["press-07"] * 2, True)
    lab.now += SETTLE_S * 9
    lab.warden.look()
    assert lab.ended == ["press-07"] * 2


def test_many_revoked_certificates_cost_nothing_while_nothing_changes(lab: Lab) -> None:
    """It looks every second, for as long as they would be valid."""
    first = lab.issue("press-0")
    taken_back = {"revoked_at": lab.now, "reason": "superseded", "session_ended_at": lab.now}
    with lab.store.write() as connection:
        rows = [to_row(first) | taken_back | {"serial": f"{i:040x}"} for i in range(1, 5001)]
        connection.execute(insert(CERTIFICATE), rows)
    lab.warden.look()

    def seconds(what: Callable[[], object]) -> float:
        began = time.process_time()
        for _ in range(10):
            what()
        return time.process_time() - began

    def load() -> list[Certificate]:
        with lab.store.read() as connection:
            return shelf.load_revoked(connection, lab.now)

    assert len(load()) == 5000
    assert any(seconds(lab.warden.look) < seconds(load) / 2 for _ in range(TRIES))
    lab.revoke(first)
    lab.warden.look()
    assert len(list(lab.list)) == 5001


def test_a_broker_that_lets_in_whom_it_should_refuse_is_noticed(lab: Lab, caplog: pytest.LogCaptureFixture) -> None:
    """Its list is read by nobody, or it is never told to read it: no answer of the broker's says so."""
    good, bad, renewed = (lab.issue(name) for name in ("press-01", "press-02", "press-03"))
    lab.hear("press-01", "press-02", "press-03")
    lab.revoke(bad)
    lab.revoke(renewed)
    for _ in range(3):
        lab.warden.look()
        lab.now += SETTLE_S
    lab.hear("press-02")  # what it said before its end
    lab.now += STILL_S
    lab.warden.look()
    assert lab.is_done(bad)
    assert "lets in" not in caplog.text

    lab.now += WATCH_EVERY_S
    lab.issue("press-03")
    lab.hear("press-01", "press-02", "press-03")
    lab.warden.look()
    lab.now += WATCH_EVERY_S
    lab.warden.look()

    [said] = [record.getMessage() for record in caplog.records if "lets in" in record.getMessage()]
    assert "revoked: press-02. Does it read" in said
    assert good.name not in said


def test_what_a_controller_did_not_finish_the_next_one_does(lab: Lab) -> None:
    record = lab.issue("press-07")
    lab.revoke(record)
    lab.warden.look()

    again = lab.another()  # killed in between
    again.look()
    lab.now += SETTLE_S
    again.look()

    assert lab.is_done(record)
    assert len(lab.ended) == 3


def test_a_broker_that_cannot_be_told_is_told_later_and_nothing_is_done_before(lab: Lab) -> None:
    lab.warden.look()
    record = lab.issue("press-07")
    lab.revoke(record)
    lab.fault = BrokerRefused("away")
    for _ in range(3):
        with pytest.raises(BrokerRefused):
            lab.warden.look()
        lab.now += SETTLE_S * 3
    assert (lab.ended, lab.is_done(record)) == ([], False)

    lab.fault = None
    lab.warden.look()
    lab.now += SETTLE_S
    lab.warden.look()

    assert (lab.ended, lab.is_done(record)) == (["press-07"] * 2, True)


def test_who_cannot_be_disconnected_keeps_nobody_else_connected_and_nothing_from_being_done(
    lab: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """A command that fails for a device that is away, for instance, fails for as long as that is."""
    lab.stubborn = {f"a-press-{n}" for n in range(2 * REFUSED_MAX)}
    let_in, late, stubborn = lab.issue("b-press"), lab.issue("c-press"), [lab.issue(n) for n in sorted(lab.stubborn)]
    for record in (let_in, *stubborn):
        lab.revoke(record)

    def look() -> None:
        with pytest.raises(WainwrightError, match=r"a-press-\d is not here"):
            lab.warden.look()

    for _ in range(4):
        look()
        lab.now += SETTLE_S
    assert lab.is_done(let_in)
    assert set(lab.tried) == {"b-press", *lab.stubborn}  # a few in a round, and all in turn
    lab.tried.clear()
    look()
    assert len(lab.tried) == REFUSED_MAX

    lab.revoke(late)
    lab.now += STILL_S + WATCH_EVERY_S
    lab.hear("b-press")
    for _ in range(4):
        look()
        lab.now += SETTLE_S
    assert lab.is_done(late)
    assert "lets in devices whose certificates are revoked: b-press" in caplog.text
    assert not any(lab.is_done(one) for one in stubborn)

    lab.stubborn.clear()
    for _ in range(3):
        lab.warden.look()
        lab.now += SETTLE_S
    assert all(lab.is_done(one) for one in stubborn)


def test_what_is_old_is_forgotten_also_while_the_broker_cannot_be_told(lab: Lab) -> None:
    record = lab.issue("press-07")
    lab.fault = BrokerRefused("away")
    lab.now += 90 * DAY_S + KEPT_S
    lab.issue("press-07")

    with pytest.raises(BrokerRefused):
        lab.warden.look()

    with lab.store.read() as connection:
        assert shelf.load_certificate(connection, record.serial) is None


def test_a_file_that_cannot_be_used_keeps_no_list_from_being_written(lab: Lab) -> None:
    lab.keeper.folder.broker.write_bytes(b"no certificate")
    record = lab.issue("press-07")
    lab.revoke(record)

    lab.warden.look()

    assert lab.list.get_revoked_certificate_by_serial_number(int(record.serial, 16)) is not None


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
