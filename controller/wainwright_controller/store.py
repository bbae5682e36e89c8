"""The store: one database, by URL; SQLite by default, PostgreSQL where several controllers share one.

1. Reads see one snapshot.
2. Writes are one after the other: what a transaction has read cannot change before it writes, and timeline lines become
   visible in the order of their numbers. On SQLite its own write lock does that; on PostgreSQL one advisory lock, which
   all controllers of a database take at the beginning of each write (docs/decisions/0008).
3. A commit is on the disk when it returns: device traffic is acknowledged on its strength.
4. Writers of one process take turns before they ask the database: SQLite's own waiting polls, and on PostgreSQL each
   waiting writer would hold a connection.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.util.exc import CommandError
from sqlalchemy import URL, Connection, Engine, create_engine, event, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    InternalError,
    NoSuchModuleError,
    OperationalError,
    SQLAlchemyError,
)
from sqlalchemy.exc import TimeoutError as PoolTimeout

from wainwright_common.errors import WainwrightError
from wainwright_controller import tables

BUSY_TIMEOUT_MS = (
    30_000  # how long another process may hold the write lock before we give up; a backup of SQLite takes seconds
)
SQLITE_POOL = 40  # connections kept; as many as the HTTP server has threads, and as many again may be open for a while
POSTGRESQL_POOL = 20  # connections at most: PostgreSQL takes 100 by default, so four controllers and some operators
STALLED_MS = 30_000  # a controller that does nothing in an open transaction for so long is cut off: it holds up others
# libpq's; a peer that went away without a word is noticed after 5 + 3 * 5 s, not after TCP's two hours.
_KEEPALIVE: Mapping[str, str | int] = {
    "connect_timeout": 10,
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,
}
_SERVER_SETTINGS = (
    f"-c lock_timeout={BUSY_TIMEOUT_MS} -c idle_in_transaction_session_timeout={STALLED_MS}"
    " -c tcp_keepalives_idle=5 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
    " -c synchronous_commit=on"
)
# Two numbers for each advisory lock: the first says that it is ours, the second which.
OURS = 0x57414E  # "WAN"; any number that other programs on the same database do not take
_WRITE_LOCK = 0
_TAKE_WRITE_LOCK = text(f"SELECT pg_advisory_xact_lock({OURS}, {_WRITE_LOCK})")
# SQLSTATE of what an administrator has to put right, and no message is to blame for: no rights, no such table.
_MISCONFIGURED = frozenset({"42501", "42P01"})
_TABLES = tables  # importing the tables is what fills the metadata


class StoreError(WainwrightError):
    """The database cannot be opened, or refuses to work."""


class Store:
    """A database and the ways to use it; safe to share between threads."""

    def __init__(self, url: str) -> None:
        self.url = parse_url(url)
        self.is_sqlite = self.url.get_backend_name() == "sqlite"
        try:
            # Errors go to the log with their statements, but not with what was written: keys are among it, and texts
            # of anybody.
            options = _sqlite() if self.is_sqlite else _postgresql()
            self.engine: Engine = create_engine(self.url, hide_parameters=True, **options)
        except (ModuleNotFoundError, NoSuchModuleError) as error:
            raise StoreError(
                f"The database {self.place} needs a driver that is not installed ({error}):"
                " pip install 'wainwright[postgresql]'."
            ) from error
        self._turn = threading.Lock()
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)
            event.listen(self.engine, "begin", _begin_sqlite)
            self._reading, self._writing = self.engine, self.engine.execution_options(immediate=True)
        else:
            event.listen(self.engine, "connect", _prepare_postgresql)
            self._reading = self.engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
            # Not a stricter level: its snapshot would be taken before the wait for the lock, and be old after it.
            self._writing = self.engine.execution_options(isolation_level="READ COMMITTED")

    @property
    def place(self) -> str:
        """The database's URL without its password, for people."""
        return self.url.render_as_string(hide_password=True)

    def upgrade(self) -> None:
        """Bring the tables up to this version's; raises StoreError when the database cannot be used."""
        config = AlembicConfig()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
        try:
            with self.write() as connection:
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
        except SQLAlchemyError as error:
            raise StoreError(f"Cannot use the database {self.place}: {said(error)}. Check [store] url.") from error
        except CommandError as error:
            text = (
                f"The database {self.place} was made by a newer version of Wainwright ({error}): install that version"
                " again, or restore the backup from before its installation."
            )
            raise StoreError(text) from error

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one snapshot."""
        with self._reading.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection whose work is committed at the end, or undone by any exception; one at a time."""
        with self._turn, self._writing.begin() as connection:
            if not self.is_sqlite:
                connection.execute(_TAKE_WRITE_LOCK)
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def parse_url(url: str) -> URL:
    """Return a database's URL with its driver; raises StoreError for what is neither SQLite nor PostgreSQL."""
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise StoreError(f"[store] url is not a URL: {error} Write postgresql://USER@HOST/DATABASE.") from error
    if parsed.drivername in {"postgresql", "postgres"}:
        return parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in {"sqlite", "postgresql+psycopg"}:
        raise StoreError(
            f"[store] url: {parsed.drivername} is not supported: write postgresql://USER@HOST/DATABASE,"
            " or leave it out for a SQLite file in data_dir."
        )
    return parsed


def is_refusal(error: Exception) -> bool:
    """Say whether the database is what failed (away, full, locked, read-only), so that trying again may help."""
    if isinstance(error, OperationalError | InterfaceError | InternalError | PoolTimeout):
        return True
    return isinstance(error, DBAPIError) and getattr(error.orig, "sqlstate", None) in _MISCONFIGURED


def said(error: Exception) -> str:
    """Return what the database said, on one line and without our statement."""
    words = str(error.orig) if isinstance(error, DBAPIError) else str(error)
    return " ".join(words.split()).rstrip(".")


def _sqlite() -> dict[str, Any]:
    return {"pool_size": SQLITE_POOL, "max_overflow": SQLITE_POOL}


def _postgresql() -> dict[str, Any]:
    return {
        "pool_size": POSTGRESQL_POOL,
        "max_overflow": 0,
        "pool_pre_ping": True,  # after a restart of the server all kept connections are dead
        "connect_args": {**_KEEPALIVE, "options": _SERVER_SETTINGS, "application_name": "wainwright"},
    }


def _prepare_postgresql(connection: Any, _record: object) -> None:  # noqa: ANN401  as below
    """Have texts with U+0000 stored with U+FFFD in its place: PostgreSQL refuses what SQLite takes.

    No message of a device has it (messages.py refuses it), but a search of an operator may.
    """
    from psycopg.types.string import StrDumperUnknown

    class Dumper(StrDumperUnknown):
        def dump(self, obj: str) -> Any:  # noqa: ANN401  bytes or a buffer, as the driver has it
            return super().dump(obj.replace("\0", "\ufffd") if "\0" in obj else obj)

    connection.adapters.register_dumper(str, Dumper)


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401  a DB-API connection has no type
    connection.isolation_level = None  # we say BEGIN ourselves: the driver's own comes too late for a snapshot
    cursor = connection.cursor()
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", f"busy_timeout={BUSY_TIMEOUT_MS}"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    is_write = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if is_write else "BEGIN")
