"""A process that runs an Updater and nothing else, to be killed: `python updater_driver.py LAB`.

It takes LAB/config.json and LAB/offer.json, gives the offer (or its fresh link) to the updater, acknowledges every
report, writes each to LAB/reports, and ends with status 0 when no update runs any more.

`python updater_driver.py` without a lab reads labs from standard input, one per line, runs each in a fork of itself,
and prints its exit status, negative for a signal: a hundred drivers for the price of one start.
"""

from __future__ import annotations

import os
import sys
import threading
import traceback
from pathlib import Path

import msgspec

from tests.support.wait import wait_until
from wainwright_agent.actions import Limits
from wainwright_agent.config import Config
from wainwright_agent.journal import Journal
from wainwright_agent.update import Updater
from wainwright_common.messages import Ack, Offer, Report, Verdict


def main(lab: Path) -> None:
    """Run until idle."""
    (lab / "driver.pid").write_text(str(os.getpid()))
    config = msgspec.json.decode(
        (lab / "config.json").read_bytes(), type=Config, dec_hook=lambda kind, value: kind(value)
    )
    offer = msgspec.json.decode((lab / "offer.json").read_bytes(), type=Offer)
    journal = Journal.open(config.data_dir)

    def publish(report: Report) -> None:
        with (lab / "reports").open("ab") as file:
            file.write(msgspec.json.encode(report) + b"\n")
        updater.verdict(
            Ack(
                deployment_id=report.deployment_id,
                attempt=report.attempt,
                seq=report.seq,
                verdict=Verdict.ACCEPTED,
            )
        )

    updater = Updater(config, journal, publish=publish, limits=Limits(grace_s=0.3))
    for report in journal.state.outbox:
        publish(report)
    if journal.state.update is None or updater.needs_link:
        updater.offer(offer)
    worker = threading.Thread(target=updater.run)
    worker.start()
    wait_until(lambda: journal.state.update is None, what="the end of the update")
    updater.stop()
    worker.join()


def serve() -> None:
    """Run a lab for each line of standard input."""
    for line in sys.stdin:
        child = os.fork()  # of a process without threads
        if child == 0:
            status = 1
            try:
                main(Path(line.rstrip("\n")))
                status = 0
            except BaseException:  # noqa: BLE001  whatever it is, the parent's loop must not run in the child
                traceback.print_exc()
            finally:
                os._exit(status)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        serve()
