"""Somebody with his hands in the database cuts the audit log and repairs the chain: the controller's log tells."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.support.mosquitto import Mosquitto
from tests.support.serve import Serve
from tests.support.wait import wait_until

ANCHOR = re.compile(r"the audit log has the anchor (\d+:[0-9a-f]{64})")


def cut(controller: Serve, keep: int) -> None:
    """Remove all entries but the first ones, and the head with them, as somebody would who knows how it works."""
    with closing(sqlite3.connect(controller.data_dir / "wainwright.db")) as store, store:
        last = store.execute("SELECT hash FROM audit WHERE number = ?", (keep,)).fetchone()[0]
        store.execute("DELETE FROM audit WHERE number > ?", (keep,))
        store.execute("UPDATE setting SET value = ? WHERE key = 'audit-head'", (f"{keep}:{last}",))


def test_a_tail_that_was_cut_off_with_its_head_is_found_by_the_anchor_in_the_log(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    with Serve(tmp_path, mosquitto.url) as controller:
        for number in range(5):
            controller.person(f"user-{number}", "viewer")
        controller.call("POST", "users", json={"name": "user-1", "role": "admin"})
    with Serve(tmp_path, mosquitto.url) as controller:
        anchor = wait_until(
            lambda: next((one for one in ANCHOR.findall(controller.log) if one.startswith("11:")), ""),
            what="the anchor",
        )
        assert controller.good("GET", "audit/verify", params={"anchor": anchor})["whole"]
    cut(controller, keep=8)
    with Serve(tmp_path, mosquitto.url) as controller:
        assert controller.good("GET", "audit/verify")["whole"], "the chain alone cannot know"
        found = controller.good("GET", "audit/verify", params={"anchor": anchor})
        assert (found["whole"], "Entry 11 was noted elsewhere" in found["fault"]) == (False, True)
