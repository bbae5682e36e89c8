"""The technician's way in: a UNIX socket on the device, one request per connection.

A request is one line of JSON, `{"command": …, "data_dir": …, "options": {…}}`; the answer is one or more lines of JSON,
then the end of the connection. Who may ask is decided by the permissions of the socket's file: root, and the group
`wainwright` where there is one. `data_dir` keeps two agents of one machine apart. What changes
the installed software is for root and the agent's own user alone: the service sees who asks.

A slow, silent or hostile client occupies one of CLIENTS_MAX threads for a few seconds, and nothing else.
"""

from __future__ import annotations

import contextlib
import grp
import json
import logging
import os
import socket
import struct
import threading
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from queue import Empty
from typing import Any

from wainwright_agent.config import Config
from wainwright_agent.events import Answer, Asked, EventQueue
from wainwright_common.errors import WainwrightError

GROUP = "wainwright"
MODE = 0o660
REQUEST_MAX = 64 * 1024  # bytes; a request is a command and a few options
CLIENTS_MAX = 64  # at once, a thread of some 30 kB each; others wait in the backlog
BACKLOG = 1024  # connections that cost the agent nothing yet; the kernel allows 4096, or 128 if it is an old one
RETRY_FIRST_S, RETRY_MAX_S = 0.02, 0.5  # between two tries of a client to get into a backlog that is full
CLIENT_S = 5.0  # for a client to send its request, or to take a line of the answer; a busy device may stall it
ANSWER_S = 3600.0  # between two lines of an answer; whoever asks gives up before
ADDRESS_MAX = 107  # bytes; sun_path of sys/un.h, without its final zero

log = logging.getLogger(__name__)


class AgentUnreachable(WainwrightError):  # noqa: N818  the name is the sentence
    """No agent of this configuration answers; `is_forbidden` if one may be there that we may not ask."""

    def __init__(self, text: str, *, is_forbidden: bool = False) -> None:
        super().__init__(text)
        self.is_forbidden = is_forbidden


def candidates(config: Config) -> tuple[Path, Path]:
    """Return where the socket may be, the preferred place first."""
    return config.control_socket, config.data_dir / "agent.sock"


class Server:
    """Takes requests and puts them into the service's queue as `Asked`."""

    def __init__(self, config: Config, events: EventQueue) -> None:
        self._config = config
        self._events = events
        self._socket: socket.socket | None = None
        self._path: Path | None = None
        self._room = threading.BoundedSemaphore(CLIENTS_MAX)

    def start(self) -> None:
        """Listen at the first place that works; without any the agent works, but nobody can ask it."""
        for path in candidates(self._config):
            try:
                self._socket = _listen(path)
            except OSError as error:
                log.info("no control socket at %s: %s", path, error)
                continue
            self._path = path
            threading.Thread(target=self._accept, args=(self._socket,), name="control", daemon=True).start()
            return
        log.warning("no control socket: `wain` commands cannot reach this agent")

    def stop(self) -> None:
        """Stop listening and remove the socket."""
        if self._socket is not None and self._path is not None:
            self._path.unlink(missing_ok=True)
            self._socket.close()
            self._socket = None

    def _accept(self, listener: socket.socket) -> None:
        while True:
            self._room.acquire()
            try:
                client, _ = listener.accept()
            except OSError as error:
                if listener.fileno() < 0:
                    return  # `stop` closed it
                log.warning("control socket: %s", error)  # too many open files, for example
                self._room.release()
                time.sleep(CLIENT_S)
                continue
            threading.Thread(target=self._serve, args=(client,), name="control-client", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.closing(client):
            try:
                for line in self._answers(_read_line(client), is_owner=_is_owner(client)):
                    client.sendall(json.dumps(line).encode() + b"\n")
            except OSError as error:
                log.info("a client of the control socket was dropped: %s", error)
            finally:
                self._room.release()

    def _answers(self, line: bytes, *, is_owner: bool) -> Iterator[Answer]:
        try:
            request = json.loads(line)
            asked = Asked(str(request["command"]), dict(request.get("options", {})), is_owner)
            data_dir = request["data_dir"]
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            yield {"error": "bad-request", "text": "The request is not a JSON object with command and data_dir."}
            return
        if data_dir != str(self._config.data_dir):
            yield {"error": "other-agent", "text": f"This agent works in {self._config.data_dir}."}
            return
        self._events.put(asked)
        with contextlib.suppress(Empty):
            while (answer := asked.answers.get(timeout=ANSWER_S)) is not None:
                yield answer


def ask(config: Config, command: str, options: dict[str, Any] | None = None, *, line_s: float) -> Iterator[Answer]:
    """Return the lines of the agent's answer; raises AgentUnreachable, also when a line takes longer than `line_s`."""
    refusals: list[str] = []
    forbidden = False
    for path in candidates(config):
        try:
            client = _connect(path, line_s)
        except PermissionError:
            refusals.append(f"{path}: only root and members of the group {GROUP} may ask")
            forbidden = True
            continue
        except OSError as error:
            refusals.append(f"{path}: {error.strerror or error}")
            continue
        request = {"command": command, "data_dir": str(config.data_dir), "options": options or {}}
        lines = _exchange(client, path, json.dumps(request).encode() + b"\n", line_s)
        first = next(lines)
        if first.get("error") == "other-agent":
            lines.close()
            refusals.append(f"{path}: another agent. {first['text']}")
            continue
        yield first
        yield from lines
        return
    raise AgentUnreachable(f"The agent cannot be reached ({'; '.join(refusals)}).", is_forbidden=forbidden)


def _exchange(client: socket.socket, path: Path, request: bytes, line_s: float) -> Generator[Answer, None, None]:
    lines = 0
    with contextlib.closing(client):
        try:
            client.settimeout(line_s)
            client.sendall(request)
            with client.makefile("rb") as answers:
                for line in answers:
                    lines += 1
                    yield json.loads(line)
        except (OSError, ValueError) as error:
            raise AgentUnreachable(f"The agent at {path} stopped answering: {error}.") from error
    if not lines:
        raise AgentUnreachable(f"The agent at {path} ended before it answered.")


def _is_owner(client: socket.socket) -> bool:
    """Say whether a client is root or the agent's own user; unix(7), SO_PEERCRED."""
    _, user, _ = struct.unpack("3i", client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return user in {0, os.getuid()}


def _read_line(client: socket.socket) -> bytes:
    line = bytearray()
    deadline = time.monotonic() + CLIENT_S
    while not line.endswith(b"\n"):
        client.settimeout(max(0.001, deadline - time.monotonic()))
        piece = client.recv(REQUEST_MAX)
        line += piece
        if not piece or len(line) > REQUEST_MAX:
            break  # what there is will be refused as a bad request
    client.settimeout(CLIENT_S)
    return bytes(line)


def _listen(path: Path) -> socket.socket:
    """Return a socket listening at `path`; raises OSError, also when another agent listens there."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    with contextlib.suppress(FileNotFoundError, ConnectionRefusedError):
        _connect(path).close()
        raise FileExistsError("another agent listens there")
    if path.is_socket():
        path.unlink()  # of an agent that was killed
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with _address(path) as address:
            listener.bind(address)
        # Until `listen` nobody can connect, so that there is no moment with other permissions.
        with contextlib.suppress(KeyError, PermissionError):
            os.chown(path, -1, grp.getgrnam(GROUP).gr_gid)
        path.chmod(MODE)
        listener.listen(BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _connect(path: Path, wait_s: float = 0.0) -> socket.socket:
    """Return a connection; waits up to `wait_s` for room in the backlog, and raises BlockingIOError without any."""
    client = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    client.settimeout(CLIENT_S)
    deadline, pause_s = time.monotonic() + wait_s, RETRY_FIRST_S
    try:
        with _address(path) as address:
            while True:
                try:
                    client.connect(address)
                except BlockingIOError:  # unix(7): the backlog is full, and a socket with a time limit does not wait
                    if time.monotonic() >= deadline:
                        raise
                    time.sleep(pause_s)
                    pause_s = min(RETRY_MAX_S, 2 * pause_s)
                else:
                    return client
    except OSError:
        client.close()
        raise


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """Return an address for a socket file, whose path may be longer than an address can be."""
    if len(os.fsencode(path)) <= ADDRESS_MAX:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
