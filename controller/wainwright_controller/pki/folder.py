"""The folder of the authority: which file is what, and how a file is written.

    ca.pem                      the root, then every issuing authority: what clients trust
    root.pem, root.key          the root; the key may be moved away (docs/enrolment.md)
    issuers/ID.pem, ID.key      each issuing authority, by its key's id; former ones still sign their revocation lists
    issuing.pem, issuing.key    links to the one that signs now
    crl.pem                     the revocation lists of all issuing authorities
    broker.pem, broker.key      the broker's certificate with its chain, and its key
    server.pem, server.key      the same of the controller's HTTPS
    controller.pem, controller.key   what the controller shows to the broker

A file is replaced whole, by a rename: a broker that reads it in between finds the old or the new one.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wainwright_common.errors import WainwrightError

FOLDER_MODE = 0o750  # the broker's user may be given the group, to read its own key
FOR_OTHERS = stat.S_IWGRP | stat.S_IWOTH
SECRET_MODE = 0o600
GROUP_MODE = 0o640
PUBLIC_MODE = 0o644


class PkiError(WainwrightError):
    """A file of the authority is missing, damaged or cannot be written."""


class Folder:
    """The files of one authority."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.ca = path / "ca.pem"
        self.root, self.root_key = path / "root.pem", path / "root.key"
        self.issuing, self.issuing_key = path / "issuing.pem", path / "issuing.key"
        self.issuers = path / "issuers"
        self.crl = path / "crl.pem"
        self.broker, self.broker_key = path / "broker.pem", path / "broker.key"
        self.server, self.server_key = path / "server.pem", path / "server.key"
        self.controller, self.controller_key = path / "controller.pem", path / "controller.key"

    def prepare(self) -> None:
        """Make the folder if it is not there; raises PkiError, also where others could put keys into it."""
        try:
            for folder in (self.path, self.issuers):
                folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
                found = folder.stat()
                if found.st_mode & FOR_OTHERS or found.st_uid not in {0, os.geteuid()}:
                    raise PkiError(
                        f"{folder} belongs to somebody else, or others may write to it, and whose key is in it may sign"
                        " for every device. See whether all in it is as it should be, and close it: chmod go-w, chown."
                    )
        except OSError as error:
            raise PkiError(f"Cannot make the authority's folder {self.path}: {error.strerror}.") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep others, also of other processes, from changing the files meanwhile."""
        self.prepare()
        try:
            descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, SECRET_MODE)
        except OSError as error:
            raise PkiError(f"Cannot write in the authority's folder {self.path}: {error.strerror}.") from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def read(self, path: Path) -> bytes:
        """Return a file's content; raises PkiError with what to do."""
        try:
            return path.read_bytes()
        except FileNotFoundError as error:
            raise PkiError(
                f"{path} is not there. `wainwright ca init` makes an authority; if there was one, restore {self.path}."
            ) from error
        except OSError as error:
            raise PkiError(f"Cannot read {path}: {error.strerror}.") from error

    def write(self, path: Path, content: bytes, mode: int) -> None:
        """Replace a file as a whole, on the disk when this returns; raises PkiError."""
        try:
            descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    os.fchmod(file.fileno(), mode)
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                os.replace(name, path)  # noqa: PTH105  the two are strings and paths
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            _sync(path.parent)
        except OSError as error:
            raise PkiError(f"Cannot write {path}: {error.strerror}.") from error

    def point(self, link: Path, target: Path) -> None:
        """Make `link` a link to a file of this folder, in place of what it was; raises PkiError."""
        aside = link.with_name(f".{link.name}.new")
        try:
            aside.unlink(missing_ok=True)
            aside.symlink_to(target.relative_to(self.path))
            aside.replace(link)
            _sync(self.path)
        except OSError as error:
            raise PkiError(f"Cannot write {link}: {error.strerror}.") from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
