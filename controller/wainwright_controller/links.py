"""Signed links, from which a device downloads an artifact without any other credentials.

    PUBLIC_URL/download/ARTIFACT_ID?expires=EPOCH&signature=HEX

The signature is HMAC-SHA256 (RFC 2104) of id and time under a key that is made once and kept in the store, so that
every controller of one store accepts the links of every other. A link says what may be fetched and until when, not by
whom: whoever sees one can use it, so lifetimes are short, and every check-in brings a fresh one.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import UTC, datetime
from typing import Self

from wainwright_common.errors import WainwrightError
from wainwright_controller import shared_keys
from wainwright_controller.store import Store

KEY_SETTING = "link-key"
LIFETIME_S = 86_400  # a slow device may need hours for one artifact; it asks for another link after that


class BadLink(WainwrightError):  # noqa: N818  the name is the sentence: "refused: bad link"
    """A link is not ours, or not valid any more; `code` is link-invalid or link-expired."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(text)
        self.code = code


class Links:
    """Makes links and checks them, with one key; safe to share between threads."""

    def __init__(self, key: bytes, lifetime_s: int = LIFETIME_S) -> None:
        self._key = key
        self._lifetime_s = lifetime_s

    @classmethod
    def of_store(cls, store: Store, lifetime_s: int = LIFETIME_S) -> Self:
        """Return the links of a store's key, which is made when there is none yet."""
        return cls(shared_keys.ensure(store, KEY_SETTING), lifetime_s)

    def make(self, public_url: str, artifact_id: str, now: float) -> tuple[str, datetime]:
        """Return the address of an artifact, and until when it is valid; `now` is in seconds since the epoch."""
        expires = int(now) + self._lifetime_s
        signature = self._sign(artifact_id, expires)
        uri = f"{public_url.rstrip('/')}/download/{artifact_id}?expires={expires}&signature={signature}"
        return uri, datetime.fromtimestamp(expires, UTC)

    def check(self, artifact_id: str, expires: int, signature: str, now: float) -> None:
        """Raise BadLink when a link was not made here, or its time has passed."""
        expected = self._sign(artifact_id, expires)
        if not hmac.compare_digest(expected.encode(), signature.encode()):
            raise BadLink("link-invalid", "This link was not made by this controller: check in to get another.")
        if expires <= now:
            raise BadLink("link-expired", "This link has expired: check in to get a fresh one.")

    def _sign(self, artifact_id: str, expires: int) -> str:
        return hmac.new(self._key, f"{artifact_id}\n{expires}".encode(), hashlib.sha256).hexdigest()
