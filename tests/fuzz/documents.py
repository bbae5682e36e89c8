"""Mutations of JSON, and of texts near it: what a grammar-blind mutator finds once in a million tries."""

from __future__ import annotations

import re
from random import Random
from typing import Final

_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*"|-?[0-9][0-9.eE+-]*|true|false|null|[\[\]{}:,]')
_MARKS: Final = frozenset(b"[]{}:,")

VALUES: Final = (
    *(b"null", b"true", b"false", b"[]", b"{}", b'""', b"0", b"-0", b"1", b"-1", b"1.5", b"-1e-400", b"1E5", b"3"),
    *(b"9007199254740991", b"9007199254740993", b"18446744073709551616", b"0.1" + b"0" * 400, b"1e15", b"2.5e-7"),
    *(
        b'"\\\\u0000"',
        b'"\\udfff\\ud800"',
        b'"\\ud83d\\ude00"',
        b'"\\u001b[31m\\r\\n"',
        b'"\\u202e"',
        b'"a\\nb"',
        b'"\\/"',
    ),
    *(
        b'"../../x"',
        b'"/etc/passwd"',
        b'"-rf"',
        b'"*"',
        b'"="',
        b'"\xc3\xa9"',
        b'"05:00"',
        b'"24:00"',
        b'"' + b"f" * 64 + b'"',
    ),
    *(b'"0001-01-01T00:00:00+23:59"', b'"9999-12-31T23:59:59.999999-23:59"', b'"2026-01-01T00:00:00Z"'),
    *(b'"2026-01-01T24:00:00Z"', b'"2026-01-01T00:00:60Z"', b'"2026-02-30T00:00:00Z"', b'"2026-01-01 00:00:00"'),
    *(b'"2026-01-01T00:00:00.1234567890123Z"', b'"0000-01-01T00:00:00Z"', b'"2026-01-01T00:00:00"', b'"12:30Z"'),
    *(
        b'["a"]',
        b'["a",1]',
        b"[[[[[[]]]]]]",
        b'{"a":{"b":[]}}',
        b'{"":""}',
        b'{"artifact_name":"x"}',
        b'["*"]',
        b"[1,7]",
    ),
    *(
        b'"timer"',
        b'"install"',
        b'"success"',
        b'"failure"',
        b'"accepted"',
        b'"rootfs-image"',
        b'"mender"',
        b'"check-in"',
    ),
)
BROKEN: Final = (
    *(
        b"NaN",
        b"Infinity",
        b"01",
        b"+1",
        b"1e400",
        b"1" * 400,
        b"1.",
        b"-",
        b"'a'",
        b'"',
        b'"\\',
        b'"\\x41"',
        b"nul",
        b"/**/",
    ),
    *(
        b'"\\u0000"',
        b'"\\ud800"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\x1b[31m"',
        b'"\x00"',
        b"\xef\xbb\xbf{}",
        b"\x00",
        b",",
        b"]",
    ),
)
_SIZES: Final = (15, 16, 64, 65, 200, 201, 256, 257, 2000, 2001, 4096, 4097)  # around the bounds of texts
_NUMBERS: Final = (2, 7, 8, 32, 33, 256, 257, 500, 501, 512, 513, 1000, 1001)  # around the bounds of lists and objects
_DEPTHS: Final = (10, 100, 990, 1000, 5000, 100_000)
_WINDOW: Final = 2048  # bytes in which a token is looked for: whole messages usually, and a part of a large one
_LARGE_ONE_IN: Final = 200  # mutations that make a large input: these are slow, and find what is to be found early


def mutate(document: bytes, random: Random) -> bytes:
    """Return a document that differs in a token or a run of tokens, mostly so that it is JSON again."""
    if random.randrange(_LARGE_ONE_IN) == 0:
        return _grow(document, random)
    window = random.randrange(max(1, len(document) - _WINDOW))
    tokens = list(_TOKEN.finditer(document, window, window + _WINDOW))
    values = [token for token in tokens if token[0][0] not in _MARKS]
    if not values:
        return random.choice(VALUES)
    if random.randrange(5) == 0:
        return _tear(document, tokens, random)
    start, end = random.choice(values).span()
    match random.randrange(8):
        case 0:
            new = random.choice(values)[0]
        case 1:
            new = b'"' + _text(random) + b'"'
        case 2:
            new = document[start:end] + b"," + random.choice(values)[0] + b":" + random.choice(VALUES)
        case 3:
            new = b"[" + document[start:end] + b"," + random.choice(VALUES) + b"]"
        case _:
            new = random.choice(VALUES)
    return document[:start] + new + document[end:]


def _tear(document: bytes, tokens: list[re.Match[bytes]], random: Random) -> bytes:
    """Return a document that is hardly JSON any more."""
    start, end = random.choice(tokens).span()
    match random.randrange(6):
        case 0:
            return document[:start] + document[end:]
        case 1:
            return document[:end] + document[start:]
        case 2:
            return document[:end]
        case 3:
            at = random.randrange(len(document))
            return document[:at] + random.randbytes(1) + document[at + 1 :]
        case _:
            return document[:start] + random.choice(BROKEN) + document[end:]


def _text(random: Random) -> bytes:
    piece = random.choice((b"a", b"a", b"\\u0041", b"\xc3\xa9", b"\\n", b" "))
    return piece * random.choice(_SIZES)


def _grow(document: bytes, random: Random) -> bytes:
    """Return a document that is deep, or has many items where it had one."""
    kind = random.randrange(3)
    if kind == 0:
        bracket = random.choice((b"[", b'{"a":', b'{"attributes":{"a":['))
        return document[: random.randrange(len(document) + 1)] + bracket * random.choice(_DEPTHS)
    number = random.choice(_NUMBERS)
    opening = random.choice([m.end() for m in re.finditer(rb"[\[{]", document)] or [0])
    if kind == 1:
        items = b"".join(b'"k%d":"v",' % i for i in range(number))
    else:
        items = (
            random.choice((b'"v",', b"1,", b"{},", b'{"at":"2026-01-01T00:00:00Z","level":"info","text":"x"},'))
            * number
        )
    return document[:opening] + items + document[opening:]
