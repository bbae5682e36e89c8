"""A real PostgreSQL on a free port of 127.0.0.1, in a folder of its own, that a test may kill and restart.

It syncs to the disk as a real one does. PostgreSQL refuses to run as root: a test that does is given the user
`postgres`, whom Debian's package makes.
"""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import Any, Self

from sqlalchemy import NullPool, create_engine, text
from sqlalchemy.exc import OperationalError

from tests.support.wait import free_port, wait_until
from wainwright_controller.demo.processes import tie_to

USER = "wainwright"
START_S = 60.0  # for what takes half a second, or after a kill two


class Postgresql:
    """A server; use it with `with`. `database` makes a new one on it."""

    def __init__(self) -> None:
        self.port = free_port()
        self._programs = _programs()
        self._numbers = itertools.count()
        self._process: subprocess.Popen[bytes] | None = None
        self._folder = Path()
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            account = pwd.getpwnam("postgres")
            self._as_user = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}

    def url(self, database: str) -> str:
        """Return the address of a database as a controller's configuration has it."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def database(self, template: str = "template1") -> str:
        """Make a database, a copy of `template` that nobody is connected to; returns its address."""
        name = f"test_{next(self._numbers)}"
        self._admin(f"CREATE DATABASE {name} TEMPLATE {template}")
        return self.url(name)

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        data, log = self._folder / "data", self._folder / "log"
        argv = [str(self._programs / "postgres"), "-D", str(data), "-p", str(self.port), "-k", "", "-h", "127.0.0.1"]
        with log.open("ab") as said:
            self._process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                cwd=self._folder,
                start_new_session=True,
                preexec_fn=tie_to(os.getpid()),  # noqa: PLW1509  two system calls, which touch no lock
                **self._as_user,
            )
        wait_until(self._answers, START_S, "PostgreSQL to answer")

    def stop(self) -> None:
        """End the server at once, with all its connections, as its service manager would."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End the server as a power cut would: SIGQUIT is its own word for that, and leaves no process behind."""
        self._end(signal.SIGQUIT)

    def _end(self, how: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(START_S)
            self._process = None

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text(encoding="utf-8")
        try:
            self._admin("SELECT 1")
        except OperationalError:
            return False
        return True

    def _admin(self, statement: str) -> None:
        url = self.url("postgres").replace("postgresql:", "postgresql+psycopg:")
        engine = create_engine(url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            connection.execute(text(statement))

    def __enter__(self) -> Self:
        self._folder = Path(tempfile.mkdtemp(prefix="wainwright-postgresql-"))
        if self._as_user:
            os.chown(self._folder, self._as_user["user"], self._as_user["group"])
        initdb = [str(self._programs / "initdb"), "-D", str(self._folder / "data"), "-U", USER, "-A", "trust"]
        quick = ["--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C.UTF-8"]
        subprocess.run([*initdb, *quick], check=True, capture_output=True, cwd=self._folder, **self._as_user)
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()  # it would first write for a minute what is thrown away now
        shutil.rmtree(self._folder)


def _programs() -> Path:
    """Return the folder of PostgreSQL's programs; Debian keeps one for each version, outside PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    if found:
        return found[-1].parent
    on_path = shutil.which("initdb")
    if on_path is None:
        raise AssertionError("PostgreSQL is not installed: run `make peers`")
    return Path(on_path).parent
