"""Signals that ask a program to end, as an exception; and none of them while it cleans up."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupted(Exception):  # noqa: N818  the name is the sentence
    """A signal asks the program to end."""


@contextmanager
def signals_raise() -> Iterator[None]:
    """Have the first of ENDINGS raise Interrupted in here, and ignore the others from then on.

    A second Ctrl+C must not keep the first from cleaning up.
    """

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        ignore_signals()
        raise Interrupted

    before = [signal.signal(number, on_signal) for number in ENDINGS]
    try:
        yield
    finally:
        for number, handler in zip(ENDINGS, before, strict=True):
            signal.signal(number, handler)


def ignore_signals() -> None:
    """Let nothing interrupt the cleaning up."""
    for number in ENDINGS:
        signal.signal(number, signal.SIG_IGN)
