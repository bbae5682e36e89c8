"""What was revoked is refused: the list, the broker that reads it, the sessions that end; with a real Mosquitto."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from tests.controller.api.served import Served
from tests.support.est import EstDevice
from tests.support.tls_mosquitto import PASSWORD, USER, TlsMosquitto
from tests.support.tls_session import TlsSession
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_controller import enrolment_store as shelf
from wainwright_controller import warden
from wainwright_controller.config import BrokerSection, Enrolment
from wainwright_controller.ingest import link
from wainwright_controller.ingest.link import BrokerRefused, take_over
from wainwright_controller.pki import CONTROLLER, Authority, Folder
from wainwright_controller.records import CertificateKind

DAY_S = 86_400.0
LIST_S = 30 * DAY_S


@pytest.fixture
def pki(tmp_path: Path) -> Path:
    """The folder of an authority with a certificate for the broker."""
    folder = Folder(tmp_path / "controller" / "pki")
    authority = Authority.create(folder, "Test", datetime.now(UTC), timedelta(seconds=LIST_S))
    authority.issue_server(["127.0.0.1"], folder.broker, folder.broker_key, datetime.now(UTC))
    return folder.path


@pytest.fixture
def broker(tmp_path: Path, pki: Path) -> Iterator[TlsMosquitto]:
    with TlsMosquitto(tmp_path / "mosquitto", pki) as running:
        yield running


def section_of(broker: TlsMosquitto) -> BrokerSection:
    return BrokerSection(url=broker.url, username=USER, password=PASSWORD, pid_file=str(broker.pid_file))


@pytest.fixture
def served(tmp_path: Path, broker: TlsMosquitto) -> Iterator[Served]:
    section = section_of(broker)
    with Served(tmp_path / "controller", broker, enrolment=Enrolment(enabled=True), section=section) as running:
        yield running


def enrolled(served: Served, folder: Path, name: str) -> EstDevice:
    folder.mkdir(exist_ok=True)
    device = EstDevice(served.url, served.config.pki_folder / "root.pem", folder, name)
    served.post("devices/preauthorize", {"keys": {name: device.digest}})
    assert device.enrol().status_code == 200
    return device


def session(broker: TlsMosquitto, device: EstDevice) -> TlsSession:
    return TlsSession(broker.tls_port, device.ca, device.certificate_file, device.key_file)


def is_let_in(broker: TlsMosquitto, device: EstDevice) -> bool:
    one = session(broker, device)
    try:
        return one.tries()
    finally:
        one.stop()


@pytest.mark.parametrize("order", ["decommission", "revoke"])
def test_whoever_is_revoked_is_disconnected_and_refused_and_nobody_else(
    served: Served, broker: TlsMosquitto, tmp_path: Path, order: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stolen, good = enrolled(served, tmp_path / "a", "press.07"), enrolled(served, tmp_path / "b", "press-08")
    gone = f"wain/v1/{stolen.name}/up/presence"
    with session(broker, stolen).will(gone, b'{"online":false}') as connected, session(broker, good) as other:
        monkeypatch.setattr(warden, "SETTLE_S", DAY_S)  # the session is not only ended when it is for the second time

        served.post(f"devices/{stolen.name}/{order}", {} if order == "revoke" else None)

        wait_until(lambda: not connected.is_up, what="the session to end")
        wait_until(lambda: not is_let_in(broker, stolen), what="the certificate to be refused")
        [revoked] = served.get("certificates", name=stolen.name)["items"]
        assert revoked["reason"] == ("key-compromise" if order == "revoke" else "decommissioned")
        assert "session_ended_at" not in revoked
        monkeypatch.undo()
        wait_until(
            lambda: served.get("certificates", name=stolen.name)["items"][0].get("session_ended_at"),
            what="the controller to be sure",
        )
        assert other.is_up
        other.publish(f"wain/v1/{good.name}/up/log")
    assert is_let_in(broker, good)
    assert "certificate verify failed" in broker.log


def test_a_session_that_was_taken_over_tells_its_will(served: Served, broker: TlsMosquitto, tmp_path: Path) -> None:
    """So the device is shown as offline."""
    device = enrolled(served, tmp_path / "a", "press-07")
    presence = b'{"online":true,"since":"2026-01-01T00:00:00Z","agent_version":"1"}'
    topic = f"wain/v1/{device.name}/up/presence"
    with session(broker, device).will(topic, presence.replace(b"true", b"false")) as connected:
        connected.publish(topic, presence)
        wait_until(lambda: served.get(f"devices/{device.name}")["online"], what="the device to be online")

        served.post(f"devices/{device.name}/revoke", {})

        wait_until(lambda: not served.get(f"devices/{device.name}")["online"], what="the device to be offline")


def test_after_a_rotation_new_certificates_are_taken_and_old_ones_still_are(
    served: Served, broker: TlsMosquitto, tmp_path: Path
) -> None:
    old = enrolled(served, tmp_path / "a", "press-07")

    served.post("ca/rotate")

    new = enrolled(served, tmp_path / "b", "press-08")
    assert new.certificate.issuer != old.certificate.issuer
    wait_until(lambda: is_let_in(broker, new), what="the broker to know the new list")
    assert is_let_in(broker, old)
    former = next(one["id"] for one in served.get("ca")["issuers"] if not one["signs_now"])
    served.post("ca/retire", {"issuer": former})
    wait_until(lambda: not is_let_in(broker, old), what="the former authority's to be refused")
    assert is_let_in(broker, new)
    assert old.renew().status_code == 200  # it is written down, so it may have another
    assert is_let_in(broker, old)


def test_a_controllers_certificate_too_can_be_taken_back(served: Served, broker: TlsMosquitto) -> None:
    keeper = served.controller.keeper
    assert keeper is not None
    folder = keeper.folder
    name, certificate, key = f"{CONTROLLER}-2", folder.path / "lost.pem", folder.path / "lost.key"
    made = keeper.authority().issue_controller(name, certificate, key, datetime.now(UTC))
    record = shelf.record_of(made, CertificateKind.CONTROLLER, keeper.authority().issuer.id, time.time(), "test")
    served.controller.operations.issued(record, "test")
    with TlsSession(broker.tls_port, folder.root, certificate, key) as lost:
        served.post(f"certificates/{record.serial.upper()}/revoke", {"reason": "key-compromise"})
        wait_until(lambda: not lost.is_up, what="the session to end")
    listed = x509.load_pem_x509_crl(folder.crl.read_bytes())
    assert listed.get_revoked_certificate_by_serial_number(made.serial_number) is not None


def test_what_an_administrator_watches_is_in_the_metrics(
    served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(warden, "SETTLE_S", DAY_S)
    device = enrolled(served, tmp_path / "a", "press-07")
    served.post(f"devices/{device.name}/revoke", {})
    assert _metric(served, "revocations_unfinished") == 1
    assert _metric(served, "keys_pending") == 0
    assert 0 <= 5 * 365 * DAY_S - _metric(served, "issuer_ends_seconds") < 3600
    assert 0 <= 20 * 365 * DAY_S - _metric(served, "root_ends_seconds") < 3600
    assert 0 <= LIST_S - _metric(served, "revocation_list_ends_seconds") < 3600
    monkeypatch.undo()
    wait_until(lambda: _metric(served, "revocations_unfinished") == 0, what="the session to be ended")


def test_who_may_not_take_over_says_so(broker: TlsMosquitto, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "TAKE_OVER_S", PATIENCE_S)  # or a slow broker would give no answer
    with pytest.raises(BrokerRefused, match="not authorized"):
        take_over(BrokerSection(username=USER, password="wrong"), broker.url, "press-07")
    with pytest.raises(BrokerRefused, match="refused"):
        take_over(BrokerSection(), "mqtt://127.0.0.1:1", "press-07")


def _metric(served: Served, name: str) -> float:
    lines = served.call("GET", "/metrics").text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith(f"wainwright_{name} ")))
