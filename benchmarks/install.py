"""How long an installation takes, beside Debian's mender-client and SWUpdate, and beside the least there is to do.

The same payload into the same file, of the same file system, with an fsync at the end by all; from a file in the page
cache, and from nginx on this machine; not compressed, and by gzip. The contenders take turns; a run counts only if the
payload is where it belongs afterwards. Before each run the medium has everything and the slot is out of the cache.

What is compared is a whole command, from its start to its end. The peers verify the payload's digest as we do;
SWUpdate's image is signed, because Debian's takes no other.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import product
from pathlib import Path

from benchmarks.contenders import CONTENDERS, Case, Contender, write_rootfs_artifacts
from benchmarks.costs import Command, Cost, Memory, cost_of, memory_of
from benchmarks.device import bound, enter_device
from benchmarks.figures import machine
from benchmarks.install_lab import COMPRESSIONS, MIB, Lab, serving

RUNS = 3
SIZE_MIB = 256
MEMORY_SIZES_MIB = (16, 256, 1024)
SOURCES = ("file", "http")
AHEAD = 40  # a priority of sched(7), from 1 to 99; the kernel leaves a twentieth of each second to others


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=RUNS, help="of each contender in each case")
    parser.add_argument("--size", type=int, default=SIZE_MIB, metavar="MIB", help="of the payload whose time is taken")
    parser.add_argument("--only", default="", metavar="WORD", help="only contenders and cases with this in their name")
    parser.add_argument(
        "--memory-sizes", type=int, nargs="+", default=MEMORY_SIZES_MIB, metavar="MIB", help="of payloads for memory"
    )
    parser.add_argument("--ahead", action="store_true", help="run all of this ahead of other work on the machine")
    parser.add_argument("--no-memory", action="store_true", help="do not look at memory")
    arguments = parser.parse_args(argv)
    if arguments.ahead:  # all contenders and the web server inherit it
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(AHEAD))
    enter_device()
    print(f"install: a payload of {arguments.size} MiB, {arguments.runs} runs of each; {machine()}")
    for contender in CONTENDERS:
        print(f"  {contender.kind}  {contender.name:9} {contender.does}")
    with tempfile.TemporaryDirectory(prefix="wb-") as name:
        print_times(Path(name) / "lab", arguments.size, arguments.runs, arguments.only)
    if not arguments.no_memory:
        print_memory(arguments.only, arguments.memory_sizes)


def chosen(only: str) -> list[tuple[str, Case, list[Contender]]]:
    """Return kind, case and contenders of each comparison."""
    found = []
    for kind, (source, compression) in product(("slot", "file"), product(SOURCES, COMPRESSIONS)):
        case = Case(source, compression)
        names = [c for c in CONTENDERS if c.kind == kind and only in f"{kind}, {case}, {c.name}"]
        if names:
            found.append((kind, case, names))
    return found


def print_times(folder: Path, size_mib: int, runs: int, only: str) -> None:
    """Take times, and print them with their ratios to those of the peers in the same runs."""
    with laid_out(folder, size_mib, only) as lab:
        for kind, case, contenders in chosen(only):
            print(f"{kind}, {case}:")
            costs: dict[str, list[Cost]] = {contender.name: [] for contender in contenders}
            for number in range(runs):
                for contender in turned(contenders, number):
                    costs[contender.name].append(one_run(lab, case, contender))
            for name, taken in costs.items():
                print(f"  {name:9} {line(taken, costs)}")


def turned(contenders: Sequence[Contender], number: int) -> Iterable[Contender]:
    """Return the contenders, each run beginning with another one."""
    first = number % len(contenders)
    return (*contenders[first:], *contenders[:first])


def one_run(lab: Lab, case: Case, contender: Contender) -> Cost:
    """Install once."""
    command = ready(lab, case, contender)
    cost = cost_of(command)
    check(lab, contender)
    return cost


def ready(lab: Lab, case: Case, contender: Contender) -> Command:
    """Make everything ready for one run, and wait until the medium has it."""
    contender.target(lab).unlink(missing_ok=True)
    if contender.kind == "slot":
        lab.renew_slot()
    command = contender.make(lab, case)
    os.sync()
    return command


def check(lab: Lab, contender: Contender) -> None:
    """Raise AssertionError unless the payload was installed."""
    target = contender.target(lab)
    with target.open("rb") as installed, lab.image.open("rb") as image:
        while piece := image.read(MIB):
            assert installed.read(MIB) == piece, f"{contender.name} did not install the payload at {target}"
        assert not installed.read(1), f"{target} is too long"


def line(taken: Sequence[Cost], costs: dict[str, list[Cost]]) -> str:
    """Say what one contender took, and how that compares."""
    walls, cpu_s = [cost.wall_s for cost in taken], median_cpu(taken)
    ratios = ", ".join(
        f"{median_wall(taken) / median_wall(other):.2f} of {name}"
        for name, other in costs.items()
        if other is not taken and not name.startswith("wain")
    )
    spread = f"{min(walls):.2f} to {max(walls):.2f}"
    return f"wall {median_wall(taken):.2f} s ({spread}), CPU {cpu_s:.2f} s; wall {ratios}"


def median_wall(taken: Iterable[Cost]) -> float:
    """Return the median of the seconds by the clock."""
    return statistics.median(cost.wall_s for cost in taken)


def median_cpu(taken: Iterable[Cost]) -> float:
    """Return the median of the processors' seconds."""
    return statistics.median(cost.cpu_s for cost in taken)


def print_memory(only: str, sizes_mib: Sequence[int]) -> None:
    """Print the peak of each contender for each size of payload."""
    print("most memory of all processes together, MiB as PSS were no other Python running (sum of RSS), by payload:")
    rows: dict[str, list[Memory]] = {}
    for size_mib in sizes_mib:
        with tempfile.TemporaryDirectory(prefix="wb-") as name, laid_out(Path(name) / "lab", size_mib, only) as lab:
            for kind, case, contenders in chosen(only):
                for contender in contenders if case.source == "http" else ():
                    command = ready(lab, case, contender)
                    rows.setdefault(f"{kind}, {case}, {contender.name}", []).append(memory_of(command))
                    check(lab, contender)
    for label, peaks in rows.items():
        shown = (
            f"{size} MiB: {p.alone / MIB:.1f} ({p.rss / MIB:.1f})" for size, p in zip(sizes_mib, peaks, strict=True)
        )
        print(f"  {label:28} {'   '.join(shown)}")


@contextmanager
def laid_out(folder: Path, size_mib: int, only: str) -> Iterator[Lab]:
    """Make a lab for what is chosen, serve it, and have Mender's places be its."""
    lab = Lab(folder, size_mib * MIB, {case.compression for _, case, _ in chosen(only)})
    write_rootfs_artifacts(lab)
    modules = bound(lab.modules, "/usr/share/mender/modules/v3")
    with bound(lab.folder / "etc", "/etc/mender"), modules, serving(lab):
        yield lab


if __name__ == "__main__":
    main()
