"""Who people are and what their role allows, as plain values; tokens as text. No store, no clock.

A token is `wwt_ID_SECRET`: the id finds it and may be shown, the secret is 256 random bits. Only a digest of the whole
text is kept. A plain SHA-256 is enough: what is random cannot be guessed from its digest, however fast that is to
compute, and a slow hash would cost every request what it costs a guesser.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from enum import StrEnum
from typing import NamedTuple

from wainwright_common.errors import WainwrightError

ID_BYTES = 6  # of a token's id: 2^48 values, so that thousands of tokens do not meet
SECRET_BYTES = 32  # 256 bits
PERSON, ENROLMENT = "wwt", "wwe"  # how a token begins: of a person, and one by which devices enrol
_TOKEN = re.compile(r"(wwt|wwe)_([0-9a-f]{12})_[A-Za-z0-9_-]{43}")


class NotAuthenticated(WainwrightError):  # noqa: N818  the name is the sentence: "refused: not authenticated"
    """The request has no token that is valid; `who` is whose it was, if the secret was right."""

    def __init__(self, text: str, who: str = "") -> None:
        super().__init__(text)
        self.who = who


class NotAllowed(WainwrightError):  # noqa: N818  as above
    """The person's role does not allow it."""


class TooManyFailures(WainwrightError):  # noqa: N818  as above
    """Too many wrong tokens came from this address; `wait_s` is the time until it may try again, in seconds."""

    def __init__(self, text: str, wait_s: float) -> None:
        super().__init__(text)
        self.wait_s = wait_s


class Role(StrEnum):
    """What a person may do; each includes those before it."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    ADMIN = "admin"

    def includes(self, least: Role) -> bool:
        """Say whether this role is `least`, or above it."""
        order = list(Role)
        return order.index(self) >= order.index(least)


class Session(NamedTuple):
    """Which token somebody signed in with, and until when, in seconds since the epoch; the signature is its name."""

    token_id: str
    expires: int
    signature: str


class Actor(NamedTuple):
    """Who does something, with which role, from which address.

    `token_id` names the token, if it is one of ours, and `session` is that of his browser, if he came by it.
    """

    name: str
    role: Role
    address: str = ""
    token_id: str | None = None
    session: Session | None = None


LOCAL = "local"  # whoever sits at the controller's own machine, where no token is asked for
CONFIGURATION = "configuration"  # whoever has the token of the configuration
RESERVED = frozenset({LOCAL, CONFIGURATION, "controller", "device", "unknown"})  # names that timelines give to others


def new_token(kind: str = PERSON) -> tuple[str, str]:
    """Return the id and the text of a new token."""
    token_id = secrets.token_hex(ID_BYTES)
    return token_id, f"{kind}_{token_id}_{secrets.token_urlsafe(SECRET_BYTES)}"


def id_of(token: str, kind: str = PERSON) -> str | None:
    """Return the id in a token's text, or None if that is none of ours, or of the other kind."""
    match = _TOKEN.fullmatch(token)
    return match[2] if match and match[1] == kind else None


def digest(token: str) -> str:
    """Return what is kept of a token."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).hexdigest()


def is_same(digest_a: str, digest_b: str) -> bool:
    """Compare two digests in a time that says nothing of where they differ."""
    return hmac.compare_digest(digest_a.encode(), digest_b.encode())
