"""News between the controllers on one PostgreSQL: what one has committed, the bulletins of the others hear.

One thread with one connection listens, and tells the others that something changed, without saying what: many changes
in a row are told as one. Nothing depends on it. While the connection is lost nothing is told or heard, and live
listeners look into the store by their time limit, as they do anyway.
"""

from __future__ import annotations

import logging
import os
import select
import threading
from typing import Any

from wainwright_controller.bulletin import Bulletin
from wainwright_controller.store import Store, said

LOG = logging.getLogger(__name__)

CHANNEL = "wainwright_news"
RETRY_S = 2.0  # between attempts to connect
PROVE_EVERY_S = 10.0  # of silence, until the connection is asked whether it lives


class News:
    """See the module; does nothing for a SQLite store, which has one controller."""

    def __init__(self, store: Store, bulletin: Bulletin) -> None:
        self._store = store
        self._bulletin = bulletin
        self._stopping = threading.Event()
        self._to_tell = threading.Event()
        self._wake_read, self._wake_write = os.pipe()
        self._thread = threading.Thread(target=self._run, name="news", daemon=True)
        self.listening = threading.Event()

    def start(self) -> None:
        """Begin to listen and to tell."""
        if self._store.is_sqlite:
            return
        self._bulletin.on_post = self._tell
        self._thread.start()

    def stop(self) -> None:
        """Listen and tell no more."""
        self._bulletin.on_post = None
        self._stopping.set()
        if self._thread.is_alive():
            os.write(self._wake_write, b"x")
            self._thread.join()
        os.close(self._wake_read)
        os.close(self._wake_write)

    def _tell(self) -> None:
        if not self._to_tell.is_set():
            self._to_tell.set()
            os.write(self._wake_write, b"x")

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._listen()
            except Exception as error:  # noqa: BLE001  the driver's own errors come unwrapped here
                LOG.warning("no news from other controllers until the database is back: %s", said(error))
                self._stopping.wait(RETRY_S)

    def _listen(self) -> None:
        pooled = self._store.engine.raw_connection()
        connection: Any = pooled.driver_connection
        pooled.detach()
        try:
            connection.autocommit = True
            connection.add_notify_handler(self._heard(connection))
            connection.execute(f"LISTEN {CHANNEL}")
            self.listening.set()
            self._bulletin.hear()  # what was told while nobody listened here
            while not self._stopping.is_set():
                readable, _, _ = select.select([connection.fileno(), self._wake_read], [], [], PROVE_EVERY_S)
                if self._wake_read in readable:
                    os.read(self._wake_read, 4096)
                # Any statement takes in what has come as well; the driver then calls the handler.
                if self._to_tell.is_set():
                    self._to_tell.clear()
                    connection.execute(f"NOTIFY {CHANNEL}")
                else:
                    connection.execute("SELECT 1")
        finally:
            self.listening.clear()  # at once: whoever asks within RETRY_S must not be told that it listens
            connection.close()

    def _heard(self, connection: Any) -> Any:  # noqa: ANN401  the driver's types stay in one place
        own = connection.info.backend_pid

        def heard(notice: Any) -> None:  # noqa: ANN401  as above
            if notice.pid != own:
                self._bulletin.hear()

        return heard
