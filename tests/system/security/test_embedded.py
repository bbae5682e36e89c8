"""The embedded broker, by TLS and without it: what it holds of the same rules, and how it says no."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path

import psutil
import pytest

from tests.support.authority import Authority, Credentials
from tests.support.device import Device
from tests.support.serve import read_all
from tests.support.wait import wait_until
from tests.system.security.attacker import (
    PATIENCE_S,
    Attacker,
    Refused,
    is_ended,
    is_ended_by,
    open_stream,
    publishing,
    remaining,
)
from tests.system.security.conftest import Attack, assert_undisturbed, new_id
from tests.system.security.secured import EmbeddedSystem, accept
from wainwright_common.messages import PAYLOAD_MAX, Command, CommandName, encode
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind, Topic
from wainwright_controller.embedded.configuration import SUBSCRIPTIONS_MAX, TOPIC_MAX, WAIT_S
from wainwright_controller.ingest.budgets import BUDGETS
from wainwright_controller.mosquitto import Limits
from wainwright_controller.pki import CONTROLLER

WAKE = encode(Command(id="c", name=CommandName.CHECK_IN))
NO, YES = "Unspecified error", "Granted QoS 1"  # to a subscription, in MQTT 3.1.1


@pytest.fixture(scope="module")
def tls_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSystem]:
    """A controller whose embedded broker speaks TLS."""
    with EmbeddedSystem(tmp_path_factory.mktemp("embedded"), tls=True) as running:
        yield running


@pytest.fixture(scope="module")
def plain_system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedSystem]:
    """A controller as it is without any setting."""
    with EmbeddedSystem(tmp_path_factory.mktemp("plain"), tls=False) as running:
        yield running


@pytest.fixture(params=["tls", "plain"])
def system(request: pytest.FixtureRequest) -> EmbeddedSystem:
    """One of the two."""
    running: EmbeddedSystem = request.getfixturevalue(f"{request.param}_system")
    return running


@pytest.fixture
def victim(system: EmbeddedSystem) -> Iterator[Device]:
    """An accepted device that is connected and has checked in."""
    with system.device(new_id("victim")) as device:
        device.patience_s = PATIENCE_S
        device.announce()
        device.check_in()
        yield device


@pytest.fixture
def evil(system: EmbeddedSystem) -> str:
    """The id of another accepted device, which is not connected."""
    device_id = new_id("evil")
    accept(system, device_id)
    return device_id


@pytest.fixture
def attack(system: EmbeddedSystem, evil: str) -> Iterator[Attack]:
    """`attack(...)` is a connection of `evil`, open until the test ends; the arguments are those of Attacker."""
    with ExitStack() as connections:

        def connect(**how: object) -> Attacker:
            how.setdefault("credentials", system.credentials_of(evil))
            attacker = Attacker(system.port, name=evil, prefix=system.stage.prefix, version="3.1.1", **how)  # type: ignore[arg-type]
            return connections.enter_context(attacker)

        yield connect


# ---- without a certificate, and with one -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [kind for kind in Kind if not kind.is_up])
def test_nobody_but_the_controller_tells_a_device_anything(
    system: EmbeddedSystem, victim: Device, attack: Attack, kind: Kind
) -> None:
    attacker = attack()

    attacker.publish(Topic(victim.id, kind).text(system.stage.prefix), WAKE)  # MQTT 3.1.1 cannot say that it refuses

    attacker.ask()
    assert_undisturbed(victim)


def test_nobody_but_the_controller_hears_what_devices_say(
    system: EmbeddedSystem, victim: Device, attack: Attack
) -> None:
    prefix, attacker = system.stage.prefix, attack()
    topics = (
        "#",
        "+/#",
        f"{prefix}/#",
        f"{prefix}/+/up/#",
        f"{prefix}/{victim.id}/#",
        f"{prefix}/{victim.id}/up/report",
    )

    answers = [
        attacker.subscribe(one) for one in (*topics, "$SYS/#", "$MQTT/#", "$JS/API/#", f"$share/g/{prefix}/+/up/#")
    ]

    assert set(answers) == {NO}
    assert_undisturbed(victim)
    victim.announce()
    assert attacker.ask() == []


@pytest.mark.parametrize(
    "topic", ["$MQTT/sess/x", "$JS/API/STREAM/DELETE/$MQTT_msgs", "$SYS/REQ/USER/AUTH", "anything"]
)
def test_the_brokers_own_subjects_are_out_of_reach(
    system: EmbeddedSystem, victim: Device, attack: Attack, topic: str
) -> None:
    attacker = attack()

    attacker.publish(topic, b"{}")

    attacker.ask()
    assert_undisturbed(victim)
    assert "Publish Violation" in (system.broker_folder / "nats.log").read_text()


def test_a_last_will_in_the_controllers_place_is_not_carried_out(
    system: EmbeddedSystem, victim: Device, attack: Attack
) -> None:
    attack(will=Topic(victim.id, Kind.COMMAND).text(system.stage.prefix)).vanish()

    attack().ask()
    assert_undisturbed(victim)


def test_natss_own_protocol_is_closed_to_everybody(system: EmbeddedSystem, victim: Device) -> None:
    [ports] = [json.loads(file.read_text()) for file in system.broker_folder.glob("*.ports")]
    host, _, port = ports["nats"][0].removeprefix("nats://").partition(":")
    for who in ("", ',"user":"keeper","pass":"x"', ',"user":"device","pass":""', ',"user":"controller"'):
        with socket.create_connection((host, int(port)), PATIENCE_S) as stream:
            stream.sendall(b'CONNECT {"verbose":false%s}\r\nPING\r\n' % who.encode())
            said = read_all(stream)
        assert b"Authorization Violation" in said
        assert b"PONG" not in said

    assert_undisturbed(victim)


def test_the_controllers_session_is_not_taken_over_by_its_name(
    system: EmbeddedSystem, victim: Device, attack: Attack
) -> None:
    log = system.processes.log("controller")
    losses = log.read_text().count("lost the broker")
    configured = system.stage.controller_config.read_text().partition('client_id = "')[2].partition('"')[0]
    for client_id in (configured, CONTROLLER):
        if system.is_tls:
            with pytest.raises(Refused):
                attack(client_id=client_id, is_clean=False)
        else:
            assert attack(client_id=client_id, is_clean=False).ask() == []

    assert_undisturbed(victim)
    assert log.read_text().count("lost the broker") == losses


@pytest.mark.parametrize("name", ["controller", "device", "keeper", CONTROLLER])
def test_no_name_without_its_secret_opens_anything(
    system: EmbeddedSystem, victim: Device, attack: Attack, name: str
) -> None:
    if system.is_tls and name != "keeper":  # a name counts for nothing beside a certificate
        attacker = attack(username=name)
        attacker.publish(Topic(victim.id, Kind.COMMAND).text(system.stage.prefix), WAKE)
        assert attacker.subscribe(f"{system.stage.prefix}/+/up/#") == NO
    else:
        with pytest.raises(Refused, match="Not authorized"):
            attack(username=name)

    assert_undisturbed(victim)


def test_who_sends_too_large_a_message_is_disconnected(
    system: EmbeddedSystem, victim: Device, attack: Attack, evil: str
) -> None:
    topic = Topic(evil, Kind.INVENTORY).text(system.stage.prefix)
    attacker = attack()
    before = system.refusals().get("not-json", 0)

    assert attacker.publish(topic, b"x" * PAYLOAD_MAX) == "Success"
    assert attacker.publish(topic, b"x" * (Limits().packet_bytes + 1)).startswith("closed")

    attack().ask()
    assert system.refusals()["not-json"] == before + 1
    assert_undisturbed(victim)


def test_a_connection_has_so_many_subscriptions_and_no_more(
    system: EmbeddedSystem, victim: Device, attack: Attack, evil: str
) -> None:
    attacker = attack()

    answers = [attacker.subscribe(f"{system.stage.prefix}/{evil}/down/{n}") for n in range(2 * SUBSCRIPTIONS_MAX)]

    assert 1 <= answers.count(YES) <= SUBSCRIPTIONS_MAX
    assert answers[-1] == NO
    assert_undisturbed(victim)


def test_who_floods_a_controller_that_stands_still_is_disconnected_and_nobody_elses_messages_are_lost(
    system: EmbeddedSystem, victim: Device, evil: str, release: str
) -> None:
    """The embedded broker dies with its controller; so this one is stopped, as a full disk would do."""
    system.release(release, "press")
    deployment_id = system.deploy(release, victim.id)
    victim.woken()
    victim.check_in()
    stream, before = open_stream(system.port, system.credentials_of(evil), evil), system.refused_or_throttled()
    flood = publishing(Topic(evil, Kind.LOG).text(system.stage.prefix), b"{}") * 100
    controller = psutil.Process(system.processes.pid("controller"))
    controller.suspend()
    try:
        victim.send_report(deployment_id, 1, DeviceStatus.DOWNLOADING)
        assert is_ended_by(stream, flood, TOPIC_MAX)
        victim.send_report(deployment_id, 2, DeviceStatus.SUCCESS)
    finally:
        controller.resume()
        stream.close()

    wait_until(system.api.is_ready, PATIENCE_S, "the controller to be awake")
    wait_until(lambda: system.part(deployment_id, victim.id)["status"] == "success", PATIENCE_S, "the outcome")
    victim.acknowledged(deployment_id, 2)  # the store knows before the device is told
    assert victim.connections == 1
    assert_undisturbed(victim)
    assert TOPIC_MAX <= system.refused_or_throttled() - before < 1.2 * TOPIC_MAX


def test_a_device_that_takes_nothing_does_not_end_the_controllers_connection(
    system: EmbeddedSystem, victim: Device, evil: str
) -> None:
    """What the controller leaves for it stays below the limit of a topic, and goes after a while."""
    log = system.processes.log("controller")
    losses = log.read_text().count("lost the broker")
    assert max(budget.per_s * WAIT_S + budget.burst for budget in BUDGETS.values()) < TOPIC_MAX
    with system.device(evil) as deaf:
        deaf.check_in()
        deaf.stop_acknowledging()
        for _ in range(200):
            deaf.send_check_in()
        assert_undisturbed(victim)

    assert_undisturbed(victim)
    assert log.read_text().count("lost the broker") == losses


def test_what_a_retired_authority_signed_is_not_let_in_and_the_controllers_own_is_made_anew(tmp_path: Path) -> None:
    """Whoever has stolen its key shows its certificate beside the one that he made: both are below the root."""
    with EmbeddedSystem(tmp_path / "system", tls=True) as system:
        pki = tmp_path / "system" / "controller" / "pki"
        thief, former = Authority.with_keys_of(pki, tmp_path / "stolen"), (pki / "issuing.pem").read_bytes()
        forged = {name: thief.issue(name) for name in ("press-07", CONTROLLER)}
        for one in forged.values():
            assert one.certificate
            one.certificate.write_bytes(one.certificate.read_bytes() + former)

        def knock(name: str) -> None:
            with Attacker(system.port, forged[name], name, prefix=system.stage.prefix, version="3.1.1"):
                pass

        knock("press-07")
        issuer = system.api.call("GET", "/ca")["issuers"][0]["id"]
        system.api.call("POST", "/ca/rotate", json={})
        system.api.call("POST", "/ca/retire", json={"issuer": issuer})

        for name in forged:
            with pytest.raises(Refused):
                knock(name)
        files = [pki / "broker.pem", pki / "controller.pem"]
        wait_until(lambda: all(former not in f.read_bytes() for f in files), PATIENCE_S, "certificates of the new one")
        wait_until(lambda: system.api.call("GET", "/status")["broker"]["connected"], PATIENCE_S, "the controller")
        fresh = Authority.with_keys_of(pki, tmp_path / "fresh").issue("press-08")
        with Attacker(system.port, fresh, "press-08", prefix=system.stage.prefix, version="3.1.1"):
            pass


# ---- by TLS ------------------------------------------------------------------------------------------------------


@pytest.fixture
def tls_victim(tls_system: EmbeddedSystem) -> Iterator[Device]:
    """An accepted device that is connected by TLS."""
    with tls_system.device(new_id("victim")) as device:
        device.patience_s = PATIENCE_S
        device.check_in()
        yield device


def attacker_of(system: EmbeddedSystem, name: str, credentials: Credentials, client_id: str | None = None) -> Attacker:
    prefix = system.stage.prefix
    return Attacker(system.port, credentials, name, prefix=prefix, version="3.1.1", client_id=client_id)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind.is_up])
def test_with_tls_a_device_speaks_for_itself_alone(tls_system: EmbeddedSystem, tls_victim: Device, kind: Kind) -> None:
    system, evil = tls_system, new_id("evil")
    accept(system, evil)
    known, refused = system.api.devices()[tls_victim.id], system.refusals()
    with attacker_of(system, evil, system.credentials(evil)) as attacker:
        attacker.publish(Topic(tls_victim.id, kind).text(system.stage.prefix), WAKE)
        attacker.subscribe(f"{system.stage.prefix}/{tls_victim.id}/down/#")
        assert attacker.subscribe(f"{system.stage.prefix}/+/down/#") == NO

        assert_undisturbed(tls_victim)
        assert attacker.ask() == []
    assert system.refusals() == refused
    seen = {"last_seen_at", "last_check_in_at"}
    after = system.api.devices()[tls_victim.id]
    assert {k: v for k, v in after.items() if k not in seen} == {k: v for k, v in known.items() if k not in seen}


@pytest.mark.parametrize("client_id", ["{victim}", CONTROLLER, "another", ""])
def test_with_tls_a_client_id_that_is_not_its_own_keeps_a_device_out(
    tls_system: EmbeddedSystem, tls_victim: Device, client_id: str
) -> None:
    evil = new_id("evil")
    attacker = attacker_of(tls_system, evil, tls_system.credentials(evil), client_id.format(victim=tls_victim.id))
    with pytest.raises(Refused), attacker:
        pass

    assert_undisturbed(tls_victim)


@pytest.mark.parametrize(
    "what",
    [
        "expired",
        "of another authority",
        "of a server",
        "none",
        "without a device id",
        "with two names",
        "with the number of one that was recorded",
    ],
)
def test_with_tls_a_bad_certificate_does_not_let_in(
    tls_system: EmbeddedSystem, tls_victim: Device, tmp_path: Path, what: str
) -> None:
    ours, evil = tls_system.authority, new_id("evil")
    foreign = Authority(tmp_path / "other").issue(evil)
    name = "press 07" if what == "without a device id" else evil
    recorded = Credentials(ours.file, ours.file.with_name("controller.pem")).loaded.serial_number
    shown = {
        "expired": lambda: ours.issue(evil, valid_for=timedelta(seconds=-1)),
        "of another authority": lambda: Credentials(ours.file, foreign.certificate, foreign.key),
        "of a server": lambda: ours.issue(evil, is_server=True),
        "none": lambda: Credentials(ours.file),
        "without a device id": lambda: ours.issue(name),
        "with two names": lambda: ours.issue(evil, also_named=tls_victim.id),
        "with the number of one that was recorded": lambda: ours.issue(evil, serial=recorded),
    }[what]()
    with pytest.raises(Refused), attacker_of(tls_system, name, shown):
        pass

    assert_undisturbed(tls_victim)
    with attacker_of(tls_system, evil, ours.issue(evil)) as attacker:
        assert attacker.ask() == [], "with the right certificate it is let in"


def test_with_tls_a_connection_ends_with_the_certificate(tls_system: EmbeddedSystem, tls_victim: Device) -> None:
    evil = new_id("evil")
    shown = tls_system.authority.issue(evil, valid_for=timedelta(seconds=20))  # to connect and ask in
    with attacker_of(tls_system, evil, shown) as attacker:
        assert attacker.ask() == []
        assert attacker.closed.wait(PATIENCE_S)

    with pytest.raises(Refused), attacker_of(tls_system, evil, shown):
        pass
    assert_undisturbed(tls_victim)


@pytest.mark.parametrize("name", ["press.07", "a..b", "x-._:@", ".hidden", "9"])
def test_with_tls_every_device_id_that_is_allowed_has_its_topics_and_no_others(
    tls_system: EmbeddedSystem, tls_victim: Device, name: str
) -> None:
    with tls_system.device(name) as device:
        device.patience_s = PATIENCE_S
        assert device.check_in().why

        device.send_raw(Topic(tls_victim.id, Kind.COMMAND).text(tls_system.stage.prefix), WAKE)
        device.check_in()
    assert_undisturbed(tls_victim)


def test_with_tls_who_does_not_speak_it_or_an_old_version_is_not_let_in(
    tls_system: EmbeddedSystem, tls_victim: Device
) -> None:
    own = tls_system.credentials(tls_victim.id)
    files = ["-CAfile", str(own.ca), "-cert", str(own.certificate), "-key", str(own.key)]
    for version, words in (("-tls1_1", "alert protocol version"), ("-tls1_2", "New, TLSv1.2")):
        address = ["-connect", f"127.0.0.1:{tls_system.port}", version, "-cipher", "ALL:@SECLEVEL=0"]
        done = subprocess.run(
            ["openssl", "s_client", *address, *files], input="", capture_output=True, text=True, timeout=30, check=False
        )
        assert words in done.stdout + done.stderr
    with socket.create_connection(("127.0.0.1", tls_system.port), PATIENCE_S) as plain:
        plain.sendall(b"\x10\x10\0\4MQTT\4\2\0\x3c\0\4evil")
        assert not plain.recv(100).startswith(b"\x20")

    assert_undisturbed(tls_victim)


def test_with_tls_devices_come_back_after_a_kill_of_the_broker(tls_system: EmbeddedSystem, tls_victim: Device) -> None:
    [broker] = [
        one for one in psutil.Process(tls_system.processes.pid("controller")).children() if "nats" in one.name()
    ]

    os.kill(broker.pid, signal.SIGKILL)

    wait_until(lambda: tls_victim.subscriptions > 1, PATIENCE_S, "the device to come back")
    wait_until(tls_system.api.is_ready, PATIENCE_S, "the controller to come back")
    assert tls_victim.check_in().why


def test_with_tls_a_packet_that_never_ends_and_one_that_is_announced_too_large_hold_up_nobody(
    tls_system: EmbeddedSystem, tls_victim: Device
) -> None:
    evil = new_id("evil")
    whole = publishing(Topic(evil, Kind.LOG).text(tls_system.stage.prefix), b"x" * PAYLOAD_MAX)
    with (
        open_stream(tls_system.port, tls_system.credentials(evil), evil) as slow,
        open_stream(tls_system.port, tls_system.credentials(f"{evil}-2"), f"{evil}-2") as large,
    ):
        slow.sendall(whole[:-1])
        large.settimeout(PATIENCE_S)
        large.sendall(b"\x32" + remaining(268_435_455) + b"x" * 1000)

        assert_undisturbed(tls_victim)
        assert is_ended(large)
    assert_undisturbed(tls_victim)
