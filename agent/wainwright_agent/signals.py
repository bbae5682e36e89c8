"""Signals, as events of the service's loop.

Python calls a handler in the main thread only, between two of its instructions. A signal that the kernel gives to
another thread, or that comes in the instant before the main thread begins to sleep, does not end that sleep: a handler
that tells the loop would be called when the loop wakes by itself, which may be 30 s later. What Python does at once,
whichever thread has the signal, is to write its number to a descriptor (signal.set_wakeup_fd). A thread reads that.

They are not blocked and waited for (sigwait), because every program that is started would inherit the blocked ones.
"""

from __future__ import annotations

import os
import signal

from wainwright_agent.events import Event, EventQueue, Received, Stop, spawn
from wainwright_common.messages import Command, CommandName

ENDINGS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
WISHES = {signal.SIGUSR1: CommandName.CHECK_IN, signal.SIGUSR2: CommandName.SEND_INVENTORY}
READ_MAX = 512  # signals at once, a byte each; more are read the next time


def listen(events: EventQueue) -> None:
    """Have each signal of ENDINGS and WISHES put its event, from now on; call it from the main thread, once."""
    reading, writing = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writing, False)  # nothing may block where a signal interrupts
    spawn(events, "signals", lambda: _read(reading, events))
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)  # full: thousands of them wait to be read
    for number in (*ENDINGS, *WISHES):
        signal.signal(number, lambda *_: None)  # the number is written only for a signal that has a handler


def _read(descriptor: int, events: EventQueue) -> None:
    while numbers := os.read(descriptor, READ_MAX):
        for number in numbers:
            events.put(_event(signal.Signals(number)))


def _event(number: signal.Signals) -> Event:
    if number in WISHES:
        return Received(Command(id=number.name, name=WISHES[number]))
    return Stop(number.name)
