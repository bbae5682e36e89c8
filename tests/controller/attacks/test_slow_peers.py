"""Whoever is slow on purpose is disconnected, and nobody else waits for him; whoever is merely slow is served."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.controller.api.served import artifact
from tests.support.mosquitto import Mosquitto
from tests.support.serve import PATIENCE_S, Serve, drip, head, is_open, read_all
from tests.support.wait import wait_until

HEAD_S, STALL_S = 5.0, 8.0  # so long may whoever is not slow on purpose be kept waiting by a busy machine
MANY = 30
BIG = 6 * 2**20  # bytes: more than the kernel holds of an answer that nobody takes
SMALL_BUFFER = 4096


@pytest.fixture(scope="module")
def controller(tmp_path_factory: pytest.TempPathFactory, mosquitto: Mosquitto) -> Iterator[Serve]:
    """A controller that loses patience soon."""
    folder = tmp_path_factory.mktemp("serve")
    with Serve(folder, mosquitto.url, http__head_timeout_s=HEAD_S, http__stall_timeout_s=STALL_S) as running:
        yield running


@pytest.fixture(scope="module")
def big(controller: Serve) -> str:
    """The id of a large artifact."""
    blob = artifact("big-1", payload=os.urandom(BIG))  # no compression makes it smaller
    stored: str = controller.good("POST", "artifacts", data=blob)["id"]
    return stored


def test_who_says_nothing_and_who_drips_the_head_of_a_request_are_disconnected(controller: Serve) -> None:
    before = controller.turned_away("slow-head")
    with controller.socket() as silent, controller.socket() as dripping:
        took_s = drip(dripping, head("GET", "/healthz") * 100, 0.05)
        said = read_all(silent)
    assert took_s < 10 * HEAD_S
    assert said.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    assert b'"code":"request-timeout"' in said
    wait_until(lambda: controller.turned_away("slow-head") >= before + 2, what="the count")


def test_a_connection_that_had_an_answer_has_no_more_time_for_its_next_request(controller: Serve) -> None:
    with controller.socket() as connection:
        connection.sendall(head("GET", "/healthz", close=False))
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
        assert drip(connection, head("GET", "/healthz") * 100, 0.05) < 10 * HEAD_S


def test_others_are_answered_while_many_are_slow(controller: Serve) -> None:
    with ExitStack() as stack:
        opened = [stack.enter_context(controller.socket()) for _ in range(MANY)]
        for connection in opened:
            connection.sendall(b"GET / HTT")
        began = time.monotonic()
        assert controller.call("GET", "devices").ok
        assert time.monotonic() - began < PATIENCE_S / 2
        wait_until(lambda: not any(is_open(one) and not one.recv(1) for one in opened), what="all to be disconnected")
        wait_until(lambda: controller.metric("connections") <= 2, what="the room to be free again")


@pytest.mark.parametrize("path", ["devices/accept", "artifacts"])
def test_who_drips_a_body_is_disconnected(controller: Serve, path: str) -> None:
    before = controller.turned_away("slow-body")
    with controller.socket() as connection:
        connection.sendall(head("POST", f"/api/v1/{path}", "Content-Type: application/json", "Content-Length: 9999"))
        assert drip(connection, b"[" * 9999, 0.2) < 20 * STALL_S
    wait_until(lambda: controller.turned_away("slow-body") == before + 1, what="the count")
    wait_until(lambda: not list((controller.data_dir / "artifacts").glob("*.part")), what="nothing to be left")


def test_a_body_that_was_not_asked_for_is_not_waited_for(controller: Serve) -> None:
    """A stranger is refused before his body comes, and cannot go on sending it for ever."""
    with controller.socket() as connection:
        connection.sendall(head("POST", "/api/v1/devices/accept", "Content-Length: 9999", token="", close=False))
        assert connection.recv(65536).startswith(b"HTTP/1.1 401 ")
        assert drip(connection, b" " * 9999, 0.05) < 20 * HEAD_S


def test_who_does_not_take_a_download_is_disconnected(controller: Serve, big: str) -> None:
    before = controller.turned_away("slow-reader")
    with controller.socket(receive_buffer=SMALL_BUFFER) as connection:
        connection.sendall(head("GET", f"/api/v1/artifacts/{big}/file"))
        wait_until(lambda: controller.turned_away("slow-reader") > before, PATIENCE_S, "the disconnection")
        assert len(read_all(connection)) < BIG


def test_who_takes_a_download_in_drops_is_disconnected(controller: Serve, big: str) -> None:
    """Some bytes come and go all the time; too few of them."""
    before = controller.turned_away("slow-reader")
    with controller.socket(receive_buffer=SMALL_BUFFER) as connection:
        connection.sendall(head("GET", f"/api/v1/artifacts/{big}/file"))

        def is_cut() -> bool:
            connection.recv(1)
            return controller.turned_away("slow-reader") > before

        wait_until(is_cut, PATIENCE_S, "the disconnection")


def test_who_does_not_take_his_stream_of_events_is_disconnected(controller: Serve) -> None:
    before = controller.turned_away("slow-reader")
    with controller.socket(receive_buffer=SMALL_BUFFER) as connection:
        connection.sendall(head("GET", "/api/v1/events?after=0"))
        number = 0

        def is_cut() -> bool:
            nonlocal number
            number += 1
            ids = [f"{'x' * 100}-{number}-{one}" for one in range(1000)]
            controller.good("POST", "devices/preauthorize", json={"ids": ids})
            return controller.turned_away("slow-reader") > before

        wait_until(is_cut, PATIENCE_S, "the disconnection")


def test_an_upload_that_is_slow_but_goes_on_is_taken(controller: Serve) -> None:
    blob = artifact("slow-1")

    def pieces() -> Iterator[bytes]:
        step = len(blob) // 20 + 1
        for start in range(0, len(blob), step):
            yield blob[start : start + step]
            threading.Event().wait(STALL_S / 10)  # a slow line: three times as long as nothing at all may take

    assert len(blob) / 200 + STALL_S > 2 * STALL_S, "the test is about what is allowed"
    assert controller.call("POST", "artifacts", data=pieces()).status_code == 201


def test_a_download_that_is_slow_but_goes_on_comes_to_its_end(controller: Serve, big: str) -> None:
    """At its own pace, over several times what it may take without any progress."""
    began = time.monotonic()
    size = 0
    with controller.socket(receive_buffer=SMALL_BUFFER) as connection:
        connection.sendall(head("GET", f"/api/v1/artifacts/{big}/file"))
        while piece := connection.recv(BIG // 40):
            size += len(piece)
            threading.Event().wait(max(0.0, 3 * STALL_S * size / BIG - (time.monotonic() - began)))
    assert size > BIG * 0.9
    assert time.monotonic() - began > 2 * STALL_S
