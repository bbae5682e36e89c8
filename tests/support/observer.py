"""Looks into the store of a running controller again and again, and holds what must be true after every transaction.

The rules say it in their words; here it is said in SQL, over what is committed, whoever commits it. Each look is one
snapshot, so that no look is wrong because something changed meanwhile.
"""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import NamedTuple, Self

PAUSE_S = 0.1  # between two looks: a deployment moves on a few times a second
STOP_S = 60.0

COUNTED = "SELECT deployment_id, phase, status, count(*) FROM device_deployment GROUP BY 1, 2, 3"
TOLD = "SELECT deployment_id, phase, status, n FROM tally WHERE n <> 0"
IN_CLOSED_PHASES = """
    SELECT part.deployment_id, part.device_id FROM device_deployment part
    JOIN phase ON phase.deployment_id = part.deployment_id AND phase.number = part.phase
    WHERE phase.opened_at IS NULL AND (part.offered OR part.started_at IS NOT NULL)
"""
OVERTAKEN = """
    SELECT younger.deployment_id, younger.device_id FROM device_deployment younger
    JOIN device_deployment older ON older.device_id = younger.device_id AND older.sequence < younger.sequence
    WHERE younger.offered AND older.finished_at IS NULL
"""
SIZES = """
    SELECT deployment.id, device_count, max_devices,
        (SELECT count(*) FROM device_deployment part WHERE part.deployment_id = deployment.id),
        (SELECT sum(size) FROM phase WHERE phase.deployment_id = deployment.id),
        (SELECT count(*) FROM device_deployment part WHERE part.deployment_id = deployment.id
            AND part.offered AND part.finished_at IS NULL),
        coalesce(json_extract(pace, '$.concurrency'), 1e9)
    FROM deployment
"""
ENDED = "SELECT deployment_id, device_id, status, finished_at FROM device_deployment WHERE finished_at IS NOT NULL"
OFFERED = "SELECT deployment_id, device_id, attempt FROM device_deployment WHERE offered"
STANDING = "SELECT id, status, coalesce(hold, ''), coalesce(outcome, ''), coalesce(resumed_at, 0) FROM deployment"
MAKES_NO_OFFERS = {"paused", "awaiting-approval", "awaiting-start", "scheduled"}


class Standing(NamedTuple):
    """A deployment at one look."""

    status: str
    hold: str
    outcome: str
    resumed_at: float


class Observer:
    """Use it with `with`; it raises at the end what it has seen that must not be. `looks` counts."""

    def __init__(self, path: Path) -> None:
        self.looks = 0
        self.violations: list[str] = []
        self._path = path
        self._standings: dict[str, Standing] = {}
        self._ends: dict[tuple[str, str], tuple[str, float]] = {}
        self._offered: dict[tuple[str, str], int] = {}
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="observer", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._stopping.set()
        self._thread.join(STOP_S)
        assert not self._thread.is_alive(), f"the observer did not end within {STOP_S:.0f} s"
        if kind is None:
            self.look()
        assert not self.violations, "\n".join(self.violations[:20])

    def _run(self) -> None:
        while not self._stopping.wait(PAUSE_S):
            try:
                self.look()
            except Exception as error:  # noqa: BLE001  a thread's error would be printed, and forgotten
                self.violations.append(f"the observer could not look: {error!r}")
                return

    def look(self) -> None:
        """Take one snapshot, and note what is wrong in it or since the one before."""
        with closing(sqlite3.connect(f"file:{self._path}?mode=ro", uri=True, timeout=STOP_S)) as store:
            store.execute("BEGIN")
            self._hold(sorted(store.execute(COUNTED)) == sorted(store.execute(TOLD)), "the counts are not the rows")
            for query, words in ((IN_CLOSED_PHASES, "began in a closed phase"), (OVERTAKEN, "overtook an older one")):
                wrong = store.execute(query).fetchall()
                self._hold(not wrong, f"{wrong[:3]} {words}")
            for deployment, count, most, parts, places, under_way, at_once in store.execute(SIZES):
                self._hold(count == parts == places, f"{deployment} counts {count} devices, has {parts} in {places}")
                self._hold(most is None or count <= most, f"{deployment} has {count} devices, at most {most}")
                self._hold(under_way <= at_once, f"{deployment}: {under_way} under way, at most {at_once}")
            standings = {row[0]: Standing(*row[1:]) for row in store.execute(STANDING)}
            self._compare(standings, store.execute(ENDED).fetchall(), store.execute(OFFERED).fetchall())
        self.looks += 1

    def _compare(
        self,
        standings: dict[str, Standing],
        ended: list[tuple[str, str, str, float]],
        offered: list[tuple[str, str, int]],
    ) -> None:
        for deployment, device, status, at in ended:
            before = self._ends.setdefault((deployment, device), (status, at))
            self._hold(before == (status, at), f"{device} ended {deployment} as {before}, then as {(status, at)}")
        self._hold(len(ended) == len(self._ends), "a device that had ended a deployment goes on with it")
        for deployment, was in self._standings.items():
            now = standings[deployment]
            if was.status == "finished":
                self._hold(now.status == "finished", f"{deployment} had finished, and is {now.status}")
                self._hold(now.outcome in {was.outcome, "rolled-back"}, f"{deployment} was {was.outcome}: {now}")
        for deployment, device, attempt in offered:
            is_new = self._offered.get((deployment, device), 0) < attempt
            self._offered[deployment, device] = attempt
            if is_new and deployment in self._standings:
                was, now = self._standings[deployment], standings[deployment]
                stood = was.hold in MAKES_NO_OFFERS and now.hold == was.hold and now.resumed_at == was.resumed_at
                self._hold(not stood, f"{deployment} is {now.hold}, and was offered to {device}")
                self._hold(was.status != "finished", f"{deployment} had finished, and was offered to {device}")
        self._standings = standings

    def _hold(self, holds: bool, words: str) -> None:  # noqa: FBT001  it is the sentence's verb
        if not holds:
            self.violations.append(words)
