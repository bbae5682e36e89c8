"""The embedded broker: a NATS server that speaks MQTT 3.1.1, from its own package on PyPI, as a child process.

It is what makes `wainwright serve` work where nothing but Python is installed. It keeps acknowledged messages through a
kill, delivers what a controller has not acknowledged again, and has no shared subscriptions: one controller only. For
more, and for TLS with a certificate for each device, run Mosquitto or a cluster; docs/decisions has the comparison.
"""

from __future__ import annotations

import ctypes
import logging
import shutil
import signal
import socket
import subprocess
import sysconfig
import threading
import time
from pathlib import Path

from wainwright_common.errors import WainwrightError

LOG = logging.getLogger(__name__)

PROGRAM = "nats-server"
START_TIMEOUT_S = 20.0  # on the slowest machine tried a start takes 0.3 s
PORT_TIMEOUT_S = 5.0  # for the broker of a controller that was killed to end, which takes it 0.1 s
STOP_TIMEOUT_S = 10.0
RESTART_PAUSE_S = 1.0
UNACKNOWLEDGED_MAX = 1000  # messages on their way to the controller; the same bound as ingest/link.py
PR_SET_PDEATHSIG = 1  # prctl(2)

CONFIG = """\
server_name: wainwright
listen: "127.0.0.1:-1"
jetstream {{ store_dir: "{store}" }}
mqtt {{
  host: "{host}"
  port: {port}
  max_ack_pending: {unacknowledged}
  ack_wait: "60s"
}}
max_payload: 1MB
"""


class BrokerError(WainwrightError):
    """The embedded broker cannot be started."""


def free_port(host: str) -> int:
    """Return a TCP port of `host` that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


class EmbeddedBroker:
    """A child process that is started again when it dies, and dies with this process."""

    def __init__(self, data_dir: Path, host: str, port: int) -> None:
        self._folder = data_dir / "broker"
        self._host = host
        self.port = port or free_port(host)
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._failed = ""
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)

    @property
    def url(self) -> str:
        """Where agents and the controller connect to."""
        return f"mqtt://{self._host}:{self.port}"

    def start(self) -> None:
        """Start the broker and wait until it takes connections; raises BrokerError."""
        program = shutil.which(PROGRAM, path=sysconfig.get_path("scripts")) or shutil.which(PROGRAM)
        if program is None:
            raise BrokerError(
                "The embedded broker is not installed: pip install 'wainwright[controller]',"
                " or set [broker] url to a broker of your own."
            )
        self._program = program
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        config = CONFIG.format(store=self._folder, host=self._host, port=self.port, unacknowledged=UNACKNOWLEDGED_MAX)
        file = self._folder / "nats.conf"
        file.touch(mode=0o600)
        file.write_text(config, encoding="utf-8")
        self._await_port()
        self._thread.start()
        if not self._ready.wait(START_TIMEOUT_S):
            self.stop()
            raise BrokerError(
                f"The embedded broker does not listen on {self._host}:{self.port}: {self._failed or 'no answer'}."
                f" Its log is {self._folder / 'nats.log'}."
            )

    def _await_port(self) -> None:
        """Wait until the port is free: the broker of a controller that was killed just now needs a moment to end.

        Whoever else listens there would be taken for our broker otherwise.
        """
        deadline = time.monotonic() + PORT_TIMEOUT_S
        while True:
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((self._host, self.port))
                except OSError as error:
                    if time.monotonic() > deadline:
                        raise BrokerError(
                            f"The embedded broker cannot listen on {self._host}:{self.port}: {error.strerror}."
                            " Is another broker running? Set [broker] port to another, or url to that one."
                        ) from error
                else:
                    return
            time.sleep(0.1)

    def stop(self) -> None:
        """End the broker."""
        self._stopping.set()
        if self._process is not None:
            self._process.terminate()
        self._thread.join(STOP_TIMEOUT_S + RESTART_PAUSE_S)

    def _run(self) -> None:
        """Keep the process running; the child is tied to this thread, which lives as long as the controller."""
        while not self._stopping.is_set():
            with (self._folder / "nats.log").open("ab") as log:
                self._process = subprocess.Popen(
                    [self._program, "-c", str(self._folder / "nats.conf")],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl+C is for the controller, which ends the broker last
                    preexec_fn=_die_with_parent,  # noqa: PLW1509  one prctl call, which touches no lock
                )
            self._wait_until_it_listens()
            code = self._process.wait()
            if not self._stopping.is_set():
                self._failed = f"it ended with status {code}"
                LOG.error("the embedded broker ended with status %d; starting it again", code)
                self._stopping.wait(RESTART_PAUSE_S)
        self._end()

    def _wait_until_it_listens(self) -> None:
        assert self._process is not None  # noqa: S101  for the type checker: set by the only caller
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None and not self._stopping.is_set():
            with socket.socket() as probe:
                probe.settimeout(0.2)
                if probe.connect_ex((self._host, self.port)) == 0:
                    self._ready.set()
                    return
            time.sleep(0.02)

    def _end(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _die_with_parent() -> None:
    """Run in the child: have the kernel end it when the controller dies, even of SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
