"""Keeps secrets out of what people and controllers read: the signature of a link, the password in an address.

A link's query is what lets anybody fetch the artifact, so all of it goes, not only the parameters whose names we know.

>>> mask("GET https://h/download/a1?expires=1&signature=abc failed: 403")
'GET https://h/download/a1?(hidden) failed: 403'
>>> mask("mqtts://press-07:secret@broker.example")
'mqtts://(hidden)@broker.example'
"""

from __future__ import annotations

import re

HIDDEN = "(hidden)"
_QUERY = re.compile(r"(?<=[\w/.%~-])\?[^\s'\"<>()]*=[^\s'\"<>()]*")
_USER = re.compile(r"(?<=://)[^\s/@'\"]+(?=@)")


def mask(text: str) -> str:
    """Return `text` without the queries of links and without user names and passwords in addresses."""
    return _USER.sub(HIDDEN, _QUERY.sub(f"?{HIDDEN}", text))
