"""Who a request comes from: finds the person behind a token, and slows down who guesses.

1. No token: the local admin, where the controller asks for none (config.py, `needs_token`); else refused.
2. A token of ours is found by its id and compared by its digest, each time in the store: what is revoked, by whichever
   controller, is refused from the next request on.
3. Anything else is compared with the token of the configuration, and counts as a wrong one if it is not that.
4. An address that sent FAILURES_BURST wrong ones must wait. While it waits, the configuration's token, which a person
   chose, is not even compared. Tokens of ours still pass: 256 random bits are not guessed, and nobody should be able to
   lock out the colleagues behind the same proxy.
5. A browser's session is asked for in the store, too: it ends with its token, and when its owner signs out.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from sqlalchemy import Connection, RowMapping, delete, insert, select, update
from sqlalchemy.exc import DBAPIError

from wainwright_controller.buckets import Buckets, neighbourhood
from wainwright_controller.people import (
    CONFIGURATION,
    LOCAL,
    Actor,
    NotAuthenticated,
    Role,
    Session,
    TooManyFailures,
    digest,
    id_of,
    is_same,
)
from wainwright_controller.rows import ENDED_SESSION, TOKEN, USER
from wainwright_controller.store import Store

LOG = logging.getLogger(__name__)

FAILURES_BURST = 10  # wrong tokens of one address before it must wait: a person who has mixed up his tokens needs fewer
FAILURES_REFILL_S = 6.0  # so 14,400 guesses a day of a token that somebody chose
ADDRESSES_MAX = 4096  # remembered at once: about 1 MB
USED_EVERY_S = 600.0  # how coarse `last_used_at` is: reading must not mean writing each time

_LOOK_UP = select(TOKEN, USER.c.role, USER.c.revoked_at.label("user_revoked_at")).join(
    USER, USER.c.name == TOKEN.c.user
)


class Gate:
    """See the module. `needs_token` and `token` are the configuration's; safe to share between threads.

    `configured` is the digest of the configuration's token, None without one.
    """

    def __init__(
        self,
        store: Store,
        *,
        needs_token: bool,
        token: str = "",
        clock: Callable[[], float] = time.time,
        timer: Callable[[], float] = time.monotonic,
    ) -> None:
        self.needs_token = needs_token
        self._store = store
        self.configured = digest(token) if token else None
        self._clock = clock
        self._timer = timer
        self._failures = Buckets(burst=FAILURES_BURST, refill_s=FAILURES_REFILL_S, keys_max=ADDRESSES_MAX)

    def admit(self, token: str, address: str) -> Actor:
        """Return who brings a token; "" is none. Raises NotAuthenticated or TooManyFailures."""
        if not token:
            if self.needs_token:
                raise NotAuthenticated(
                    "This controller asks for a token: give --token or --token-file, or set WAINWRIGHT_TOKEN."
                )
            return Actor(LOCAL, Role.ADMIN, address)
        row = self._row(token)
        if row is not None:
            self._check_valid(row)
            self._note_use(row)
            return Actor(row["user"], Role(row["role"]), address, row["id"])
        key = neighbourhood(address)
        if (wait_s := self._failures.wait_s(key, self._timer())) > 0:
            raise TooManyFailures(
                f"Too many wrong tokens came from {address}: try again in {wait_s:.0f} s, or use a token that"
                " `wainwright token create` made.",
                wait_s,
            )
        if self.configured is not None and is_same(digest(token), self.configured):
            return Actor(CONFIGURATION, Role.ADMIN, address)
        self._failures.take(key, self._timer())
        raise NotAuthenticated("This token is not one of this controller: ask an admin for another.")

    def recall(self, session: Session, address: str) -> Actor:
        """Return who signed in before; raises NotAuthenticated when he has signed out, or his token is valid no more.

        CONFIGURATION stands for the configuration's token; whether that is still the same one, the session says.
        """
        with self._store.read() as connection:
            if self._has_ended(connection, session):
                raise NotAuthenticated("The owner of this session has signed out: sign in again.")
            if session.token_id == CONFIGURATION:
                return Actor(CONFIGURATION, Role.ADMIN, address, session=session)
            row = connection.execute(_LOOK_UP.where(TOKEN.c.id == session.token_id)).mappings().first()
        if row is None:
            raise NotAuthenticated("The token of this session is not there any more: sign in with another.")
        self._check_valid(row)
        self._note_use(row)
        return Actor(row["user"], Role(row["role"]), address, row["id"], session)

    def end(self, session: Session) -> None:
        """Let nobody in by a session any more, with whichever copy of its cookie; those that are over are forgotten."""
        with self._store.write() as connection:
            connection.execute(delete(ENDED_SESSION).where(ENDED_SESSION.c.expires <= self._clock()))
            if not self._has_ended(connection, session):
                row = {"id": session.signature, "expires": session.expires}
                connection.execute(insert(ENDED_SESSION), row)

    def is_valid(self, connection: Connection, actor: Actor) -> bool:
        """Say whether somebody who was admitted would be admitted now: what lasts asks again and again."""
        return self.role_now(connection, actor) is not None

    def role_now(self, connection: Connection, actor: Actor) -> Role | None:
        """Return the role of somebody who was admitted, as it is now; None if he would not be admitted any more."""
        if actor.session is not None and self._has_ended(connection, actor.session):
            return None
        if actor.token_id is None:
            return actor.role
        row = connection.execute(_LOOK_UP.where(TOKEN.c.id == actor.token_id)).mappings().first()
        if row is None:
            return None
        try:
            self._check_valid(row)
        except NotAuthenticated:
            return None
        return Role(row["role"])

    def _has_ended(self, connection: Connection, session: Session) -> bool:
        """Say whether a session is over: by its time, or because its owner has signed out."""
        query = select(ENDED_SESSION.c.id).where(ENDED_SESSION.c.id == session.signature)
        return session.expires <= self._clock() or connection.execute(query).first() is not None

    def _row(self, token: str) -> RowMapping | None:
        """Return the row of a token whose secret is right, valid or not."""
        token_id = id_of(token)
        if token_id is None:
            return None
        with self._store.read() as connection:
            row = connection.execute(_LOOK_UP.where(TOKEN.c.id == token_id)).mappings().first()
        return row if row is not None and is_same(digest(token), row["digest"]) else None

    def _check_valid(self, row: RowMapping) -> None:
        name = row["user"]
        if row["revoked_at"] is not None or row["user_revoked_at"] is not None:
            raise NotAuthenticated(f"Token {row['id']} of {name} was revoked: ask an admin for another.", name)
        if row["expires_at"] is not None and row["expires_at"] <= self._clock():
            raise NotAuthenticated(f"Token {row['id']} of {name} has expired: ask an admin for another.", name)

    def _note_use(self, row: RowMapping) -> None:
        now = self._clock()
        if row["last_used_at"] is not None and abs(now - row["last_used_at"]) < USED_EVERY_S:
            return
        try:
            with self._store.write() as connection:
                connection.execute(update(TOKEN).where(TOKEN.c.id == row["id"]).values(last_used_at=now))
        except DBAPIError as error:  # a full disk must not keep anybody from looking
            LOG.warning("cannot note the use of token %s: %s", row["id"], error.orig)
