"""An agent's updater in a process of its own, to be killed in downloads: `python -m tests.support.download_driver LAB`.

It takes LAB/config.json and LAB/offer.json, gives the offer to the updater whenever that wants one, acknowledges every
report, and ends with status 0 when no update runs any more, however long that takes.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path

import msgspec

from wainwright_agent.actions import Limits
from wainwright_agent.config import Config
from wainwright_agent.journal import Journal
from wainwright_agent.update import Updater
from wainwright_common.messages import Ack, Offer, Report, Verdict


def main(lab: Path) -> None:
    """Run until idle."""
    decode = msgspec.json.decode
    config = decode((lab / "config.json").read_bytes(), type=Config, dec_hook=lambda kind, value: kind(value))
    offer = decode((lab / "offer.json").read_bytes(), type=Offer)
    journal = Journal.open(config.data_dir)

    def publish(report: Report) -> None:
        key = {"deployment_id": report.deployment_id, "attempt": report.attempt, "seq": report.seq}
        updater.verdict(msgspec.convert({**key, "verdict": Verdict.ACCEPTED}, Ack))

    updater = Updater(config, journal, publish=publish, limits=Limits(grace_s=0.3))
    if journal.state.update is None:
        updater.offer(offer)
    new = lab / "driver.pid.new"  # there before the download begins, in which it says whom to kill
    new.write_text(str(os.getpid()))
    new.replace(lab / "driver.pid")
    worker = threading.Thread(target=updater.run, daemon=True)
    worker.start()
    while journal.state.update is not None:
        if updater.needs_link:
            updater.offer(offer)
        time.sleep(0.02)
    updater.stop()
    worker.join()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
