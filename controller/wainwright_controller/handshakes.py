"""Connections that have not finished their TLS handshake: how many there may be, and for how long.

The event loop tells of a connection when its handshake is done (http_server.py). Until then it takes a file and some
300 KiB, whoever it is; so these are counted, and given up, where they are taken.

1. There are as many as of connections, in all and for each address. The rest is closed at once: to answer takes TLS.
2. Each has `head_timeout_s`.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any, Self

from wainwright_controller.crowd import Crowd, key_of


class Vestibule(socket.socket):
    """A listening socket for TLS; make one with `over`. It belongs to one event loop."""

    crowd: Crowd

    @classmethod
    def over(cls, listener: socket.socket, crowd: Crowd) -> Self:
        """Return what takes the place of a listening socket, which is used up."""
        made = cls(listener.family, listener.type, listener.proto, fileno=listener.detach())
        made.crowd = crowd
        return made

    def accept(self) -> tuple[socket.socket, Any]:
        """Take a connection; raises ConnectionAbortedError after one for which there is no room."""
        taken, address = super().accept()
        if not self.crowd.arrive(address, key_of(address[0])):
            self.crowd.turned_away["too-many"] += 1
            taken.close()
            raise ConnectionAbortedError  # for the event loop: look at others, and come back
        guest = _Guest(taken.family, taken.type, taken.proto, fileno=taken.detach())
        guest.await_handshake(self.crowd, address)
        return guest, address


class _Guest(socket.socket):
    """A connection that is counted among those that arrive until its handshake is done, or it is closed."""

    _timer: asyncio.TimerHandle | None = None

    def await_handshake(self, crowd: Crowd, address: Any) -> None:  # noqa: ANN401  of any family
        self._crowd, self._address = crowd, address
        self._timer = asyncio.get_running_loop().call_later(crowd.limits.head_timeout_s, self._give_up)

    def close(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._crowd.settle(self._address)
        super().close()

    def _give_up(self) -> None:
        if self._crowd.is_arriving(self._address):
            self._crowd.turned_away["slow-head"] += 1
            with contextlib.suppress(OSError):  # it has just gone
                self.shutdown(socket.SHUT_RDWR)
