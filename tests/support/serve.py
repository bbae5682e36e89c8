"""A real `wainwright serve` process, and sockets on which a test says to it whatever it likes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import requests

from tests.support.wait import free_port, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

TOKEN = "sesame-open-thou-door"
PATIENCE_S = 90.0  # for what takes seconds on a machine that does nothing else
Json = dict[str, Any]


class Serve:
    """A controller in a process of its own; use it with `with`. Settings are as `http__head_timeout_s=1`."""

    def __init__(self, folder: Path, broker_url: str, **settings: object) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.log_file = folder / "serve.log"
        self.port = free_port()
        self.url = f"{'https' if settings.get('http__tls') else 'http'}://127.0.0.1:{self.port}"
        self.root = self.data_dir / "pki" / "root.pem"  # of its authority, if it has one
        self.settings: dict[str, object] = {
            "data_dir": self.data_dir,
            "http__port": self.port,
            "http__token": TOKEN,
            "broker__url": broker_url,
            "broker__client_id": f"serve-{self.port}",
            "broker__prefix": f"serve-{self.port}",
            **settings,
        }

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        program = str(Path(sys.executable).with_name("wainwright"))
        env = {f"WAINWRIGHT_CONTROLLER_{name.upper()}": _text(value) for name, value in self.settings.items()}
        config = self.folder / "controller.toml"
        config.touch()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                [program, "serve", "--config", str(config)],
                env=os.environ | env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                umask=0,  # what is closed to others must be so by the controller's own doing
            )
        try:
            wait_until(self._is_ready, PATIENCE_S, "the controller to be ready")
        except BaseException as error:
            error.add_note(self.log)
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _is_ready(self) -> bool:
        assert self.process.poll() is None, self.log
        try:
            return requests.get(f"{self.url}/readyz", timeout=5, verify=str(self.root)).ok
        except (requests.RequestException, OSError):  # the latter while there is no root
            return False

    @property
    def log(self) -> str:
        """What the process has said."""
        return self.log_file.read_text(encoding="utf-8", errors="surrogateescape") if self.log_file.exists() else ""

    # ---- as a client should ---------------------------------------------------------------------------------------

    def call(self, method: str, path: str, token: str = TOKEN, **options: Any) -> requests.Response:  # noqa: ANN401
        """Send a request below /api/v1, as requests takes them, with a token."""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        headers |= options.pop("headers", {})
        timeout = options.pop("timeout", PATIENCE_S)
        url = f"{self.url}/api/v1/{path}"
        return requests.request(method, url, headers=headers, timeout=timeout, verify=str(self.root), **options)

    def good(self, method: str, path: str, token: str = TOKEN, **options: Any) -> Json:  # noqa: ANN401  as above
        """Send a request that must be answered well; returns what came back."""
        answer = self.call(method, path, token, **options)
        assert answer.ok, answer.text
        value: Json = answer.json() if answer.content else {}
        return value

    def person(self, name: str, role: str) -> str:
        """Make a user; returns a token of his."""
        self.good("POST", "users", json={"name": name, "role": role})
        token: str = self.good("POST", "tokens", json={"user": name})["token"]
        return token

    def metric(self, name: str) -> int:
        """Return one of the metrics; 0 for one that has not been counted yet."""
        text = requests.get(f"{self.url}/metrics", timeout=PATIENCE_S, verify=str(self.root)).text
        lines = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        return int(lines.get(f"wainwright_{name}", 0))

    def turned_away(self, reason: str) -> int:
        """Return how many connections were refused or ended for a reason."""
        return self.metric(f'connections_turned_away_total{{reason="{reason}"}}')

    # ---- as an attacker may ---------------------------------------------------------------------------------------

    @contextmanager
    def socket(self, source: str = "127.0.0.1", *, receive_buffer: int = 0) -> Iterator[socket.socket]:
        """Yield a connection from an address of this machine; all of 127.0.0.0/8 is that."""
        with socket.socket() as connection:
            if receive_buffer:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            connection.settimeout(PATIENCE_S)
            connection.bind((source, 0))
            connection.connect(("127.0.0.1", self.port))
            yield connection

    def say(self, raw: bytes, source: str = "127.0.0.1") -> bytes:
        """Send bytes, and return all that is answered until the controller closes the connection."""
        with self.socket(source) as connection:
            connection.sendall(raw)
            return read_all(connection)


def head(method: str, target: str, *fields: str, token: str = TOKEN, close: bool = True) -> bytes:
    """Return the head of a request."""
    lines = [f"{method} {target} HTTP/1.1", "Host: 127.0.0.1", *fields]
    lines += [f"Authorization: Bearer {token}"] if token else []
    lines += ["Connection: close"] if close else []
    return "\r\n".join([*lines, "", ""]).encode()


def read_all(connection: socket.socket) -> bytes:
    """Return what comes until the peer closes, or resets, the connection; raises TimeoutError if it does neither."""
    said = b""
    try:
        while piece := connection.recv(65536):
            said += piece
    except ConnectionResetError:
        pass
    return said


def is_open(connection: socket.socket) -> bool:
    """Say whether the peer has neither closed nor reset a connection; takes nothing from it."""
    connection.settimeout(0)
    try:
        return bool(connection.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        connection.settimeout(PATIENCE_S)


def drip(connection: socket.socket, data: bytes, every_s: float) -> float:
    """Send a byte now and then until the peer has enough of it; returns how long that took, in seconds."""
    began = time.monotonic()
    for byte in data:
        try:
            connection.sendall(bytes([byte]))
        except OSError:
            break
        deadline = time.monotonic() + every_s
        while time.monotonic() < deadline:
            if not is_open(connection):
                return time.monotonic() - began
            time.sleep(0.01)
    return time.monotonic() - began


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
