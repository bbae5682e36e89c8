"""The warden's rounds: what it writes, ends and notices, with a clock and a broker of the test's."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography import x509
from sqlalchemy import insert

from tests.controller.warden_lab import DAY_S, LIST_S, Lab
from wainwright_common.errors import WainwrightError
from wainwright_controller import enrolment_store as shelf
from wainwright_controller.enrolment_store import KEPT_S, LISTED_S
from wainwright_controller.ingest.link import BrokerRefused
from wainwright_controller.pki.keeper import utc
from wainwright_controller.records import Certificate
from wainwright_controller.rows import CERTIFICATE, to_row
from wainwright_controller.store import Store
from wainwright_controller.warden import (
    REFUSED_MAX,
    REWRITTEN_AT,
    SETTLE_S,
    STILL_S,
    WATCH_EVERY_S,
)

TRIES = 5  # of a measurement, that whatever else the machine does may spoil


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
