"""Types that several threads decode."""

from __future__ import annotations

import msgspec


def prepare(*types: type) -> None:
    """Have msgspec look at types now; to be called where they are defined, for those that threads decode or convert.

    It looks at a type when it first meets it, and crashes the process when several threads are first at the same time
    (seen with msgspec 0.22: it runs Python code in between, which lets the others in). Decoders that are made when
    their module is loaded have the same effect.
    """
    for one in types:
        msgspec.json.Decoder(one)
