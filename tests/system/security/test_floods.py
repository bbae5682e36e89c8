"""Too much of everything, from a device with a valid certificate and from strangers: bounded, and others go on.

The limits are those that are printed, made small by the command's own options.
"""

from __future__ import annotations

import queue
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from tests.support.device import Device
from tests.support.wait import wait_until
from tests.system.security.attacker import PATIENCE_S, is_ended, is_ended_by, open_stream, publishing, remaining
from tests.system.security.conftest import Attack, assert_undisturbed
from tests.system.security.secured import SecureSystem
from wainwright_common.messages import PAYLOAD_MAX, Verdict
from wainwright_common.statuses import DeviceStatus
from wainwright_common.topics import Kind, Topic
from wainwright_controller.mosquitto import Limits

CONNECTIONS, QUEUE, QUEUE_MIB = 40, 3000, 8
PACKET_MAX = Limits().packet_bytes
MEMORY_MAX = 64 * 2**20  # bytes that the broker may grow by in any of these tests
ACKNOWLEDGED = b"\x40\2\0\1"  # the answer to a packet of `publishing`


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecureSystem]:
    """A system whose broker has small limits."""
    options = ["--connections", str(CONNECTIONS), "--queue", str(QUEUE), "--queue-mib", str(QUEUE_MIB)]
    with SecureSystem(tmp_path_factory.mktemp("small"), *options) as running:
        yield running


@pytest.fixture(autouse=True)
def bounded(system: SecureSystem) -> Iterator[None]:
    """After each test the broker has not grown by more than MEMORY_MAX."""
    assert system.broker.process is not None
    broker = psutil.Process(system.broker.process.pid)
    before = broker.memory_info().rss
    yield
    assert broker.memory_info().rss - before < MEMORY_MAX


@pytest.fixture
def stream(system: SecureSystem, evil: str) -> Iterator[socket.socket]:
    """A connection of the device `evil`, to send any bytes on."""
    with open_stream(system.port, system.credentials(evil), evil) as opened:
        opened.settimeout(PATIENCE_S)
        yield opened


def own_topic(system: SecureSystem, evil: str, kind: Kind = Kind.LOG) -> str:
    return Topic(evil, kind).text(system.stage.prefix)


# ---- one message ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [PACKET_MAX + 1, 10_000_000, 268_435_455])
def test_who_announces_too_large_a_packet_is_disconnected_before_he_has_sent_it(
    victim: Device, stream: socket.socket, length: int
) -> None:
    stream.sendall(b"\x32" + remaining(length))

    assert is_ended(stream)
    assert_undisturbed(victim)


def test_a_payload_over_the_limit_of_the_protocol_is_refused_and_one_at_the_limit_is_read(
    system: SecureSystem, victim: Device, attack: Attack, evil: str
) -> None:
    before = system.refusals()
    attacker = attack()
    topic = own_topic(system, evil, Kind.INVENTORY)

    assert attacker.publish(topic, b"x" * PAYLOAD_MAX) == "Success"
    assert attacker.publish(topic, b"x" * (PAYLOAD_MAX + 1)) == "Success"

    attacker.ask()
    after = system.refusals()
    assert after["not-json"] == before.get("not-json", 0) + 1
    assert after["too-large"] == before.get("too-large", 0) + 1
    assert_undisturbed(victim)


def test_a_packet_that_never_ends_holds_up_nobody(
    system: SecureSystem, victim: Device, stream: socket.socket, evil: str
) -> None:
    """Slow retrieval the other way round: a part of the largest packet, then nothing."""
    whole = publishing(own_topic(system, evil), b"x" * PAYLOAD_MAX)
    stream.sendall(whole[: len(whole) // 2])
    assert_undisturbed(victim)

    for byte in whole[len(whole) // 2 :][:10]:
        stream.sendall(bytes([byte]))
        assert_undisturbed(victim)


def test_qos_2_is_not_to_be_had(system: SecureSystem, victim: Device, attack: Attack, evil: str) -> None:
    assert attack().publish(own_topic(system, evil), qos=2) == "closed: QoS not supported"
    assert_undisturbed(victim)


# ---- many messages ----------------------------------------------------------------------------------------------


def test_who_sends_and_does_not_read_the_answers_is_disconnected(victim: Device, stream: socket.socket) -> None:
    """On a topic that is refused, so that the broker alone is flooded; each message has an answer."""
    assert is_ended_by(stream, publishing("anything", b"") * 4000, 2000), "it took 8,000,000; some 500,000 are usual"

    assert_undisturbed(victim)


def test_a_queue_grows_to_its_limit_and_an_outcome_that_is_dropped_there_arrives_all_the_same(
    system: SecureSystem, victim: Device, stream: socket.socket, evil: str, release: str
) -> None:
    system.release(release, "press")
    deployment_id = system.deploy(release, victim.id)
    victim.check_in()
    victim.report(deployment_id, 1, DeviceStatus.DOWNLOADING)
    system.kill_controller()

    stream.sendall(publishing(own_topic(system, evil), b"{}") * (2 * QUEUE))
    answers = 0
    while answers < 2 * QUEUE * len(ACKNOWLEDGED):
        answers += len(stream.recv(65_536))
    victim.patience_s = 1
    with pytest.raises(queue.Empty):  # as an agent does until it is acknowledged; this one is dropped
        victim.report(deployment_id, 2, DeviceStatus.SUCCESS)
    system.start_controller()

    def read() -> int:
        return system.metric("throttled_total", kind="log") + system.metric("refused_total", reason="invalid")

    # What the controller had taken and not acknowledged when it was killed has a place of the queue, too.
    wait_until(lambda: read() >= QUEUE - 2, PATIENCE_S, "the queue to be read, in which there is room again then")
    victim.patience_s = PATIENCE_S
    assert victim.report(deployment_id, 2, DeviceStatus.SUCCESS).verdict is Verdict.ACCEPTED
    assert system.finished(deployment_id)["counts"] == {"success": 1}
    assert victim.connections == 1
    assert read() <= QUEUE


def test_a_queue_of_large_messages_grows_to_its_limit_in_bytes(
    system: SecureSystem, victim: Device, stream: socket.socket, evil: str
) -> None:
    system.kill_controller()
    for _ in range(150):  # 37 MiB, of which 8 may wait
        stream.sendall(publishing(own_topic(system, evil, Kind.INVENTORY), b"x" * PAYLOAD_MAX))
        assert stream.recv(len(ACKNOWLEDGED)) == ACKNOWLEDGED
    system.start_controller()

    def read() -> int:
        return system.metric("refused_total", reason="not-json")

    kept = QUEUE_MIB * 2**20 // PAYLOAD_MAX
    wait_until(lambda: read() >= kept, PATIENCE_S, "the queue to be read, in which there is room again then")
    assert_undisturbed(victim)
    assert read() == kept


def test_a_device_that_floods_the_controller_delays_the_others_and_stops_nobody(
    system: SecureSystem, victim: Device, stream: socket.socket, evil: str
) -> None:
    """The controller reads what is over a budget, and drops it; what others send waits in the queue for their turn."""
    # No more than the queue holds, whose end is another test's: what comes then is dropped, also of others.
    stream.sendall(publishing(own_topic(system, evil, Kind.CHECK_IN), b"{}") * (QUEUE - 100))

    assert_undisturbed(victim)


# ---- many connections -------------------------------------------------------------------------------------------


def test_strangers_who_take_all_connections_end_none_and_the_next_gets_the_first_that_is_free(
    system: SecureSystem, victim: Device, evil: str
) -> None:
    """Who is connected stays so. Who is not has to wait: a limit for each address is a firewall's matter."""
    with ExitStack() as opened:
        for _ in range(2 * CONNECTIONS):
            opened.enter_context(socket.create_connection(("127.0.0.1", system.port), PATIENCE_S))
        assert_undisturbed(victim)
        assert not is_let_in(system, evil)
        assert_undisturbed(victim)

    wait_until(lambda: is_let_in(system, evil), PATIENCE_S, "a connection to be free")
    assert_undisturbed(victim)


def test_many_handshakes_that_fail_take_no_connection_for_good(
    system: SecureSystem, victim: Device, attack: Attack
) -> None:
    context = ssl.create_default_context(cafile=str(system.authority.file))
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in which whoever has no certificate hears of it at once
    for _ in range(5 * CONNECTIONS):
        with (
            socket.create_connection(("127.0.0.1", system.port), PATIENCE_S) as stranger,
            pytest.raises(OSError, match=r"(?i)handshake.failure|reset"),
        ):
            context.wrap_socket(stranger, server_hostname="127.0.0.1")

    assert_undisturbed(victim)
    assert attack().ask() == []


def test_a_device_that_connects_again_and_again_holds_up_nobody(
    system: SecureSystem, victim: Device, evil: str
) -> None:
    for _ in range(3 * CONNECTIONS):
        open_stream(system.port, system.credentials(evil), evil).close()

    assert_undisturbed(victim)


def is_let_in(system: SecureSystem, name: str) -> bool:
    try:
        open_stream(system.port, system.credentials(name), name).close()
    except OSError:
        return False
    return True
