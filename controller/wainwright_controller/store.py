"""The store: one database, by URL; SQLite by default, PostgreSQL where one machine's disk is not enough.

Reads see one snapshot. Writes to SQLite take its write lock at BEGIN, so that what a transaction has read cannot change
before it writes, and take turns inside this process, because SQLite's own waiting polls. A commit is on the disk
when it returns (`synchronous=FULL`): device traffic is acknowledged on its strength.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlmodel import Session

from wainwright_common.errors import WainwrightError
from wainwright_controller import tables

BUSY_TIMEOUT_MS = (
    30_000  # how long another process may hold SQLite's write lock before we give up; a backup takes seconds
)
POOL_SIZE = 40  # connections kept; as many as the HTTP server has threads, and as many again may be open for a while
_TABLES = tables  # importing the tables is what fills the metadata


class StoreError(WainwrightError):
    """The database cannot be opened, or refuses to work."""


class Store:
    """A database and the ways to use it; safe to share between threads."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.is_sqlite = make_url(url).get_backend_name() == "sqlite"
        try:
            self.engine: Engine = create_engine(url, pool_size=POOL_SIZE, max_overflow=POOL_SIZE)
        except ModuleNotFoundError as error:
            raise StoreError(
                f"The database of [store] url needs the Python package {error.name}, which is not installed:"
                f" pip install '{error.name}'."
            ) from error
        self._turn = threading.Lock()
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)

    def upgrade(self) -> None:
        """Bring the tables up to this version's; raises StoreError when the database cannot be used."""
        config = AlembicConfig()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        try:
            with self.write() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except OperationalError as error:
            place = make_url(self.url).render_as_string(hide_password=True)
            raise StoreError(f"Cannot use the database {place}: {error.orig}. Check [store] url.") from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one snapshot."""
        with self.engine.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection whose work is committed at the end, or undone by any exception."""
        if not self.is_sqlite:
            with self.engine.begin() as connection:
                yield connection
            return
        with (
            self._turn,
            self.engine.connect().execution_options(immediate=True) as connection,
            connection.begin(),
        ):
            yield connection

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Yield a SQLModel session for reading."""
        with Session(self.engine) as session:
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401  a DB-API connection has no type
    connection.isolation_level = None  # we say BEGIN ourselves: the driver's own comes too late for a snapshot
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    is_write = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")
