"""Leaving secrets out of what a technician hands to others; addresses are masking.py's part of it.

Two ways, one after the other, because neither is enough: what is known to be a secret (settings) is hidden wherever it
stands, in each form that a text may have it in; and what looks like one is hidden, whoever wrote it.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from wainwright_agent.config import Config
from wainwright_agent.masking import HIDDEN, mask
from wainwright_common import settings

SECRETS = (("broker", "password"), ("enrolment", "token"))
KNOWN_MIN = 4  # characters; a shorter one stands in many words, and hiding these would tell what it is

# What a secret's name contains, and the rest of the name: bounded, or a long line would take for ever.
_NAME = r"(?:passw(?:or)?d|passphrase|secret|token|api[_-]?key|private[_-]?key|credential)[\w.-]{0,64}"
PATTERNS: tuple[tuple[re.Pattern[str], str], ...] = (
    # A key that begins in the text, and one of which the text has only the end.
    (re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----.*?(?:-----END \1-----|\Z)", re.DOTALL), HIDDEN),
    (re.compile(r"\A(?:(?!-----BEGIN ).)*?-----END [A-Z0-9 ]*PRIVATE KEY-----", re.DOTALL), HIDDEN),
    (re.compile(r"\b(authorization[\"']?\s*[:=]\s*[\"']?)[^\"'\r\n]+", re.IGNORECASE), rf"\1{HIDDEN}"),
    (re.compile(r"\b(bearer\s+)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1{HIDDEN}"),
    # A token of a controller, also one that a technician has typed for another device: it may still open something.
    (re.compile(r"\bww[te]_[0-9a-f]{12}_[A-Za-z0-9_-]{43}"), HIDDEN),
    # What is called a secret: quoted values keep their quotes, so that JSON and TOML stay what they are.
    (re.compile(rf"({_NAME}\\*[\"']?\s*[:=]\s*\\*)\"(?:[^\"\\]|\\.)+\"", re.IGNORECASE), rf'\1"{HIDDEN}"'),
    (re.compile(rf"({_NAME}[\"']?\s*[:=]\s*)'[^']+'", re.IGNORECASE), rf"\1'{HIDDEN}'"),
    (re.compile(rf"({_NAME}\s*[:=]\s*)[^\s\"'(,;&{{\[][^\s\"',;&}}\]]*", re.IGNORECASE), rf"\1{HIDDEN}"),
)


def redacted_settings(config: Config) -> dict[str, Any]:
    """Return all settings as plain values, the secrets among them hidden."""
    values: dict[str, Any] = settings.plain(config)
    for section, key in SECRETS:
        if values[section][key]:
            values[section][key] = HIDDEN
    return values


def secrets_of(config: Config) -> list[str]:
    """Return the secrets that the configuration holds."""
    values = settings.plain(config)
    return [values[section][key] for section, key in SECRETS if values[section][key]]


class Redactor:
    """Hides secrets in texts; `known` are some that must not appear in any form."""

    def __init__(self, known: Iterable[str]) -> None:
        forms = {form for secret in known if len(secret) >= KNOWN_MIN for form in _forms(secret)}
        longest_first = sorted(forms, key=len, reverse=True)  # or a part of one would leave the rest of it
        self._known = re.compile("|".join(map(re.escape, longest_first))) if forms else None

    def redact(self, text: str) -> str:
        """Return a text with HIDDEN in place of each secret."""
        if self._known:
            text = self._known.sub(HIDDEN, text)
        for pattern, replacement in PATTERNS:
            text = pattern.sub(replacement, text)
        return mask(text)


def _forms(secret: str) -> Iterable[str]:
    """Return a secret as it stands in a text, in JSON, in an address, and in base64."""
    yield secret
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    yield quote(secret, safe="")
    yield base64.b64encode(secret.encode()).decode().rstrip("=")
