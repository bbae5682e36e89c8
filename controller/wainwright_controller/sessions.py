"""Who has signed in with a browser: a cookie that names his token and an end, signed. No store, no clock.

    TOKEN_ID.EXPIRES.NUMBER.SIGNATURE

The number is random: two windows that sign in within a second have two sessions.
The cookie is no token: the API's other callers cannot use it, it ends by itself, with the token that it names, and when
its owner signs out (gate.py). The signature is HMAC-SHA256 (RFC 2104) under a key that the controllers of one store
share (shared_keys.py); for the token of the configuration it also covers that token's digest, so that a changed one
ends its sessions.
What a page sends to change something carries a second value that other sites' pages cannot know (`csrf`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets

from wainwright_controller.people import CONFIGURATION, NotAuthenticated, Session

KEY_SETTING = "session-key"
LIFETIME_S = 12 * 3600  # a working day: nobody is signed out in the middle of it, and nobody stays for ever
AHEAD_MAX_S = 60  # more than clocks of controllers on one store differ by
NUMBER_BYTES = 8  # sessions of one token in one second do not meet
_COOKIE = re.compile(
    rf"([0-9a-f]{{12}}|{CONFIGURATION})\.([1-9][0-9]{{0,11}})\.([0-9a-f]{{{2 * NUMBER_BYTES}}})\.([0-9a-f]{{64}})"
)


class Sessions:
    """Makes cookies and checks them; safe to share between threads. `configured` is the configuration's digest."""

    def __init__(self, key: bytes, configured: str = "", lifetime_s: int = LIFETIME_S) -> None:
        self._key = key
        self._configured = configured
        self.lifetime_s = lifetime_s

    def make(self, token_id: str | None, now: float) -> str:
        """Return the cookie of somebody who showed a token just now; None stands for the configuration's."""
        expires, number = int(now) + self.lifetime_s, secrets.token_hex(NUMBER_BYTES)
        token_id = token_id or CONFIGURATION
        return f"{token_id}.{expires}.{number}.{self._sign(token_id, expires, number)}"

    def check(self, cookie: str, now: float) -> Session:
        """Return what a cookie says; raises NotAuthenticated when it was not made here, or has ended.

        Or when it would last longer than any: it was made by a clock that was ahead, and for as long as that was.
        """
        match = _COOKIE.fullmatch(cookie)
        if match is None or not hmac.compare_digest(self._sign(match[1], int(match[2]), match[3]), match[4]):
            raise NotAuthenticated("This browser's session is not one of this controller: sign in again.")
        session = Session(match[1], int(match[2]), match[4])
        if not 0 < session.expires - now <= self.lifetime_s + AHEAD_MAX_S:
            raise NotAuthenticated("The session has ended: sign in again.")
        return session

    def csrf(self, cookie: str) -> str:
        """Return what a page of this session, "" for none, has to send along to change something."""
        return hmac.new(self._key, f"csrf\n{cookie}".encode("utf-8", "replace"), hashlib.sha256).hexdigest()

    def _sign(self, token_id: str, expires: int, number: str) -> str:
        covered = self._configured if token_id == CONFIGURATION else ""
        text = f"session\n{token_id}\n{expires}\n{number}\n{covered}"
        return hmac.new(self._key, text.encode(), hashlib.sha256).hexdigest()
