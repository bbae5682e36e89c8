"""The embedded broker, and a controller with it inside: started, killed, and in the way of others."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from shutil import copy
from typing import Any

import msgspec
import pytest
from cryptography import x509
from pytest_mock import MockerFixture

from tests.controller.conftest import make_artifact
from tests.support.authority import Credentials
from tests.support.device import Device
from tests.support.wait import PATIENCE_S, free_port, wait_until
from tests.system.security.attacker import Attacker, Refused
from wainwright_common.messages import Verdict
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.config import BrokerSection, Config, Enrolment
from wainwright_controller.controller import Controller, FolderTaken
from wainwright_controller.embedded import BrokerError, EmbeddedBroker, process
from wainwright_controller.operations import Order
from wainwright_controller.pki import CONTROLLER


@pytest.fixture
def controller(tmp_path: Path) -> Iterator[Controller]:
    """A running controller with its own broker, release panel-2 and the accepted device press-07.a in its store."""
    broker = BrokerSection(port=free_port())  # which nobody else is given before it is used, or used again
    running = Controller(Config(data_dir=tmp_path / "data", broker=broker), "http://127.0.0.1:9")
    running.operations.add_artifact(make_artifact(), "test")
    running.operations.preauthorize(["press-07.a"], "test")
    running.start()
    assert running.link.connected.wait(PATIENCE_S)
    yield running
    running.stop()


def port_of(controller: Controller) -> int:
    assert controller.broker is not None
    return controller.broker.port


def test_a_device_is_updated_over_the_embedded_broker_through_a_kill_of_it(controller: Controller) -> None:
    assert controller.broker is not None
    assert controller.broker._process is not None
    with Device(port_of(controller), "press-07.a") as device:
        order = Order(release="panel-2", devices=["press-07.a"])
        deployment = controller.operations.create_deployment(order, "test")
        assert device.check_in().offer is not msgspec.UNSET
        device.report(deployment.id, 1, DeviceStatus.DOWNLOADING)
        before = controller.broker._process.pid
        losses, subscriptions = controller.link._generation, device.subscriptions

        os.kill(before, signal.SIGKILL)

        # Counted, and not looked at: both may be back before anybody looks.
        wait_until(lambda: controller.link._generation > losses, what="the loss of the broker")
        wait_until(lambda: device.subscriptions > subscriptions, what="the device to come back")
        assert device.report(deployment.id, 2, DeviceStatus.SUCCESS).verdict is Verdict.ACCEPTED
        assert controller.broker._process.pid != before


def test_a_broker_that_is_told_to_end_while_it_is_started_again_ends(tmp_path: Path, mocker: MockerFixture) -> None:
    broker = EmbeddedBroker(tmp_path, BrokerSection(port=free_port()))
    broker.start()
    assert broker._process is not None
    real = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> subprocess.Popen[bytes]:  # noqa: ANN401  as Popen takes them
        broker._stopping.set()  # as `stop` does, to which this process is not known yet
        return real(*arguments, **options)

    mocker.patch.object(subprocess, "Popen", start)
    os.kill(broker._process.pid, signal.SIGKILL)

    broker._thread.join(PATIENCE_S)
    ended = not broker._thread.is_alive()
    broker.stop()
    assert ended


def test_whoever_else_listens_on_the_port_is_not_taken_for_our_broker(tmp_path: Path, mocker: MockerFixture) -> None:
    mocker.patch.object(process, "PORT_TIMEOUT_S", 0.1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port: int = other.getsockname()[1]

        with pytest.raises(BrokerError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            EmbeddedBroker(tmp_path, BrokerSection(port=port)).start()


def test_a_second_controller_in_the_same_folder_is_refused(controller: Controller) -> None:
    with pytest.raises(FolderTaken, match="Another controller uses"):
        Controller(controller.config, "http://127.0.0.1:9")


def test_what_the_broker_needs_is_not_readable_by_others(controller: Controller) -> None:
    folder = controller.config.data_dir / "broker"

    assert folder.stat().st_mode & 0o077 == 0
    assert (folder / "nats.conf").stat().st_mode & 0o077 == 0


def test_a_controllers_certificate_that_is_revoked_lets_nobody_stay_and_the_controller_gets_another(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Who has copied it may connect by any client id: no session of one name is all that there is to end."""
    caplog.set_level("INFO")
    config = Config(
        data_dir=tmp_path / "data",
        broker=BrokerSection(port=free_port(), tls=True),
        enrolment=Enrolment(enabled=True),
    )
    running = Controller(config, "https://127.0.0.1:9")
    pki = config.pki_folder
    stolen = Credentials(pki / "ca.pem", tmp_path / "stolen.pem", tmp_path / "stolen.key")
    copy(pki / "controller.pem", tmp_path / "stolen.pem")
    copy(pki / "controller.key", tmp_path / "stolen.key")
    serial = x509.load_pem_x509_certificate((pki / "controller.pem").read_bytes()).serial_number

    def knock() -> Attacker:
        prefix = config.broker.prefix
        return Attacker(port_of(running), stolen, CONTROLLER, prefix=prefix, version="3.1.1", client_id="thief")

    running.start()
    try:
        assert running.link.connected.wait(PATIENCE_S)
        with knock() as thief:
            running.operations.revoke_certificate(f"{serial:x}", "key-compromise", "test")

            assert thief.closed.wait(PATIENCE_S)
        with pytest.raises(Refused):
            knock().__enter__()
        wait_until(lambda: caplog.text.count("connected to the broker") > 1, what="the controller to be back")
        shown = x509.load_pem_x509_certificate((pki / "controller.pem").read_bytes())
        assert shown.serial_number != serial
    finally:
        running.stop()
