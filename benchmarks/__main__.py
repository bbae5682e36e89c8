"""`make bench`: all benchmarks, one after the other."""

from __future__ import annotations

import subprocess
import sys

# Each in a process of its own: some go on in namespaces, and memory that one has used is nobody else's.
for name in ("selection", "filters", "throughput", "latency", "install", "footprint"):
    subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=True)
