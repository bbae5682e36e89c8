"""The socket of `wainwright serve`."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.support.wait import free_port
from wainwright_controller.config import Config, Http
from wainwright_controller.serve import listen


def test_answers_do_not_wait_for_the_clients_acknowledgement(tmp_path: Path) -> None:
    config = Config(data_dir=tmp_path, http=Http(port=free_port()))
    with (
        listen(config) as listener,
        socket.create_connection(listener.getsockname()[:2]),
        listener.accept()[0] as taken,
    ):
        assert taken.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
