"""`wainwright serve`: one controller with its HTTP server, until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import socket
import sys

import uvicorn

from wainwright_common.errors import WainwrightError
from wainwright_common.log_lines import LineFormatter
from wainwright_controller import http_server
from wainwright_controller.api.app import create_app
from wainwright_controller.config import Config
from wainwright_controller.controller import Controller
from wainwright_controller.handshakes import Vestibule

LOG = logging.getLogger(__name__)

BACKLOG = 2048  # connections that wait to be taken: a phase that opens has many devices download at once
# New objects, then collections of the younger generation; Python's own are 700, 10 and 10.
COLLECTOR_THRESHOLDS = (20_000, 20, 100)


def main(config: Config) -> int:
    """Serve until SIGINT or SIGTERM; returns the exit code."""
    log_to_stderr(config.log.level)
    calm_the_collector()
    os.umask(0o077)  # the store has the key of all links, and what the fleet is: for the controller's user alone
    http_server.make_room(config.http.connections_max)
    try:
        listener = listen(config)
        host, port = listener.getsockname()[:2]
        controller = Controller(config, config.http.public_url or f"{config.scheme}://{host}:{port}")
        controller.start()
    except WainwrightError as error:
        LOG.error("%s", error)  # noqa: TRY400  a sentence for the administrator, not a trace
        return 1
    LOG.info("serving %s://%s:%d, broker %s", config.scheme, host, port, controller.broker_url)
    try:
        Server(controller).run([listener])
    finally:
        controller.stop()
    return 0


def log_to_stderr(level: str) -> None:
    """Send the log to standard error, one event on one line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler])
    logging.getLogger("alembic").setLevel(logging.WARNING)


def calm_the_collector() -> None:
    """Have Python look for cyclic garbage less often: a batch makes thousands of objects, and hardly a cycle.

    Saves about a fifth of the CPU time of a message (benchmarks/README.md); what has cycles is freed a little later.
    """
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


class Server(uvicorn.Server):
    """The HTTP server of a controller: by HTTPS, where it has a certificate."""

    def __init__(self, controller: Controller) -> None:
        tls, context = controller.tls, controller.context
        options = {} if tls is None else {"ssl_context_factory": lambda _config, _default: tls.context}
        super().__init__(http_server.config_of(create_app(context), context.crowd, **options))
        self._tls, self._context = tls, context

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        if self._tls is not None:
            self._tls.belongs_to(asyncio.get_running_loop())
            sockets = [Vestibule.over(listener, self._context.crowd) for listener in sockets or []]
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await super().shutdown(sockets)
        if self._tls is not None:
            self._tls.belongs_to(None)

    def handle_exit(self, sig: int, frame: object) -> None:
        """Tell the live streams to end as soon as a signal comes, or they would hold the shutdown up."""
        self._context.closing.set()
        super().handle_exit(sig, frame)  # type: ignore[arg-type]  # a frame, which is not looked at here


def listen(config: Config) -> socket.socket:
    """Return the socket that takes connections; raises WainwrightError where that is not possible.

    Connections inherit its TCP_NODELAY, which asyncio sets only for sockets that name their protocol. Without it the
    body of an answer waits 40 ms for the client's acknowledgement of the head, on every connection but a new one.
    """
    family = socket.AF_INET6 if ":" in config.http.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    try:
        listener.bind((config.http.host, config.http.port))
    except OSError as error:
        listener.close()
        raise WainwrightError(
            f"Cannot listen on {config.http.host}:{config.http.port}: {error.strerror}."
            " Is another controller running? Choose another [http] port."
        ) from error
    listener.listen(BACKLOG)
    listener.set_inheritable(False)
    return listener
