"""An EST server over HTTPS that answers a device what a test tells it to: somebody in the controller's place."""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from cryptography import x509

from tests.support.loopback import Loopback
from wainwright_controller.pki import Authority, Folder
from wainwright_controller.pki.csr import Csr, read
from wainwright_controller.pki.pkcs7 import certs_only

DAY = timedelta(days=1)

Sign = Callable[[Csr], x509.Certificate]


def authority(folder: Path, name: str = "Plant") -> Authority:
    """Make an authority."""
    return Authority.create(Folder(folder), name, datetime.now(UTC), 30 * DAY)


def signs(by: Authority, begins_in: timedelta = timedelta(), lifetime: timedelta = 90 * DAY) -> Sign:
    """Return what signs a request, as the controller does, but as if it were so much later."""
    return lambda csr: by.issue_client(csr.key, csr.device_id, datetime.now(UTC) + begins_in, lifetime)


class Impostor(Loopback):
    """Use it with `with`: it has a server's certificate of `shown`, and answers cacerts with `authorities`."""

    def __init__(
        self, shown: Authority, authorities: Sequence[x509.Certificate], sign: Sign, began: timedelta = timedelta()
    ) -> None:
        folder = shown.folder
        shown.issue_server(["localhost"], folder.server, folder.server_key, datetime.now(UTC) + began, 30 * DAY)
        self.authorities = authorities
        self.sign = sign
        self.clock = timedelta()
        """How far its clock is ahead."""
        self.heard: list[tuple[str, dict[str, str]]] = []
        """What it was asked: a method, and the headers."""
        super().__init__(type("Handler", (_Handler,), {"impostor": self}))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder.server, folder.server_key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True, do_handshake_on_connect=False)

    @property
    def url(self) -> str:
        """Where devices find it."""
        return f"https://localhost:{self.port}"


class _Handler(BaseHTTPRequestHandler):
    impostor: Impostor

    def do_HEAD(self) -> None:
        self._answer(b"")

    def do_GET(self) -> None:
        self._answer(certs_only(self.impostor.authorities))

    def do_POST(self) -> None:
        csr = read(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer(certs_only([self.impostor.sign(csr)]))

    def _answer(self, body: bytes) -> None:
        self.impostor.heard.append((self.command, dict(self.headers)))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def date_time_string(self, timestamp: float | None = None) -> str:
        now = datetime.now(UTC).timestamp() if timestamp is None else timestamp
        return super().date_time_string(int(now + self.impostor.clock.total_seconds()))

    def log_message(self, *_: object) -> None:
        """Say nothing."""
