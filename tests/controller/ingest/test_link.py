"""The controller's link, where a broker is not needed to show what it does."""

from __future__ import annotations

import socket
import ssl
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.support.authority import Authority
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_controller.config import BrokerSection
from wainwright_controller.hearing import Hearing
from wainwright_controller.ingest.link import Link


def test_another_certificate_is_taken_without_a_change_to_what_a_connection_may_be_made_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is renewed by one thread and shown by another: in the middle of a handshake that crashes the process."""
    authority = Authority(tmp_path)
    shown = authority.issue("wainwright-controller")
    section = BrokerSection(
        url="mqtts://127.0.0.1:1", ca=str(shown.ca), certificate=str(shown.certificate), key=str(shown.key)
    )
    link = Link(section, section.url, Hearing())
    former, changed = link._client._ssl_context, []
    load = ssl.SSLContext.load_cert_chain

    def noted(context: ssl.SSLContext, *files: Any) -> None:  # noqa: ANN401  as ssl takes them
        changed.append(context)
        load(context, *files)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", noted)
    authority.issue("wainwright-controller")

    link.take_certificate()

    assert changed == [link._client._ssl_context]
    assert former not in changed


def test_who_ends_while_a_connection_is_being_made_leaves_none_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is made by the library's thread, which ends between two steps."""
    begun, go_on = threading.Event(), threading.Event()
    made: list[socket.socket] = []
    connect = socket.create_connection

    def slow(*arguments: Any, **options: Any) -> socket.socket:  # noqa: ANN401  as socket takes them
        made.append(connect(*arguments, **options))
        begun.set()
        assert go_on.wait(PATIENCE_S)
        return made[0]

    monkeypatch.setattr(socket, "create_connection", slow)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        section = BrokerSection(url=f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
        link = Link(section, section.url, Hearing())
        link.start(lambda _: None)
        assert begun.wait(PATIENCE_S)
        stopper = threading.Thread(target=link.stop)
        stopper.start()
        wait_until(lambda: link._client._thread_terminate, what="the library's thread to be told to end")
        go_on.set()
        stopper.join(PATIENCE_S)

    assert not stopper.is_alive()
    assert made[0].fileno() == -1
