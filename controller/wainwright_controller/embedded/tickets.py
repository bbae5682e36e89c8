"""The signed texts by which the embedded broker is told whom to let in: NATS's JSON Web Tokens, and its names of keys.

A name of a key is base32 of a letter for its kind, the 32 bytes of an Ed25519 public key, and their CRC-16 (XMODEM). A
token is signed by such a key (`alg` is `ed25519-nkey`); its `jti` is a hash of the rest. Of NATS's own formats this is
what an authorization service needs (docs.nats.io, "Auth Callout"), and no more.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

_ACCOUNT = 0  # the first five bits give the letter: A
_HEAD = json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode()
GLOBAL_ACCOUNT = "$G"  # whoever is of no account
UNLIMITED = -1


class Signer:
    """An account's key, made anew each time: the broker learns its name from the configuration that names it."""

    def __init__(self) -> None:
        self._key = Ed25519PrivateKey.generate()
        raw = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        marked = bytes([_ACCOUNT]) + raw
        self.name = _base32(marked + binascii.crc_hqx(marked, 0).to_bytes(2, "little"))

    def ticket(
        self, user: str, name: str, *, publish: Sequence[str], subscribe: Sequence[str], until: float, now: float
    ) -> str:
        """Return what lets `user`, the broker's name for a connection, in: what it may do, and until when."""
        return self._signed(
            now,
            sub=user,
            aud=GLOBAL_ACCOUNT,
            name=name,
            exp=int(until),
            nats={
                "type": "user",
                "version": 2,
                "pub": {"allow": list(publish)},
                "sub": {"allow": list(subscribe)},
                "subs": UNLIMITED,
                "data": UNLIMITED,
                "payload": UNLIMITED,
            },
        )

    def answer(self, user: str, server: str, now: float, *, ticket: str = "", error: str = "") -> bytes:
        """Return the answer to a request about `user` of a server: its ticket, or why it gets none."""
        told = {"jwt": ticket} if ticket else {"error": error}
        return self._signed(
            now, sub=user, aud=server, nats={"type": "authorization_response", "version": 2} | told
        ).encode()

    def _signed(self, now: float, **claims: Any) -> str:  # noqa: ANN401  what JSON can hold
        claims |= {"iss": self.name, "iat": int(now)}
        claims["jti"] = _base32(hashlib.sha256(json.dumps(claims).encode()).digest())
        text = f"{_base64(_HEAD)}.{_base64(json.dumps(claims).encode())}"
        return f"{text}.{_base64(self._key.sign(text.encode()))}"


def claims_of(token: bytes) -> Mapping[str, Any]:
    """Return what a token says; raises ValueError. It is not verified: who sent it is known otherwise."""
    parts = token.split(b".")
    try:
        _head, body, _signature = parts
        claims = json.loads(base64.urlsafe_b64decode(body + b"=="))
    except ValueError as error:  # also of binascii and json
        raise ValueError(f"not a token: {error}") from error
    if not isinstance(claims, dict):
        raise ValueError("not a token: it claims nothing")  # noqa: TRY004  it is the text's fault
    return claims


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=")


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
