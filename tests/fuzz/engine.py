"""Runs a target under atheris: the only file that knows it.

libFuzzer keeps inputs that reach something new. What is new is told by the branches of our Python code, and by the
outcomes, which stand for the branches of the decoders in C that nobody can look into.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.fuzz.target import MEMORY_MAX, Target, Watch, bound_memory, peak_memory

CORPUS: Final = Path(__file__).with_name("corpus")
PACKAGE: Final = "wainwright_common"
_LANDMARKS: Final = 1 << 14  # counters for outcomes; two that share one cost a little guidance, nothing else
HANG_S: Final = 60  # by the clock: what waits takes no processor time, and a busy machine makes a nice process wait
MIB: Final = 2**20


def fuzz(load: Callable[[], Target], inputs: int, seed: int, faults: Path) -> None:
    """Run so many inputs and end the process: exit code 0, or another one after the first fault.

    The input with a fault is left in the folder `faults`. `load` imports the target, whose branches are counted then.
    """
    import atheris

    with atheris.instrument_imports(include=[PACKAGE]):
        target = load()
    watch = Watch(target)
    counters = [atheris._reserve_counter() for _ in range(_LANDMARKS)]  # there is no public way
    every = max(inputs // 10, 1)
    began = time.monotonic()

    def one(data: bytes) -> None:
        outcome = watch.run(data)
        atheris._trace_branch(counters[zlib.crc32(outcome.encode()) % _LANDMARKS])
        if watch.inputs % every == 0:
            print(
                f"{watch.inputs} of {inputs} inputs after {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True
            )
        if watch.inputs >= inputs:
            print(report(watch, time.monotonic() - began), flush=True)
            shutil.rmtree(found)
            os._exit(0)  # libFuzzer's own end does not come back here

    faults.mkdir(parents=True, exist_ok=True)
    found = tempfile.mkdtemp(prefix=f"wainwright-fuzz-{target.name}-")
    options = [
        *("-len_control=0", f"-max_len={target.size_max}", f"-seed={seed}", f"-timeout={HANG_S}", "-rss_limit_mb=0"),
        *("-mutate_depth=1", "-reduce_inputs=0", "-cross_over=0"),
        *("-print_final_stats=0", "-verbosity=0", f"-artifact_prefix={faults}/{target.name}-"),
    ]
    atheris.Setup(
        [sys.argv[0], *options, found, str(CORPUS / target.name)],
        one,
        custom_mutator=target.mutate,
    )
    bound_memory(MEMORY_MAX)
    atheris.Fuzz()


def report(watch: Watch, took_s: float) -> str:
    """Return what a run came to, as lines for a person."""
    cpu_ms, wall_ms = watch.slowest_s * 1000, watch.slowest_wall_s * 1000
    lines = [
        f"{watch.target.name}: {watch.inputs} inputs in {took_s:.0f} s, {watch.inputs / took_s:.0f} a second, no fault",
        f"slowest input: {cpu_ms:.0f} ms of processor time; {wall_ms:.0f} ms by the clock",
        f"memory: {peak_memory() // MIB} MiB at most, at most {MEMORY_MAX // MIB} MiB beyond the start allowed",
        *(f"{n:>12} {outcome}" for outcome, n in watch.outcomes.most_common()),
    ]
    return "\n".join(lines)
