"""Random keys that the controllers of one store share: made by whichever needs one first, and kept in the store."""

from __future__ import annotations

import secrets

from sqlalchemy import insert, select
from sqlalchemy.exc import IntegrityError

from wainwright_controller.rows import SETTING
from wainwright_controller.store import Store

KEY_BYTES = 32  # RFC 2104 section 3: as long as the output of the hash that they are for, SHA-256


def ensure(store: Store, name: str) -> bytes:
    """Return the key of a name, which is made when there is none yet."""
    query = select(SETTING.c.value).where(SETTING.c.key == name)
    with store.read() as connection:
        value: str | None = connection.execute(query).scalar()
    if value is None:
        try:
            with store.write() as connection:
                connection.execute(insert(SETTING), {"key": name, "value": secrets.token_hex(KEY_BYTES)})
        except IntegrityError:
            pass  # another controller was faster; its key is the key
        with store.read() as connection:
            value = connection.execute(query).scalar_one()
    return bytes.fromhex(value)
