"""`python -m tests.fuzz decoder|reader --inputs N`: fuzz; `python -m tests.fuzz seeds`: write the corpus anew."""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path

from tests.fuzz.engine import CORPUS, fuzz
from tests.fuzz.target import Target

TARGETS = ("decoder", "reader")


def load(name: str) -> Target:
    """Return the target of a name."""
    target: Target = importlib.import_module(f"tests.fuzz.{name}").TARGET
    return target


def main() -> int:
    """Do what the command line says; returns the exit code, if libFuzzer lets it."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("what", choices=[*TARGETS, "seeds"])
    parser.add_argument("--inputs", type=int, default=100_000, help="how many inputs; default %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="of the random numbers; default %(default)s")
    parser.add_argument("--faults", type=Path, default=Path("fuzz-faults"), help="folder for inputs with a fault")
    given = parser.parse_args()
    if given.what == "seeds":
        for name in TARGETS:
            write_seeds(load(name))
    else:
        fuzz(lambda: load(given.what), given.inputs, given.seed, given.faults)
    return 0


def write_seeds(target: Target) -> None:
    """Write the inputs to begin with; those that a fault has added stay."""
    folder = CORPUS / target.name
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in target.seeds().items():
        (folder / name).write_bytes(data)


if __name__ == "__main__":
    sys.exit(main())
