"""A short run of each target, the corpus, and that faults of every kind would be seen."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.fuzz import decoder, reader
from tests.fuzz.engine import CORPUS
from tests.fuzz.target import BrokenOracleError, Target, Watch, check_text
from wainwright_common.artifact import Rule

ROOT = Path(__file__).parents[2]
TARGETS = {"decoder": decoder.TARGET, "reader": reader.TARGET}
LONG = [pytest.mark.long, pytest.mark.timeout(3600)]
SHORT = [pytest.mark.timeout(600)]  # on a busy machine
RUNS = [  # inputs: some seconds each, and some minutes
    pytest.param("decoder", 10_000, marks=SHORT),
    pytest.param("reader", 1_000, marks=SHORT),
    pytest.param("decoder", 1_000_000, marks=LONG),
    pytest.param("reader", 100_000, marks=LONG),
]
OUTCOMES = {"decoder": 5, "reader": 15}  # that a short run must reach, or its mutations are worth nothing
HANG_S = 5  # of what is stuck; so long may an input that is harmless be kept from running
HEAP: list[bytes] = []


def plant(data: bytes) -> str:
    """Fail in the way that an input names."""
    if b"wrong" in data:
        raise ValueError("planted")
    if b"slow" in data:
        began = time.process_time()
        while time.process_time() - began < 1.2:
            pass
    if b"stuck" in data:
        time.sleep(100)
    if b"large" in data:
        HEAP.append(b"x" * 2**30)
    return "harmless"


def planted(fault: str) -> Target:
    """A target whose second input has a fault; the first one is empty."""
    return Target("planted", plant, lambda _data, _size, _seed: fault.encode(), dict, 100)


@pytest.mark.parametrize("name", TARGETS)
def test_every_input_of_the_corpus_keeps_the_rules(name: str) -> None:
    watch = Watch(TARGETS[name])
    files = sorted((CORPUS / name).iterdir())
    for file in files:
        watch.run(file.read_bytes())
    assert watch.inputs == len(files)
    assert set(TARGETS[name].seeds()) <= {file.name for file in files}
    assert watch.outcomes["accepted"] == len(TARGETS[name].seeds())
    assert sum(file.stat().st_size for file in files) < 100_000


@pytest.mark.parametrize(("name", "inputs"), RUNS)
def test_a_run_finds_no_fault(name: str, inputs: int, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.fuzz", name, "--inputs", str(inputs), "--faults", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    first, _, _, *outcomes = done.stdout.splitlines()
    assert first.startswith(f"{name}: {inputs} inputs in ")
    assert len(outcomes) >= OUTCOMES[name]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("wrong", "ValueError: planted"),
        ("slow", "of processor time"),
        ("stuck", "timeout after"),
        ("large", "MemoryError"),
    ],
)
def test_a_fault_ends_the_run_and_leaves_its_input(fault: str, said: str, tmp_path: Path) -> None:
    program = (
        "import pathlib; from tests.fuzz import engine, test_fuzz;"
        f"engine.HANG_S = {HANG_S if fault == 'stuck' else 60}; engine.CORPUS = pathlib.Path({str(tmp_path)!r});"
        f"engine.fuzz(lambda: test_fuzz.planted({fault!r}), 1000, 1, pathlib.Path({str(tmp_path / 'faults')!r}))"
    )
    (tmp_path / "planted").mkdir()
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert said in done.stderr + done.stdout, done.stderr
    (left,) = (tmp_path / "faults").iterdir()
    assert left.read_bytes() == fault.encode()


def test_an_error_that_would_write_into_a_log_or_fill_it_is_a_fault() -> None:
    for text in ("two\nlines", "\x1b[31m", "a" * 1001):
        with pytest.raises(BrokenOracleError):
            check_text(text)
    check_text("The artifact has \ufffd where it cannot be.")


def test_the_mutations_of_artifacts_reach_every_rule_but_those_that_need_more_than_a_change() -> None:
    watch = Watch(reader.TARGET)
    seeds = list(reader.TARGET.seeds().values())
    for seed in range(2000):
        watch.run(reader.TARGET.mutate(seeds[seed % len(seeds)], reader.SIZE_MAX, seed))
    missing = set(Rule) - set(watch.outcomes)
    assert len(missing) < 12, missing
