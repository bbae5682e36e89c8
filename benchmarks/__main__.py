"""`make bench`: all benchmarks, one after the other."""

from __future__ import annotations

from benchmarks import latency, selection, throughput

for benchmark in (selection, throughput, latency):
    benchmark.main([])
