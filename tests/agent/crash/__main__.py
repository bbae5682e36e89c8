"""Runs schedules of crashes and prints how many: `python -m tests.agent.crash`, all of them without options."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.agent.crash.bench import WAYS
from tests.agent.crash.conductor import DISK_FULL, KILLS
from tests.agent.crash.plans import Plan, plans
from tests.agent.crash.schedules import explore


def main() -> int:
    """Print the figures; exit status 1 when anything was wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.agent.crash", description=__doc__)
    parser.add_argument("--way", action="append", choices=list(WAYS), help="only this way of an update; repeatable")
    parser.add_argument("--kind", action="append", choices=[*KILLS, *DISK_FULL], help="only this fault; repeatable")
    parser.add_argument(
        "--second", choices=["none", "effects", "marks", "all"], default=None, help="points of a second fault"
    )
    parser.add_argument("--workers", type=int, default=2, help="devices at a time; one for each core")
    arguments = parser.parse_args()
    chosen = [
        plan if arguments.second is None else Plan(plan.way, plan.kind, plan.first, arguments.second)
        for plan in plans()
        if plan.way in (arguments.way or WAYS) and plan.kind in (arguments.kind or [*KILLS, *DISK_FULL])
    ]
    with tempfile.TemporaryDirectory(prefix="crash-") as folder:
        summary = explore(Path(folder), chosen, workers=arguments.workers, say=print)
    print(summary)
    return 1 if summary.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
