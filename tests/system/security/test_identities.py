"""Who a client is: no client id, user name or certificate makes one device another, or the controller."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import pytest

from tests.agent.service.peers import Agent
from tests.support.authority import Authority, Credentials
from tests.support.device import Device
from tests.support.wait import wait_until
from tests.system.security.attacker import PATIENCE_S, Refused
from tests.system.security.conftest import Attack, assert_undisturbed
from tests.system.security.secured import SecureSystem
from wainwright_common.topics import Kind, Topic
from wainwright_controller.pki import CONTROLLER

VERSIONS = pytest.mark.parametrize("version", ["5", "3.1.1"])
ALERTS = {"-tls1": "alert protocol version", "-tls1_1": "alert protocol version", "-tls1_2": "New, TLSv1.2"}
ANYTHING = "ALL:@SECLEVEL=0"  # what OpenSSL has, however old


@VERSIONS
def test_a_client_id_of_another_device_does_not_end_its_connection_nor_take_its_session(
    system: SecureSystem, victim: Device, attack: Attack, version: str
) -> None:
    attacker = attack(client_id=victim.id, version=version)

    assert not attacker.session_present
    assert_undisturbed(victim)
    assert attacker.ask() == []
    assert f" as {attacker.name} (" in system.broker.log


@VERSIONS
def test_the_controllers_client_id_does_not_end_its_connection_nor_take_its_session(
    system: SecureSystem, victim: Device, attack: Attack, version: str
) -> None:
    """Its session is one that lasts: it would have what devices have sent."""
    log = system.processes.log("controller")
    losses = log.read_text().count("lost the broker")
    attacker = attack(client_id=CONTROLLER, version=version, is_clean=False)

    assert not attacker.session_present
    assert_undisturbed(victim)
    assert attacker.ask() == []
    assert log.read_text().count("lost the broker") == losses


def test_a_user_name_counts_for_nothing_beside_a_certificate(
    system: SecureSystem, victim: Device, attack: Attack
) -> None:
    attacker = attack(username=CONTROLLER)

    answer = attacker.publish(Topic(victim.id, Kind.COMMAND).text(system.stage.prefix))

    assert answer == "Not authorized"
    assert_undisturbed(victim)


def test_a_device_has_one_connection_however_often_it_connects(victim: Device, attack: Attack) -> None:
    connections = [attack(client_id=f"number-{number}") for number in range(20)]

    wait_until(lambda: all(one.closed.is_set() for one in connections[:-1]), what="all but the last to be ended")
    assert not connections[-1].closed.is_set()
    assert_undisturbed(victim)


# ---- certificates -----------------------------------------------------------------------------------------------


@pytest.fixture
def bad(system: SecureSystem, tmp_path: Path, evil: str) -> dict[str, Credentials]:
    """Certificates that do not let their owner in, by what is wrong with them; all have the name of `evil`."""
    ours, others = system.authority, Authority(tmp_path / "other")
    foreign = others.issue(evil)
    revoked = ours.issue(evil, file_name=f"{evil}-revoked")
    system.revoke(revoked)
    return {
        "expired": ours.issue(evil, valid_for=timedelta(seconds=-1), file_name=f"{evil}-expired"),
        "revoked": revoked,
        "of another authority": Credentials(ours.file, foreign.certificate, foreign.key),
        "of a server": ours.issue(evil, is_server=True, file_name=f"{evil}-server"),
        "none": Credentials(ours.file),
    }


@pytest.mark.parametrize("what", ["expired", "revoked", "of another authority", "of a server", "none"])
def test_a_bad_certificate_does_not_let_in(
    victim: Device, attack: Attack, bad: dict[str, Credentials], what: str
) -> None:
    with pytest.raises(Refused):
        attack(credentials=bad[what])

    assert_undisturbed(victim)
    assert attack().ask() == [], "with the right certificate it is let in"


def test_another_devices_certificate_is_of_no_use_without_its_key(
    system: SecureSystem, victim: Device, attack: Attack, evil: str
) -> None:
    theirs, own = system.credentials(victim.id), system.credentials(evil)
    mixed = Credentials(own.ca, theirs.certificate, own.key)

    with pytest.raises(ssl.SSLError, match=r"(?i)key.values.mismatch"):
        attack(credentials=mixed)


def test_a_revoked_certificate_keeps_the_connection_that_it_has_until_that_is_ended(
    system: SecureSystem, victim: Device, attack: Attack, evil: str
) -> None:
    """What Mosquitto does by itself: ending the connection is the controller's part."""
    attacker = attack()
    system.revoke(system.credentials(evil))

    assert attacker.ask() == []
    with pytest.raises(Refused):
        attack()
    assert_undisturbed(victim)


def test_a_list_of_revocations_that_is_out_of_date_lets_nobody_in_until_there_is_a_new_one(
    system: SecureSystem, victim: Device, attack: Attack
) -> None:
    system.authority.list_revoked(valid_for=timedelta(seconds=-1))
    system.broker.reload()
    try:
        with pytest.raises(Refused):
            attack()
        assert_undisturbed(victim)
    finally:
        system.authority.list_revoked()
        system.broker.reload()
    assert attack().ask() == []


@pytest.mark.parametrize("name", ["+", "#", "$SYS", " ", "{victim}/up", "+/up/report", "../{victim}"])
def test_a_name_that_is_no_device_id_opens_no_topic_of_another(
    system: SecureSystem, victim: Device, attack: Attack, name: str
) -> None:
    """Our authority signs no such name; this is what happens if it did."""
    name = name.format(victim=victim.id)
    credentials = system.authority.issue(name, file_name=f"{victim.id}-odd")
    attacker = attack(credentials=credentials)
    attacker.subscribe("#")

    for kind in Kind:
        assert attacker.publish(Topic(victim.id, kind).text(system.stage.prefix)) == "Not authorized"

    assert_undisturbed(victim)
    assert attacker.heard == []


def test_connecting_without_tls_is_refused(system: SecureSystem, victim: Device) -> None:
    with socket.create_connection(("127.0.0.1", system.port), PATIENCE_S) as plain, suppress(ConnectionResetError):
        plain.sendall(b"\x10\x10\0\4MQTT\4\2\0\x3c\0\4evil")
        assert plain.recv(100) == b""

    assert_undisturbed(victim)


# ---- versions of TLS, and who the broker is ----------------------------------------------------------------------


@pytest.mark.parametrize("version", ALERTS)
def test_tls_1_0_and_1_1_are_refused_and_1_2_is_not(system: SecureSystem, evil: str, version: str) -> None:
    assert ALERTS[version] in s_client(system, evil, version, "-cipher", ANYTHING)


@pytest.mark.parametrize(
    ("cipher", "words"),
    [("ECDHE-ECDSA-AES128-SHA", "handshake failure"), ("ECDHE-ECDSA-AES128-GCM-SHA256", "New, TLSv1.2")],
)
def test_of_tls_1_2_only_ciphers_that_authenticate_what_they_encrypt_are_taken(
    system: SecureSystem, evil: str, cipher: str, words: str
) -> None:
    assert words in s_client(system, evil, "-tls1_2", "-cipher", f"{cipher}:@SECLEVEL=0")


@pytest.mark.parametrize("what", ["another device's", "for another host", "of another authority"])
def test_an_agent_does_not_speak_to_who_has_not_the_brokers_certificate(
    system: SecureSystem, tmp_path: Path, evil: str, what: str
) -> None:
    """A man in the middle, or a device that has the authority's signature under its own name."""
    ours = system.authority
    shown = {
        "another device's": lambda: system.credentials(evil),
        "for another host": lambda: ours.issue("elsewhere.example", is_server=True, hosts=("elsewhere.example",)),
        "of another authority": lambda: Authority(tmp_path / "other").issue("127.0.0.1", is_server=True),
    }[what]()
    files = {"broker__ca": ours.file, "broker__certificate": shown.certificate, "broker__key": shown.key}
    with (
        impostor(shown) as (port, heard),
        Agent(tmp_path, f"mqtts://127.0.0.1:{port}", evil, **{key: str(file) for key, file in files.items()}) as agent,
    ):
        agent.start()

        wait_until(lambda: "certificate verify failed" in agent.logged(), what="the refusal")
        assert agent.stop() == 0
    assert heard == []


@contextmanager
def impostor(credentials: Credentials) -> Iterator[tuple[int, list[bytes]]]:
    """Yield the port of somebody who shows a certificate, and what he was sent after that."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert credentials.certificate is not None
    context.load_cert_chain(credentials.certificate, credentials.key)
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:  # the end
                    return
                try:
                    with context.wrap_socket(connection, server_side=True) as stream:
                        if data := stream.recv(1000):
                            heard.append(data)
                except OSError:  # ssl.SSLError is one: the agent has hung up
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        yield server.getsockname()[1], heard
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


def s_client(system: SecureSystem, name: str, *options: str) -> str:
    """Return what OpenSSL's client says of a connection with the certificate of a device."""
    own = system.credentials(name)
    files = ["-CAfile", str(own.ca), "-cert", str(own.certificate), "-key", str(own.key)]
    command = ["openssl", "s_client", "-connect", f"127.0.0.1:{system.port}", *files, *options]
    done = subprocess.run(command, input="", capture_output=True, text=True, timeout=30, check=False)
    return done.stdout + done.stderr
