"""The HTTP server's connections: how many there may be, and how long their peers may take.

1. A peer has `head_timeout_s` to send the head of a request: from its connection on, and from the answer before on.
2. A peer that owes a body, or does not take its answer, may keep the server waiting for `stall_timeout_s`, and a second
   more for each RATE_MIN bytes that it has sent or taken. Who takes nothing at all for that long is cut off, too.
3. There are as many connections as crowd.py has room for, in all and for each address. The rest is told 503, at once.
   With TLS this begins when the handshake is done; what comes before is handshakes.py's matter.
4. What is no HTTP is told 400 and disconnected, in whatever state the connection is, and without a line in the log.
   So is a head with lines that end, or go on, in a way that a proxy may read differently (request smuggling).

One implementation of HTTP (h11), whichever others are installed: what is tested is what runs. A head is bounded by h11
(HEAD_MAX) and, field by field, in api/envelope.py; a body by its route.
"""

from __future__ import annotations

import asyncio
import logging
import re
import resource
from collections.abc import Iterable
from http import HTTPStatus
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from wainwright_controller.api.envelope import HEADERS
from wainwright_controller.api.problems import HTTP_CODES, problem
from wainwright_controller.crowd import PROXIES, Crowd, key_of
from wainwright_controller.https import PEER, shown_by
from wainwright_controller.turnstile import RETRY_AFTER_S

LOG = logging.getLogger(__name__)

HEAD_MAX = 48 * 1024  # bytes of an unfinished head; above what envelope.py lets through, so that it can say what it is
RATE_MIN = 200  # bytes/s: a tenth of what GPRS gives; a download that is cut goes on where it was
LOOK_S = 1.0  # how often a connection is looked at, at most
FILES_EACH = 3  # of a connection: itself, the artifact that it fetches, and one more that is in its handshake
FILES_ELSE = 512  # of the store, the broker, uploads and all else
_LOOSE = re.compile(rb"(?<!\r)\n|\n[ \t]")  # RFC 9112 sections 2.2 and 5.2
GRACE_S = 5  # how long downloads may go on after the controller is told to stop; agents fetch the rest later


def config_of(app: ASGIApp, crowd: Crowd, **options: Any) -> uvicorn.Config:  # noqa: ANN401  as uvicorn takes them
    """Return the settings of a server for an application; `options` are uvicorn's own, for example of TLS."""
    return uvicorn.Config(
        app,
        http=_protocol(crowd),
        loop="asyncio",  # which takes connections as handshakes.py counts them
        ws="none",
        forwarded_allow_ips=list(PROXIES),
        server_header=False,
        log_config=None,  # its loggers write as all others do (log_lines.py)
        log_level="error",  # its warnings are one line for each peer that sends nonsense
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
        lifespan="off",
        **options,
    )


def make_room(connections_max: int) -> None:
    """Let this process open as many files as its connections may need; warns where it may not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = connections_max * FILES_EACH + FILES_ELSE
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    if allowed < wanted:
        LOG.warning(
            "this process may open %d files, and http.connections_max = %d connections may need %d: raise LimitNOFILE"
            " of its service, or lower the setting",
            *(allowed, connections_max, wanted),
        )


def _protocol(crowd: Crowd) -> type[H11Protocol]:
    """Return the class of connections that share a crowd: uvicorn makes them, and passes nothing of ours."""
    return type("Connection", (_Connection,), {"crowd": crowd})


class _Transport:
    """A transport that counts what is written; the rest is the real one's."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.written = 0

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401  whatever the real one has
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self._transport.write(data)

    def close(self) -> None:
        """Close it once: asyncio's transport of TLS can neither be asked nor aborted after a second time."""
        if not self._transport.is_closing():
            self._transport.close()

    @property
    def waiting(self) -> int:
        """How many bytes the peer has not taken yet, beyond what the kernel holds."""
        return self._transport.get_write_buffer_size()


class _Patience:
    """How long one side of a request has kept the server waiting, and when that is too long."""

    def __init__(self, stall_timeout_s: float) -> None:
        self._stall_timeout_s = stall_timeout_s
        self._waited_s = 0.0
        self._since_last_s = 0.0
        self._moved = 0

    def is_over(self, waited_s: float, moved: int) -> bool:
        """Add the time that was waited since the last call; `moved` are the bytes that came, or went, in all."""
        self._since_last_s = 0.0 if moved != self._moved else self._since_last_s + waited_s
        self._moved = moved
        self._waited_s += waited_s
        allowed_s = self._stall_timeout_s + moved / RATE_MIN
        return self._since_last_s > self._stall_timeout_s or self._waited_s > allowed_s


class _Strict(h11.Connection):
    """HTTP without what a server may take or refuse: a bare LF as the end of a line, and lines that go on."""

    def next_event(self) -> Any:  # noqa: ANN401  h11 has classes as values
        if self.their_state is h11.IDLE:
            begun, _, _ = self.trailing_data[0].partition(b"\r\n\r\n")
            if _LOOSE.search(begun):
                raise h11.RemoteProtocolError("a bare line feed, or a folded line, in the head of a request")
        return super().next_event()


class _Connection(H11Protocol):
    """See the module."""

    crowd: Crowd

    def __init__(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401  uvicorn's own
        super().__init__(*arguments, **options)
        self.conn = _Strict(h11.SERVER, HEAD_MAX)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._is_refused = False
        peer = transport.get_extra_info("peername")
        self.crowd.settle(peer)
        self._key = key_of(peer[0]) if isinstance(peer, tuple) else None
        self._timer: asyncio.TimerHandle | None = None
        self._counting = _Transport(transport)  # type: ignore[arg-type]  # a stream's, as uvicorn's own class has it
        if not self.crowd.connections.enter(self._key):
            self._is_refused = True
            self._turn_away("too-many", HTTPStatus.SERVICE_UNAVAILABLE, "Too many connections are open: try again.")
            return
        super().connection_made(self._counting)  # type: ignore[arg-type]  # what it has not, the real one has
        self.app_state = {**self.app_state, PEER: shown_by(transport)}  # of all requests of the connection
        self._begin_request()
        limits = self.crowd.limits
        self._interval_s = min(LOOK_S, limits.head_timeout_s / 4, limits.stall_timeout_s / 4)
        self._set_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._is_refused:
            return
        self.crowd.connections.leave(self._key)
        if self._timer is not None:
            self._timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._is_refused or self.transport.is_closing():
            return
        self._received += len(data)
        super().data_received(data)

    def shutdown(self) -> None:
        """End the connection when nothing is under way on it; closing TLS would wait for a peer that says nothing."""
        super().shutdown()
        if self._request() is None and not self._counting.waiting:
            self._counting.abort()

    def on_response_complete(self) -> None:
        self._begin_request()
        super().on_response_complete()

    def send_400_response(self, msg: str) -> None:
        """Tell a peer that it does not speak HTTP, as long as no other answer has begun."""
        request = self._request()
        if request is not None:
            request.disconnected = True
            request.message_event.set()
        if request is not None and request.response_started:
            self._cut("no-http")
        else:
            self._turn_away("no-http", HTTPStatus.BAD_REQUEST, msg)

    def _begin_request(self) -> None:
        self._idle_s = 0.0
        self._received = 0
        self._written_before = self._counting.written
        self._sending = _Patience(self.crowd.limits.stall_timeout_s)
        self._taking = _Patience(self.crowd.limits.stall_timeout_s)

    def _set_timer(self) -> None:
        self._looked_at = self.loop.time()
        self._timer = self.loop.call_later(self._interval_s, self._look)

    def _look(self) -> None:
        """End the connection if its peer takes too long; look again later if not."""
        # Not more than two intervals: while this process had no time to read, its peers are not to blame.
        passed_s = min(self.loop.time() - self._looked_at, 2 * self._interval_s)
        request = self._request()
        if request is None:
            self._idle_s += passed_s
            if self._idle_s > self.crowd.limits.head_timeout_s:
                self._turn_away("slow-head", HTTPStatus.REQUEST_TIMEOUT, "No request arrived in time.")
                return
        elif request.more_body and not self.flow.read_paused and self._sending.is_over(passed_s, self._received):
            self._cut("slow-body")
            return
        if self._counting.waiting:
            taken = self._counting.written - self._written_before - self._counting.waiting
            if self._taking.is_over(passed_s, taken):
                self._cut("slow-reader")
                return
        self._set_timer()

    def _request(self) -> RequestResponseCycle | None:
        """Return the request under way; None while the server waits for the next one."""
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first, which its type does not say
        return None if cycle is None or cycle.response_complete else cycle

    def _turn_away(self, reason: str, status: HTTPStatus, text: str) -> None:
        self.crowd.turned_away[reason] += 1
        self._counting.write(b"".join(_answer(status, text)))
        self._counting.close()

    def _cut(self, reason: str) -> None:
        self.crowd.turned_away[reason] += 1
        self._counting.abort()


def _answer(status: HTTPStatus, text: str) -> Iterable[bytes]:
    """Return the answer to what is not, or not yet, a request."""
    response = problem(status, HTTP_CODES[status], text, HEADERS | {"Connection": "close"})
    if status is HTTPStatus.SERVICE_UNAVAILABLE:
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    yield f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode()
    yield from (b"%b: %b\r\n" % field for field in response.raw_headers)
    yield b"\r\n%b" % bytes(response.body)
