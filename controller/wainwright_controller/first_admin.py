"""The first admin: made when a controller that asks for tokens starts without anybody who could have one."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from wainwright_common.errors import WainwrightError
from wainwright_controller import audit
from wainwright_controller.people import Actor, Role, digest, new_token
from wainwright_controller.rows import TOKEN, USER
from wainwright_controller.store import Store

LOG = logging.getLogger(__name__)

FILE = "first-admin-token"  # in the data folder, for the controller's user alone
NAME = "admin"
_CONTROLLER = Actor("controller", Role.ADMIN)


def ensure(store: Store, data_dir: Path) -> Path | None:
    """Make the user `admin` with a token, if there is no user; returns the file that has the token, or None.

    The token goes to a file and not to standard error: what is written there ends in the system's journal, for all to
    read who may read that. The file is on the disk before the token is valid, so that no crash leaves a controller to
    which nobody has the key. Raises WainwrightError when the file cannot be written.
    """
    with store.read() as connection:
        if connection.execute(select(USER.c.name).limit(1)).first() is not None:
            return None
    path = data_dir / FILE
    token_id, text = new_token()
    _write(path, text)
    now = time.time()
    try:
        with store.write() as connection:
            made = {"created_at": now, "created_by": _CONTROLLER.name}
            connection.execute(insert(USER), made | {"name": NAME, "role": Role.ADMIN})
            connection.execute(insert(TOKEN), made | {"id": token_id, "user": NAME, "digest": digest(text)})
            after = {f"user {NAME}": {"role": Role.ADMIN}, f"token {token_id}": {"user": NAME}}
            audit.append(connection, now, audit.Attempt(_CONTROLLER, "first-admin"), ", ".join(after), after=after)
    except IntegrityError:  # another controller of this store was faster: its file has the token
        path.unlink()
        return None
    LOG.warning(
        "made the first admin: his token is in %s; use it with `wainwright --token-file`, make users of your own,"
        " then revoke it and remove the file",
        path,
    )
    return path


def _write(path: Path, text: str) -> None:
    try:
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        raise WainwrightError(f"Cannot write the first admin's token to {path}: {error.strerror}.") from error
