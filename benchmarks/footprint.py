"""What an idle agent takes of a device, beside the daemon of Debian's mender-client on the same machine.

Both run at the same time with their default intervals, each alone on a link whose bytes are counted, each over TLS: the
agent with a real Mosquitto and a real controller, the daemon with a server that accepts it and has nothing for it.

1. They settle. 2. They wait, untouched: memory, processor time and bytes of waiting. 3. They are told to check in, many
times (both do so on SIGUSR1), then to send their inventory (SIGUSR2): the cost of one, above that of waiting.

An hour is then computed, not waited for: an hour of waiting, two check-ins and an eighth of an inventory, for both have
the same default intervals, of 30 minutes and 8 hours.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from benchmarks.costs import Command, Memory, memory, processor_s
from benchmarks.device import enter_device
from benchmarks.figures import machine
from benchmarks.idle_lab import (
    broker,
    make_certificate,
    make_networks,
    mender_command,
    mender_server,
    wain_command,
    wire_bytes,
)
from benchmarks.install_lab import MIB
from tests.support.system import System
from tests.support.wait import wait_until

PATIENCE_S = 30.0  # for a first check-in
SETTLE_S = 20.0
WAIT_S = 240.0  # two of the collections that a program in Go makes every two minutes
CHECK_INS, INVENTORIES = 40, 5
PACE_S = 1.0  # between two signals; a check-in takes some milliseconds
CHECK_INS_AN_HOUR, INVENTORIES_AN_HOUR = 2, 1 / 8
HOUR_S = 3600


class Taken(NamedTuple):
    """Processor time and bytes on the wire, of some seconds."""

    cpu_s: float
    wire: int
    seconds: float

    def less(self, other: Taken) -> Taken:
        """Return the difference to an earlier reading."""
        return Taken(self.cpu_s - other.cpu_s, self.wire - other.wire, self.seconds - other.seconds)

    def of_one(self, count: int, waiting: Taken) -> Taken:
        """Return what each of `count` events took, above what waiting would have taken in the same time."""
        share = self.seconds / waiting.seconds
        return Taken(
            (self.cpu_s - waiting.cpu_s * share) / count,
            round((self.wire - waiting.wire * share) / count),
            self.seconds / count,
        )


NOTHING = Taken(0, 0, 1)


@dataclass
class Daemon:
    """One daemon, and what was read of it."""

    name: str
    command: Command
    check_ins: Callable[[], int]
    """How many have been made so far."""
    process: subprocess.Popen[bytes] | None = None
    memories: list[Memory] = field(default_factory=list)
    waiting: Taken = NOTHING
    check_in: Taken = NOTHING
    inventory: Taken = NOTHING

    @property
    def pid(self) -> int:
        """The daemon's process id; `ip netns exec` becomes what it runs."""
        assert self.process is not None
        assert self.process.poll() is None, f"{self.name} has ended: {self.command.output.read_text()[-2000:]}"
        return self.process.pid

    def await_first_check_in(self) -> None:
        """Wait for it; raises AssertionError with the daemon's last words."""
        try:
            wait_until(lambda: self.check_ins() > 0, PATIENCE_S, f"the first check-in of {self.name}")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.command.output.read_text(encoding='utf-8')[-2000:]}") from error

    def read(self) -> Taken:
        """Return what it has taken so far."""
        return Taken(processor_s(self.pid), wire_bytes(self.name), time.monotonic())

    def an_hour(self) -> Taken:
        """Return what an hour takes."""
        share = HOUR_S / self.waiting.seconds
        cpu_s, wire = self.waiting.cpu_s * share, self.waiting.wire * share
        for one, times in ((self.check_in, CHECK_INS_AN_HOUR), (self.inventory, INVENTORIES_AN_HOUR)):
            cpu_s, wire = cpu_s + one.cpu_s * times, wire + one.wire * times
        return Taken(cpu_s, round(wire), HOUR_S)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=WAIT_S, help="of waiting that are measured")
    arguments = parser.parse_args(argv)
    enter_device("--net")
    print(f"footprint: {arguments.seconds:.0f} s of waiting, {CHECK_INS} check-ins; {machine()}")
    with tempfile.TemporaryDirectory(prefix="wb-") as name, ExitStack() as stack:
        folder = Path(name)
        make_networks()
        make_certificate(folder)
        url = stack.enter_context(broker(folder))
        system = stack.enter_context(System(folder / "system", url, auto_accept=True))
        server = stack.enter_context(mender_server(folder))
        wain = wain_command(folder / "wain", system.stage.prefix)
        daemons = [
            Daemon("wain", wain, lambda: wain.output.read_text(encoding="utf-8").count(" checks in (")),
            Daemon("mender", mender_command(folder / "mender"), lambda: server.check_ins),
        ]
        for daemon in daemons:
            daemon.process = daemon.command.start()
            stack.callback(end, daemon.process)
        measure(daemons, arguments.seconds)
    report(daemons)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a daemon."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def measure(daemons: Sequence[Daemon], seconds: float) -> None:
    """Carry out the three steps with all daemons at once."""
    for daemon in daemons:
        daemon.await_first_check_in()
    time.sleep(SETTLE_S)
    before = [daemon.read() for daemon in daemons]
    time.sleep(seconds)
    for daemon, then in zip(daemons, before, strict=True):
        daemon.waiting = daemon.read().less(then)
        daemon.memories.append(memory([daemon.pid]))
    for daemon, taken in zip(daemons, signalled(daemons, signal.SIGUSR1, CHECK_INS), strict=True):
        daemon.check_in = taken
    for daemon, taken in zip(daemons, signalled(daemons, signal.SIGUSR2, INVENTORIES), strict=True):
        daemon.inventory = taken
        daemon.memories.append(memory([daemon.pid]))


def signalled(daemons: Sequence[Daemon], number: signal.Signals, times: int) -> list[Taken]:
    """Send a signal so many times to all; returns what one of what it asks for has taken of each."""
    before = [(daemon.read(), daemon.check_ins()) for daemon in daemons]
    for _ in range(times):
        for daemon in daemons:
            os.kill(daemon.pid, number)
        time.sleep(PACE_S)
    time.sleep(2 * PACE_S)
    found = []
    for daemon, (then, count) in zip(daemons, before, strict=True):
        done = daemon.check_ins() - count if number is signal.SIGUSR1 else times
        assert done >= times * 0.8, f"{daemon.name} made {done} of {times} check-ins"
        found.append(daemon.read().less(then).of_one(done, daemon.waiting))
    return found


def report(daemons: Sequence[Daemon]) -> None:
    """Print all figures, and the ratios of the first daemon's to the second's."""
    for daemon in daemons:
        idle, later = daemon.memories
        hour = daemon.an_hour()
        print(f"{daemon.name}:")
        for when, found in (("idle", idle), ("after the check-ins", later)):
            shown = f"RSS {found.rss / MIB:.1f}, PSS {found.pss / MIB:.1f}, PSS were no other Python running"
            print(f"  {when + ',':21}MiB: {shown} {found.alone / MIB:.1f}")
        for what, one in (("a minute of waiting", daemon.waiting), ("a check-in", daemon.check_in)):
            share = 60 / one.seconds if one is daemon.waiting else 1
            print(f"  {what:20} {1000 * one.cpu_s * share:.1f} ms of CPU, {one.wire * share:,.0f} bytes on the wire")
        print(f"  {'an inventory':20} {1000 * daemon.inventory.cpu_s:.1f} ms of CPU, {daemon.inventory.wire:,} bytes")
        print(f"  {'an hour, computed':20} {hour.cpu_s:.2f} s of CPU, {hour.wire / 1000:,.1f} kB on the wire")
    ours, peer = daemons
    alone = ours.memories[0].alone / peer.memories[0].alone
    hours = ours.an_hour(), peer.an_hour()
    cpu, wire = hours[0].cpu_s / hours[1].cpu_s, hours[0].wire / hours[1].wire
    print(f"wain of mender: memory {alone:.2f}, CPU in an hour {cpu:.2f}, bytes in an hour {wire:.2f}")


if __name__ == "__main__":
    main()
