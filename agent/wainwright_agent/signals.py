"""What the service manager, or a person, tells the service by signals.

Python runs a handler in the main thread, and only when that is between two of its instructions. A signal that comes in
the moment between the last look and the sleep in a queue would be answered after the sleep, up to half a minute later:
rare on a quiet machine, and once in some hundred stops seen on a busy one. So the main thread has nothing to do with
it: the interpreter writes each signal's number to a socket from within the C handler, and a thread waits for that.
"""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable, Collection


class Signals:
    """Calls `told` with the number of each signal, from a thread of its own; make it in the main thread."""

    def __init__(self, numbers: Collection[int], told: Callable[[int], None]) -> None:
        self._told = told
        self._reader, self._writer = socket.socketpair()
        self._writer.settimeout(0)  # the handler never waits
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        for number in numbers:
            signal.signal(number, _leave_it_to_the_thread)
        threading.Thread(target=self._run, name="signals", daemon=True).start()

    def _run(self) -> None:
        while number := self._reader.recv(1):
            self._told(number[0])


def _leave_it_to_the_thread(_number: int, _frame: object) -> None:
    """Do nothing: without a handler of Python's, the interpreter would not tell of the signal."""
