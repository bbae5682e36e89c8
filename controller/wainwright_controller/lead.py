"""Which of the controllers on one database does what only one should do: the clock.

On PostgreSQL an advisory lock of a session says it. Who has it keeps it, and proves at every turn that the session
lives. A controller that dies loses it at once, one that is cut off or stands still loses it after STALLED_MS, and
another takes over at its next turn. For a moment two may then believe to lead: what they do must bear that, as it must
bear to be repeated. A SQLite store has one controller, which leads.
"""

from __future__ import annotations

import logging

from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError

from wainwright_controller.store import OURS, STALLED_MS, Store

LOG = logging.getLogger(__name__)

_TRY = text("SELECT pg_try_advisory_lock(:ours, hashtext(:task))")
_PROVE = text("SELECT 1")
_BOUND = text(f"SET idle_session_timeout = {STALLED_MS}")


class Lead:
    """The lead in one task; for one thread."""

    def __init__(self, store: Store, task: str) -> None:
        self._store = store
        self._task = task
        self._connection: Connection | None = None
        self._is_ours = store.is_sqlite

    def is_ours(self) -> bool:
        """Take the lead if nobody has it, and say whether we have it; raises what the database raises."""
        if self._store.is_sqlite:
            return True
        try:
            if self._connection is None:
                self._connection = self._connect()
            if self._is_ours:
                self._connection.execute(_PROVE)
            elif self._connection.execute(_TRY, {"ours": OURS, "task": self._task}).scalar_one():
                self._is_ours = True
                LOG.info("this controller now leads in: %s", self._task)
        except SQLAlchemyError:
            self.give_up()
            raise
        return self._is_ours

    def give_up(self) -> None:
        """Leave the lead to another."""
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        self._is_ours = False
        connection.invalidate()  # closes it, and the session with its lock, whatever state it is in
        connection.close()

    def _connect(self) -> Connection:
        connection = self._store.engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        connection.execute(_BOUND)
        return connection
