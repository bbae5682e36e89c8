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
    for stream in (sys.stdout, sys.stderr):
        poll = select.poll()
        poll.register(stream, 0)
        if poll.poll(0):  # a terminal that has hung up, a pipe that nobody reads
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)
