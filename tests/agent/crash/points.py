"""The points of an agent at which something may happen to it: in front of every effect on the outside.

`install` wraps the functions of the operating system through which the agent, and the child that downloads, change
anything: names and contents below the device's disk, programs that are started. In front of each they ask the
conductor, and go on when it answers. The agent itself knows nothing of it.

    ask    "<pid> <what comes next>"                   answer    go | full | stop; none when this is the end
    ask    "<pid> synced <path>"                       answer    go

Whoever asks has opened `go` before. Once the question is heard its agent may be killed, and the next one gets a `go`
of its own: who opened only then would take the answer that is meant for that agent, which would wait for ever.

What lies after one effect lies before the next: nothing of the agent outlives a kill but what these functions did.
"""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from wainwright_agent import fetch, spare

ASK, GO = "ask", "go"
_REAL = {name: getattr(os, name) for name in ("open", "write", "fsync", "fdatasync")}
UNHEARD = ("logs",)
"""Folders of the data folder that decide nothing."""


class Points:
    """One agent's way to its conductor."""

    def __init__(self, lab: Path, disk: Path, *, tell_syncs: bool) -> None:
        self._lab = lab
        self._data = str(disk / "data")
        self._disk = str(disk)
        self._tell_syncs = tell_syncs
        self._one_at_a_time = threading.Lock()
        self.on_stop: Callable[[], None] = lambda: None
        self.parent: int | None = None
        """Of the child: when the agent has died its conductor has turned to the next one, and the child just ends."""

    def at(self, what: str) -> None:
        """Ask whether `what` may happen; raises OSError when the disk is full."""
        with self._one_at_a_time:
            answer = self._asked(what)
        if answer == "stop":
            self.on_stop()
        if answer == "full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def synced(self, path: str) -> None:
        """Tell that the medium has a file, or the names in a folder."""
        if self._tell_syncs and path.startswith(self._disk):
            with self._one_at_a_time:
                self._asked(f"synced {path}")

    def _asked(self, what: str) -> str:
        if self.parent not in {None, os.getppid()}:
            return "go"
        go = _REAL["open"](self._lab / GO, os.O_RDONLY)
        try:
            ask = _REAL["open"](self._lab / ASK, os.O_WRONLY)
            try:
                _REAL["write"](ask, f"{os.getpid()} {what}\n".encode())
            finally:
                os.close(ask)
            return os.read(go, 64).decode().strip()
        finally:
            os.close(go)

    def place(self, path: object, folder_fd: int | None = None) -> str | None:
        """Return a path below the data folder as points name it; None for one that is elsewhere or decides nothing."""
        if isinstance(path, int):
            name = _path_of(path)
        elif folder_fd is not None:
            name = f"{_path_of(folder_fd)}/{os.fspath(path)}"  # type: ignore[call-overload]
        else:
            name = os.path.abspath(os.fspath(path))  # type: ignore[call-overload]  # noqa: PTH100  not resolved
        if name == self._data:
            return "data"
        if not name.startswith(self._data + "/"):
            return None
        short: str = name[len(self._data) + 1 :].replace("modules/v3/payloads/0000/", "")
        return None if short.startswith(UNHEARD) else short


def _path_of(fd: int) -> str:
    return str(Path(f"/proc/self/fd/{fd}").readlink())


def install(points: Points) -> None:
    """Wrap the functions of this process, for good."""
    for name in ("replace", "rename", "link"):
        _wrap(points, name, lambda args, _kw: args[1])
    for name in ("unlink", "rmdir", "mkdir", "mkfifo", "write", "pwrite", "ftruncate", "truncate"):
        _wrap(points, name, lambda args, _kw: args[0])
    for name in ("fsync", "fdatasync"):
        _wrap_sync(points, name)
    _wrap_open(points)
    _wrap_programs(points)


def _wrap(points: Points, name: str, subject: Callable[[tuple[Any, ...], dict[str, Any]], object]) -> None:
    real = getattr(os, name)

    def asking(*args: Any, **kw: Any) -> Any:  # noqa: ANN401  as the function itself
        place = points.place(subject(args, kw), kw.get("dir_fd"))
        if place is not None:
            points.at(f"{name} {place}")
        return real(*args, **kw)

    setattr(os, name, asking)


def _wrap_sync(points: Points, name: str) -> None:
    real = _REAL[name]

    def asking(fd: int) -> None:
        place = points.place(fd)
        if place is not None:
            points.at(f"{name} {place}")
        real(fd)
        points.synced(_path_of(fd))

    setattr(os, name, asking)


def _wrap_open(points: Points) -> None:
    real = _REAL["open"]

    def asking(path: Any, flags: int, *args: Any, **kw: Any) -> Any:  # noqa: ANN401  as os.open
        if flags & os.O_CREAT and (place := points.place(path, kw.get("dir_fd"))) is not None:
            points.at(f"open {place}")
        return real(path, flags, *args, **kw)

    os.open = asking


def _wrap_programs(points: Points) -> None:
    class Popen(subprocess.Popen):  # type: ignore[type-arg]
        """Asks before a program is started, and when it is started but waits for its word to begin."""

        def __init__(self, args: Sequence[str], **kw: Any) -> None:  # noqa: ANN401  as Popen
            name = _name(args)
            points.at(f"start {name}")
            super().__init__(args, **kw)
            points.at(f"started {name}")

        def _execute_child(self, args: Any, *rest: Any) -> None:  # noqa: ANN401  as Popen
            if tuple(args) == spare.PROGRAM:
                self._fork_download(*rest)
            else:
                super()._execute_child(args, *rest)  # type: ignore[misc]

        def _fork_download(self, *rest: Any) -> None:  # noqa: ANN401  as Popen
            """Start the child as a fork of this process: the same program, without a third of a second of imports."""
            cwd = rest[4]
            p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite = rest[9:15]
            begun, begin = os.pipe()
            parent = os.getpid()
            self.pid = os.fork()
            if self.pid == 0:
                points.parent = parent
                _be_download(points, cwd, (p2cread, c2pwrite, errwrite))
            os.close(begin)
            os.read(begun, 1)  # until it has let go of what exec would have closed: the journal's lock, above all
            os.close(begun)
            self._child_created = True
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]

    subprocess.Popen = Popen  # type: ignore[misc, assignment]


def _be_download(points: Points, cwd: Path, fds: tuple[int, int, int]) -> NoReturn:
    status = 1
    try:
        points._one_at_a_time = threading.Lock()
        points.on_stop = lambda: None
        os.setsid()
        for target, fd in enumerate(fds):
            os.dup2(fd, target)
        os.closerange(3, 1024)
        os.chdir(cwd)
        sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115  fds
        status = fetch.main()
        sys.stdout.flush()
    finally:
        os._exit(status)


def _name(args: Sequence[str]) -> str:
    """Return what points call a program: the module's state, or the script."""
    if tuple(args) == spare.PROGRAM:
        return "download"
    return Path(args[-2] if "wainwright-gate" in args and "env" in args else args[-1]).name
