"""A man in the middle of downloads: a proxy between agents and a controller, who changes what a test tells him to."""

from __future__ import annotations

import http.client
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

from tests.support.loopback import Loopback

PIECE = 64 * 1024
_PASSED_ON = ("ETag", "Content-Range", "Content-Type")

Change = Callable[[bytes], bytes | Iterable[bytes]]
"""What is sent in place of a body: bytes, whose length is told; or pieces, for as long as they come."""


class Meddler(Loopback):
    """Use it with `with`; `url` is what the controller has to give as its public address."""

    def __init__(self) -> None:
        self.upstream = ""
        self.change: Change | None = None
        """What happens to the body of each answer; None for nothing."""
        self.paths: list[str] = []
        """What was asked for."""
        self.sent = 0
        """Bytes of bodies that went out."""
        super().__init__(type("Handler", (_Handler,), {"meddler": self}))

    @property
    def url(self) -> str:
        """Where agents find the controller, as they think."""
        return f"http://127.0.0.1:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    meddler: Meddler

    def do_GET(self) -> None:
        meddler = self.meddler
        meddler.paths.append(self.path)
        status, headers, body = self._fetch(meddler.upstream)
        changed = meddler.change(body) if meddler.change is not None and status < http.client.BAD_REQUEST else body
        self.send_response(status)
        for name in _PASSED_ON:
            if name in headers:
                self.send_header(name, headers[name])
        if isinstance(changed, bytes):
            self.send_header("Content-Length", str(len(changed)))
        self.end_headers()
        for piece in _pieces(changed):
            self.wfile.write(piece)
            meddler.sent += len(piece)

    def _fetch(self, upstream: str) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection(urlsplit(upstream).netloc, timeout=30)
        try:
            wanted = {name: self.headers[name] for name in ("Range", "If-Range") if name in self.headers}
            connection.request("GET", self.path, headers=wanted)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _pieces(body: bytes | Iterable[bytes]) -> Iterator[bytes]:
    if not isinstance(body, bytes):
        yield from body
        return
    for start in range(0, len(body), PIECE):
        yield body[start : start + PIECE]
