"""/api/v1/users, /api/v1/tokens and /api/v1/me: who may do what."""

from __future__ import annotations

from http import HTTPStatus

from sqlalchemy import RowMapping, select

from wainwright_controller.api import routing
from wainwright_controller.api.access import InActor
from wainwright_controller.api.context import Context, InContext
from wainwright_controller.api.models import (
    Me,
    Page,
    RoleIn,
    TokenIn,
    TokenMade,
    TokenOut,
    UserIn,
    UserOut,
    known_moment,
    moment,
)
from wainwright_controller.api.paging import LIMIT, Cursor, Limit, cut, key_of
from wainwright_controller.people import Role
from wainwright_controller.rows import TOKEN, USER

users = routing.router("people", "/users")
tokens = routing.router("people", "/tokens")
me = routing.router("people")


@me.get("/me")
def show_me(actor: InActor) -> Me:
    """Say who this request comes from, and with which role."""
    return Me(name=actor.name, role=actor.role)


@users.get("")
def list_users(context: InContext, limit: Limit = LIMIT, cursor: Cursor = None) -> Page[UserOut]:
    """List users by name, the revoked ones too."""
    query = select(USER).order_by(USER.c.name).limit(limit + 1)
    if cursor is not None:
        query = query.where(USER.c.name > key_of(cursor, tuple[str])[0])
    with context.store.read() as connection:
        rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: (row["name"],))
    return Page(items=[_user_out(row) for row in rows], next=following)


@users.post("", status_code=HTTPStatus.CREATED)
def create_user(body: UserIn, context: InContext, actor: InActor) -> UserOut:
    """Make a user, who can do nothing before he has a token. 409 user-exists: a name is used once, for good."""
    context.operations.create_user(body.name, body.role, actor.name)
    return _user(context, body.name)


@users.post("/{name}/role")
def change_role(name: str, body: RoleIn, context: InContext, actor: InActor) -> UserOut:
    """Give a user another role, from the next request on. 409 last-admin: nobody would be left."""
    context.operations.change_role(name, body.role, actor.name)
    return _user(context, name)


@users.post("/{name}/revoke")
def revoke_user(name: str, context: InContext, actor: InActor) -> UserOut:
    """End a user with all his tokens, at once. 409 last-admin: nobody would be left."""
    context.operations.revoke_user(name, actor.name)
    return _user(context, name)


@tokens.get("")
def list_tokens(
    context: InContext, user: str | None = None, limit: Limit = LIMIT, cursor: Cursor = None
) -> Page[TokenOut]:
    """List tokens by user, the revoked ones too; never their secrets, which are not kept."""
    query = select(TOKEN).order_by(TOKEN.c.user, TOKEN.c.id).limit(limit + 1)
    if user is not None:
        query = query.where(TOKEN.c.user == user)
    if cursor is not None:
        after_user, after_id = key_of(cursor, tuple[str, str])
        same = (TOKEN.c.user == after_user) & (TOKEN.c.id > after_id)
        query = query.where((TOKEN.c.user > after_user) | same)
    with context.store.read() as connection:
        rows, following = cut(connection.execute(query).mappings().all(), limit, lambda row: (row["user"], row["id"]))
    return Page(items=[_token_out(row) for row in rows], next=following)


@tokens.post("", status_code=HTTPStatus.CREATED)
def create_token(body: TokenIn, context: InContext, actor: InActor) -> TokenMade:
    """Make a token of a user. `token` is its text, told this once."""
    expires_at = body.expires_at.timestamp() if body.expires_at else None
    made = context.operations.create_token(body.user, actor.name, expires_at=expires_at, note=body.note)
    with context.store.read() as connection:
        row = connection.execute(select(TOKEN).where(TOKEN.c.id == made.id)).mappings().one()
    return TokenMade(**_token_out(row).model_dump(), token=made.text)


@tokens.post("/{token_id}/revoke", status_code=HTTPStatus.NO_CONTENT)
def revoke_token(token_id: str, context: InContext, actor: InActor) -> None:
    """End a token, at once: also a live stream that it has opened."""
    context.operations.revoke_token(token_id, actor.name)


def _user(context: Context, name: str) -> UserOut:
    with context.store.read() as connection:
        return _user_out(connection.execute(select(USER).where(USER.c.name == name)).mappings().one())


def _user_out(row: RowMapping) -> UserOut:
    return UserOut(
        name=row["name"],
        role=Role(row["role"]),
        created_at=known_moment(row["created_at"]),
        created_by=row["created_by"],
        revoked_at=moment(row["revoked_at"]),
    )


def _token_out(row: RowMapping) -> TokenOut:
    return TokenOut(
        id=row["id"],
        user=row["user"],
        note=row["note"] or None,
        created_at=known_moment(row["created_at"]),
        created_by=row["created_by"],
        expires_at=moment(row["expires_at"]),
        last_used_at=moment(row["last_used_at"]),
        revoked_at=moment(row["revoked_at"]),
    )
