"""Users, tokens and the audit log, as the API takes and gives them."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints

from wainwright_controller.api.models.base import Moment, Taken
from wainwright_controller.people import Role

UserName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._@+-]{0,63}$")]


class Me(BaseModel):
    """Who a request comes from."""

    name: str
    role: Role


class UserIn(Taken):
    """A user to be made."""

    name: UserName
    role: Role


class RoleIn(Taken):
    """Another role."""

    role: Role


class UserOut(BaseModel):
    """A user; with `revoked_at`, one who was."""

    name: str
    role: Role
    created_at: datetime
    created_by: str
    revoked_at: datetime | None = None


class TokenIn(Taken):
    """A token to be made; without `expires_at` it is valid until it is revoked."""

    user: UserName
    expires_at: Moment | None = None
    note: Annotated[str, StringConstraints(max_length=256)] = ""


class TokenOut(BaseModel):
    """A token, without its secret; it begins with `wwt_ID_`. `last_used_at` is right to ten minutes."""

    id: str
    user: str
    note: str | None = None
    created_at: datetime
    created_by: str
    expires_at: datetime | None = None
    last_used_at: datetime | None = None
    revoked_at: datetime | None = None


class TokenMade(TokenOut):
    """A token that was made just now, with its text."""

    token: str


class AuditOut(BaseModel):
    """An entry of the audit log; `before` and `after` have what differs, by thing."""

    number: int
    at: datetime
    who: str
    role: str
    address: str
    action: str
    object: str
    before: dict[str, Any]
    after: dict[str, Any]
    verdict: str
    code: str | None = Field(None, description="Why it was refused: the code of the problem.")
    hash: str


class ChainOut(BaseModel):
    """Whether the audit log is whole; note `anchor` elsewhere, and later ask whether it is still in the log."""

    whole: bool
    entries: int
    anchor: str
    fault: str | None = None
