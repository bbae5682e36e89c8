"""A small web server for artifacts that can misbehave in the ways of real ones."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.support.wait import PATIENCE_S

PIECE = 64 * 1024  # bytes of one write


@dataclass
class Manners:
    """How the server behaves; a list is used up, one element for each request."""

    cut_at: list[int] = field(default_factory=list)
    """Close the connection after so many bytes of the body."""
    answers: list[int] = field(default_factory=list)
    """Answer with this status instead."""
    ranges: bool = True
    length: bool = True
    etags: list[str] = field(default_factory=list)
    wrong_range: bool = False
    wrong_length: int | None = None
    redirects: list[str] = field(default_factory=list)
    """Answer with a redirect to here instead."""
    redirect_length: int = 0
    """Promise a body so long, and never send it."""
    drip_s: float = 0.0
    """Send one byte, and wait so long, again and again."""
    bytes_per_second: int | None = None
    on_sent: Callable[[int], None] = field(default=lambda _: None, repr=False)
    """Told how many bytes the server has sent in all, after each piece."""
    gate: threading.Event | None = field(default=None, repr=False)
    """Wait for it after half of the body."""


class Web:
    """Serves `files` by path, on a free port of 127.0.0.1."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.manners = Manners()
        self.requests: list[dict[str, str]] = []
        self.sent = 0
        """Bytes of bodies, of all requests together; who has the last of them may be ahead of this figure."""
        web = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                web.requests.append(dict(self.headers))
                web.respond(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self.manners.gate is not None:
            self.manners.gate.set()
        self._server.shutdown()
        self._server.server_close()

    def respond(self, handler: BaseHTTPRequestHandler) -> None:
        manners, blob = self.manners, self.files.get(handler.path.partition("?")[0])
        if manners.bytes_per_second:  # so that little is on its way when a device is killed
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
        if manners.redirects:
            handler.send_response(302)
            handler.send_header("Location", manners.redirects.pop(0))
            handler.send_header("Content-Length", str(manners.redirect_length))
            handler.end_headers()
            return
        if manners.answers or blob is None:
            handler.send_error(manners.answers.pop(0) if manners.answers else 404)
            return
        start = _start(handler) if manners.ranges else 0
        body = blob[start:]
        handler.send_response(206 if start else 200)
        if start:
            shown = start + 1 if manners.wrong_range else start
            handler.send_header("Content-Range", f"bytes {shown}-{len(blob) - 1}/{len(blob)}")
        if manners.etags:
            handler.send_header("ETag", manners.etags.pop(0))
        if manners.length:
            handler.send_header("Content-Length", str(manners.wrong_length or len(body)))
        handler.send_header("Connection", "close")
        handler.end_headers()
        handler.close_connection = True
        self._send(handler, body, manners)

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes, manners: Manners) -> None:
        end = manners.cut_at.pop(0) if manners.cut_at else len(body)
        half = end // 2 if manners.gate is not None else 0
        try:
            self._write(handler, body[:half], manners)
            if manners.gate is not None:
                manners.gate.wait(PATIENCE_S)
            self._write(handler, body[half:end], manners)
        except OSError:
            pass  # the device has hung up, as some tests want it to

    def _write(self, handler: BaseHTTPRequestHandler, data: bytes, manners: Manners) -> None:
        piece = 1 if manners.drip_s else PIECE
        for at in range(0, len(data), piece):
            handler.wfile.write(data[at : at + piece])
            if manners is self.manners:  # else a test before began this, and it is not to be counted in this one
                self.sent += len(data[at : at + piece])
                manners.on_sent(self.sent)
            if manners.drip_s or manners.bytes_per_second:
                time.sleep(manners.drip_s or piece / (manners.bytes_per_second or 1))


def _start(handler: BaseHTTPRequestHandler) -> int:
    wanted = handler.headers.get("Range", "")
    return int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
