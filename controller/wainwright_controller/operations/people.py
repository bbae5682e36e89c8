"""Users and their tokens: made, changed, revoked. Nothing of them is ever deleted: the audit log names them."""

from __future__ import annotations

from typing import Any, NamedTuple

from sqlalchemy import RowMapping, func, insert, select, update

from wainwright_controller.operations.base import NotFound, Operator
from wainwright_controller.operations.witness import Witness
from wainwright_controller.people import RESERVED, Role, digest, new_token
from wainwright_controller.rows import TOKEN, USER
from wainwright_controller.rules.actions import Refused


class NewToken(NamedTuple):
    """A token that was made just now; `text` is told this once, and kept nowhere."""

    id: str
    text: str


class PeopleOperations(Operator):
    """What admins do with users and tokens."""

    def create_user(self, name: str, role: Role, actor: str) -> None:
        """Make a user. Refused when the name is taken: for ever, because the audit log means one person by it."""
        with self._transaction() as ledger:
            if name in RESERVED:
                raise Refused("user-exists", f"The name {name} has a meaning of its own: choose another.")
            known = ledger.connection.execute(select(USER.c.revoked_at).where(USER.c.name == name)).first()
            if known is not None:
                was = "was revoked, and its name stays with the audit log" if known.revoked_at else "is there already"
                raise Refused("user-exists", f"The user {name} {was}: choose another name.")
            row = {"name": name, "role": role, "created_at": ledger.now, "created_by": actor}
            ledger.connection.execute(insert(USER), row)
            ledger.tell(f"user {name}", None, {"role": role})

    def change_role(self, name: str, role: Role, actor: str) -> None:  # noqa: ARG002  the audit log has the actor
        """Give a user another role, which holds from the next request on."""
        with self._transaction() as ledger:
            before = self._user(ledger, name)
            if role is not Role.ADMIN:
                self._check_not_last_admin(ledger, before)
            ledger.connection.execute(update(USER).where(USER.c.name == name).values(role=role))
            ledger.tell(f"user {name}", {"role": before["role"]}, {"role": role})

    def revoke_user(self, name: str, actor: str) -> None:  # noqa: ARG002  as above
        """End a user: all his tokens are refused from now on."""
        with self._transaction() as ledger:
            before = self._user(ledger, name)
            self._check_not_last_admin(ledger, before)
            ledger.connection.execute(update(USER).where(USER.c.name == name).values(revoked_at=ledger.now))
            ledger.tell(f"user {name}", {"role": before["role"]}, {"role": before["role"], "revoked_at": ledger.now})

    def create_token(self, user: str, actor: str, *, expires_at: float | None = None, note: str = "") -> NewToken:
        """Make a token of a user; its text is returned this once. `expires_at` is in seconds since the epoch."""
        token_id, text = new_token()
        with self._transaction() as ledger:
            self._user(ledger, user)
            if expires_at is not None and expires_at <= ledger.now:
                raise Refused("token-expired", "This token would have expired before it was made: give a later time.")
            fields = {"user": user, "expires_at": expires_at, "note": note}
            row = {"id": token_id, "digest": digest(text), "created_at": ledger.now, "created_by": actor}
            ledger.connection.execute(insert(TOKEN), row | fields)
            ledger.tell(f"token {token_id}", None, {k: v for k, v in fields.items() if v})
        return NewToken(token_id, text)

    def revoke_token(self, token_id: str, actor: str) -> None:  # noqa: ARG002  as above
        """End a token: it is refused from now on. Nothing changes if it was revoked before."""
        with self._transaction() as ledger:
            row = ledger.connection.execute(select(TOKEN).where(TOKEN.c.id == token_id)).mappings().first()
            if row is None:
                raise NotFound(f"No such token: {token_id}. `wainwright token list` shows all.")
            if row["revoked_at"] is not None:
                return
            ledger.connection.execute(update(TOKEN).where(TOKEN.c.id == token_id).values(revoked_at=ledger.now))
            about = {"user": row["user"]}
            ledger.tell(f"token {token_id}", about, about | {"revoked_at": ledger.now})

    @staticmethod
    def _user(ledger: Witness, name: str) -> RowMapping:
        row = ledger.connection.execute(select(USER).where(USER.c.name == name)).mappings().first()
        if row is None or row["revoked_at"] is not None:
            raise NotFound(f"No such user: {name}. `wainwright user list` shows all.")
        return row

    @staticmethod
    def _check_not_last_admin(ledger: Witness, user: RowMapping) -> None:
        """Keep an admin from locking everybody out, himself included."""
        others: Any = select(func.count()).where(
            USER.c.role == Role.ADMIN, USER.c.revoked_at.is_(None), USER.c.name != user["name"]
        )
        if user["role"] == Role.ADMIN and ledger.connection.execute(others).scalar_one() == 0:
            raise Refused(
                "last-admin", f"{user['name']} is the last admin: make another with `wainwright user create` first."
            )
