"""What a command that carries an update out does when its terminal goes, as with a connection that drops: it goes on.

Programs that it starts have sessions of their own, so neither the signal nor Ctrl+C is theirs.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

HANDLERS = {
    signal.SIGHUP: lambda *_: None,  # not SIG_IGN: every program that is started would inherit that
    signal.SIGTERM: signal.default_int_handler,
}


@contextmanager
def outlived() -> Iterator[None]:
    """Have the terminal's end do nothing, and SIGTERM what Ctrl+C does; call it from the main thread."""
    before = {number: signal.signal(number, handler) for number, handler in HANDLERS.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def mute_what_is_lost() -> None:
    """Have the output go nowhere that cannot be written any more."""
    streams = (sys.stdout, sys.stderr)
    # Of a file on a full disk nothing tells beforehand that it takes no word.
    for stream in [one for one in streams if _has_hung_up(one)] or streams:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def _has_hung_up(stream: TextIO) -> bool:
    """Say whether a stream is a terminal that is gone, or a pipe that nobody reads."""
    poll = select.poll()
    poll.register(stream, 0)
    return bool(poll.poll(0))
