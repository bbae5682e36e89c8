"""Nobody takes what all need: connections, requests, streams and uploads are bounded, for each and for all."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack

import psutil
import pytest

from tests.controller.api.served import artifact
from tests.support.mosquitto import Mosquitto
from tests.support.serve import PATIENCE_S, TOKEN, Serve, head, is_open, read_all
from tests.support.wait import wait_until
from wainwright_controller.api.uploads import OF_ONE_MAX, STALL_S
from wainwright_controller.crowd import STREAMS_EACH, UPLOADS_EACH

ALL, EACH = 40, 15
HEAD_S = 300  # what a test keeps open is not closed because the machine is slow
CROWDED = "127.0.0.2"  # an address that is nobody's proxy


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[Serve]:
    """A controller with room for few."""
    folder = tmp_path_factory.mktemp("serve")
    limits = {"http__connections_max": ALL, "http__connections_per_address_max": EACH, "http__head_timeout_s": HEAD_S}
    with Serve(folder, mosquitto.url, **limits) as running:
        yield running


def open_many(stack: ExitStack, controller: Serve, source: str, number: int) -> list[socket.socket]:
    """Open connections that begin a request and do not end it."""
    opened = [stack.enter_context(controller.socket(source)) for _ in range(number)]
    for connection in opened:
        connection.sendall(b"GET / HTTP/1.1\r\n")
    return opened


def is_refused(connection: socket.socket) -> bool:
    """Say whether a connection was answered that there are too many."""
    try:
        return connection.recv(4096, socket.MSG_PEEK).startswith(b"HTTP/1.1 429 ")
    except BlockingIOError:
        return False


def test_one_address_does_not_take_all_connections(controller: Serve) -> None:
    with ExitStack() as stack:
        kept = open_many(stack, controller, CROWDED, EACH)
        wait_until(lambda: controller.metric("connections") > EACH, what="the connections to be counted")
        answer = controller.say(head("GET", "/healthz"), CROWDED)
        assert answer.startswith(b"HTTP/1.1 503 ")
        assert b"\r\nretry-after: " in answer.lower()
        assert b'"code":"too-many-at-once"' in answer
        assert all(is_open(connection) for connection in kept)
        assert controller.say(head("GET", "/healthz"), "127.0.0.3").startswith(b"HTTP/1.1 200 ")
        assert controller.call("GET", "me").ok
    wait_until(lambda: controller.say(head("GET", "/healthz"), CROWDED).startswith(b"HTTP/1.1 200 "), what="room")


def test_all_together_do_not_take_more_than_there_are(controller: Serve) -> None:
    before = controller.turned_away("too-many")
    with ExitStack() as stack:
        for last in range(2, 6):
            open_many(stack, controller, f"127.0.0.{last}", EACH)
        said = controller.say(head("GET", "/healthz"), "127.0.0.9")
        assert said.startswith(b"HTTP/1.1 503 ")
    wait_until(lambda: controller.metric("connections") <= 2, what="the room to be free again")
    assert controller.turned_away("too-many") > before + 4 * EACH - ALL - 5


def test_requests_through_a_proxy_count_for_who_sent_them(controller: Serve) -> None:
    """Each waits for the rest of a body, which its sender keeps back."""

    def request(sender: str, length: int) -> bytes:
        fields = (f"X-Forwarded-For: {sender}", "Content-Type: application/json", f"Content-Length: {length}")
        return head("POST", "/api/v1/devices/accept", *fields)

    with ExitStack() as stack:
        for _ in range(EACH):
            stack.enter_context(controller.socket()).sendall(request("192.0.2.7", 100))
        wait_until(lambda: controller.metric("connections") > EACH, what="the connections to be counted")
        refused = wait_until(
            lambda: (said := controller.say(request("192.0.2.7", 2) + b"{}")).startswith(b"HTTP/1.1 429 ") and said,
            what="the refusal",
        )
        assert refused
        assert b'"code":"too-many-at-once"' in refused
        assert controller.say(request("192.0.2.8", 2) + b"{}").startswith(b"HTTP/1.1 200 ")


def test_who_is_no_proxy_cannot_say_that_he_is_somebody_else(controller: Serve) -> None:
    """An address that may be spoofed would be no limit, and no witness in the audit log."""
    forwarded = head("GET", "/api/v1/devices", "X-Forwarded-For: 192.0.2.66", token="wrong-token")
    assert controller.say(forwarded, "127.0.0.6").startswith(b"HTTP/1.1 401 ")
    entry = controller.good("GET", "audit", params={"limit": 1})["items"][0]
    assert (entry["verdict"], entry["address"]) == ("refused", "127.0.0.6")
    assert controller.say(forwarded).startswith(b"HTTP/1.1 401 ")
    entry = controller.good("GET", "audit", params={"limit": 1})["items"][0]
    assert entry["address"] == "192.0.2.66"


def test_one_person_does_not_take_all_streams_of_events(
    tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto
) -> None:
    with Serve(tmp_path_factory.mktemp("serve"), mosquitto.url) as controller, ExitStack() as stack:
        anna, otto = controller.person("anna", "viewer"), controller.person("otto", "viewer")
        for _ in range(STREAMS_EACH):
            stream = stack.enter_context(controller.socket())
            stream.sendall(head("GET", "/api/v1/events", token=anna))
            assert stream.recv(65536).startswith(b"HTTP/1.1 200 ")
        answer = controller.call("GET", "events", anna)
        assert (answer.status_code, answer.json()["code"]) == (429, "too-many-at-once")
        assert int(answer.headers["retry-after"]) > 0
        for token in (otto, TOKEN):
            with controller.call("GET", "events", token, stream=True) as answer:
                assert answer.status_code == 200
        stack.close()
        wait_until(lambda: controller.call("GET", "events", anna, stream=True).ok, PATIENCE_S, "room for another")


def test_slow_uploads_of_one_person_do_not_keep_others_from_theirs(
    tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto
) -> None:
    with Serve(tmp_path_factory.mktemp("serve"), mosquitto.url) as controller, ExitStack() as stack:
        anna, otto = controller.person("anna", "operator"), controller.person("otto", "operator")
        begun = [stack.enter_context(controller.socket()) for _ in range(UPLOADS_EACH + 1)]
        for connection in begun:
            connection.sendall(head("POST", "/api/v1/artifacts", "Content-Length: 1000000", token=anna) + b"x")
            connection.settimeout(0)
        wait_until(lambda: any(map(is_refused, begun)), PATIENCE_S, "one to be refused")
        folder = controller.data_dir / "artifacts"
        wait_until(lambda: len(list(folder.glob("*.part"))) == OF_ONE_MAX, PATIENCE_S, "the others to have their turn")
        # Before the slow ones are given up, which would make room.
        blob = artifact("others-1", payload=os.urandom(100_000))
        taken = controller.call("POST", "artifacts", otto, data=blob, timeout=STALL_S / 2)
        assert taken.status_code == 201
        assert sum(map(is_open, begun)) >= UPLOADS_EACH


def test_connections_that_never_begin_tls_are_as_few_and_do_not_stay(
    tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto
) -> None:
    """Each costs a file, and as much memory as one that is in use."""
    limits = {"http__connections_max": ALL, "http__connections_per_address_max": EACH, "http__head_timeout_s": 20}
    folder = tmp_path_factory.mktemp("serve")
    with Serve(folder, mosquitto.url, http__tls=True, **limits) as controller, ExitStack() as stack:
        files = psutil.Process(controller.process.pid)
        before = files.num_fds()
        silent = [stack.enter_context(controller.socket(CROWDED)) for _ in range(5 * EACH)]
        silent += [stack.enter_context(controller.socket("127.0.0.3")) for _ in range(EACH)]
        silent += [stack.enter_context(controller.socket("127.0.0.4")) for _ in range(EACH)]
        wait_until(lambda: sum(map(is_open, silent)) <= ALL, what="the others to be closed")
        assert sum(map(is_open, silent[: 5 * EACH])) <= EACH
        assert files.num_fds() < before + ALL + EACH
        wait_until(lambda: not any(map(is_open, silent)), what="all of them to be given up")
        assert controller.turned_away("too-many") >= 7 * EACH - ALL
        assert controller.turned_away("slow-head") > 0
        for _ in range(2 * ALL):  # nothing is counted for ever
            assert controller.call("GET", "me").ok


def test_who_is_refused_for_good_finds_room_again(controller: Serve) -> None:
    """Nothing of whoever came and went is counted for ever, however he went."""
    for raw in (b"", b"\x16\x03\x01\x02\x00", b"GET", head("GET", "/nowhere"), head("GET", "/api/v1/events")[:-4]):
        for _ in range(2 * EACH):
            with controller.socket(CROWDED) as connection:
                connection.sendall(raw)
    wait_until(lambda: controller.metric("connections") <= 2, what="all to be gone")
    with controller.socket(CROWDED) as connection:
        connection.sendall(head("GET", "/healthz"))
        assert read_all(connection).startswith(b"HTTP/1.1 200 ")
