"""Following a deployment: in a log, on a terminal, across a restart, until Ctrl+C."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.controller.api.served import Json, Served
from tests.controller.cli.conftest import Ran, Run
from tests.support.mosquitto import Mosquitto
from tests.support.wait import PATIENCE_S, wait_until
from wainwright_common.statuses import DeviceStatus
from wainwright_controller.cli.narration import progress_told

COMMAND = [sys.executable, "-m", "wainwright_controller"]
SENTENCE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ [0-9a-f]{8} .+")


@pytest.fixture(autouse=True)
def _nobody_listens(served: Served) -> None:
    """A watcher of the test before is gone, so that `listening` waits for this test's."""
    wait_until(lambda: not served.controller.context.crowd.streams.inside, what="the watchers to be gone")


def deploy(served: Served, name: str, count: int, **order: object) -> tuple[Json, list[str]]:
    devices = [f"{name}-{number}" for number in range(1, count + 1)]
    served.accept(*devices)
    return served.deploy("panel-2", *devices, name=name, **order), devices


@contextmanager
def in_background(run: Run, line: str) -> Iterator[list[Ran]]:
    """Run a command in a thread; what it came to is in the list when the block is left."""
    ran: list[Ran] = []
    thread = threading.Thread(target=lambda: ran.append(run(line)))
    thread.start()
    yield ran
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


def listening(served: Served) -> None:
    wait_until(lambda: served.controller.bulletin._waiting, what="the watcher")


def test_in_a_log_there_is_one_sentence_for_each_change_and_exit_code_0_for_success(run: Run, served: Served) -> None:
    made, devices = deploy(served, "logged", 3, phases=[{"count": 2}, {}])
    with in_background(run, "deployment watch logged") as ran:
        listening(served)
        served.carry_out(made["id"], *devices)
    lines = ran[0].out.splitlines()
    assert ran[0].code == 0
    assert lines[-1] == "logged: success, 3/3 successful."
    assert all(SENTENCE.fullmatch(line) for line in lines[:-1]), lines
    told = [line.split(" ", 2)[2] for line in lines[:-1]]
    assert told.index("phase 1 of 2 is done") < told.index("phase 2 of 2 opened") < told.index("finished: success")
    assert len(told) == len(set(told))


def test_a_deployment_with_failures_ends_the_watch_with_exit_code_1(run: Run, served: Served) -> None:
    made, devices = deploy(served, "failing", 2)
    with in_background(run, "deployment watch failing") as ran:
        listening(served)
        served.carry_out(made["id"], devices[0])
        served.carry_out(made["id"], devices[1], status=DeviceStatus.FAILURE)
    assert ran[0].code == 1
    assert "failing-2: failure (no-space: disk full)" in ran[0].out
    assert ran[0].out.splitlines()[-1] == "failing: partial, 1/2 successful, 1 device failed."


def test_a_deployment_that_is_over_is_told_at_once(run: Run, served: Served) -> None:
    made, _ = deploy(served, "over", 1)
    served.post(f"deployments/{made['id']}/abort")
    assert run("deployment watch over").code == 1
    shown = run("deployment watch over -o json")
    assert (shown.code, shown.json["outcome"]) == (1, "aborted")


def test_a_timeout_ends_the_watch_with_exit_code_8_and_leaves_the_deployment(run: Run, served: Served) -> None:
    made, _ = deploy(served, "slow", 1)
    ran = run("deployment watch slow --timeout 0.5s")
    assert (ran.code, "deployment watch" in ran.err) == (8, True)
    assert served.get(f"deployments/{made['id']}")["status"] == "pending"


def test_a_watch_until_it_is_held_ends_with_exit_code_8_and_says_what_a_person_can_do(run: Run, served: Served) -> None:
    made, devices = deploy(served, "held", 2, phases=[{"count": 1}, {"opens": "approval"}])
    with in_background(run, "deployment watch held --until-held") as ran:
        listening(served)
        served.carry_out(made["id"], devices[0])
    told = f"It is awaiting-promotion.\nTo open the next phase: wainwright deployment promote {made['id'][:8]}\n"
    assert (ran[0].code, ran[0].err) == (8, told)
    served.post(f"deployments/{made['id']}/pause", {"reason": "lunch"})
    shown = run("deployment watch held --until-held -o json")
    assert (shown.code, shown.json["hold"], "paused: lunch." in shown.err) == (8, "paused", True)
    assert run("deployment create panel-2 --device held-1 --until-held").code == 2


def test_in_a_log_a_large_phase_is_told_of_by_tenths() -> None:
    before = {"id": "0123456789", "phases": [{"number": 1, "size": 200, "counts": {"pending": 200}}]}

    def told(done: int) -> list[str]:
        counts = {"success": done - 1, "failure": 1, "pending": 200 - done}
        after = {"id": "0123456789", "phases": [{"number": 1, "size": 200, "counts": counts}]}
        return list(progress_told(before, after, "now"))

    assert (told(19), told(200)) == ([], [])
    assert told(20) == ["now 01234567 20 of 200 finished, 1 failed"]


def test_json_lines_are_one_state_for_each_change(run: Run, served: Served) -> None:
    made, devices = deploy(served, "lines", 1)
    with in_background(run, "deployment watch lines -o jsonl") as ran:
        listening(served)
        served.carry_out(made["id"], *devices)
    states = [json.loads(line) for line in ran[0].out.splitlines()]
    assert (states[0]["status"], states[-1]["outcome"]) == ("pending", "success")


def test_create_with_watch_tells_the_deployment_from_its_first_line_on(run: Run, served: Served) -> None:
    served.accept("created-1")
    with in_background(run, "deployment create panel-2 --device created-1 --name created --watch") as ran:
        listening(served)
        served.carry_out(served.get("deployments/created")["id"], "created-1")
    assert ran[0].code == 0
    assert "created for 1 device" in ran[0].out.splitlines()[0]


def test_a_watch_goes_on_when_the_controller_restarts_and_tells_nothing_twice(
    run: Run, tmp_path: Path, own_mosquitto: Mosquitto
) -> None:
    with Served(tmp_path / "restarted", own_mosquitto) as restarted:
        restarted.release("panel-2")
        made, devices = deploy(restarted, "restart", 2)
        with in_background(run, f"--controller {restarted.url} deployment watch restart") as ran:
            listening(restarted)
            restarted.carry_out(made["id"], devices[0])
            restarted.stop()
            restarted.start()
            restarted.carry_out(made["id"], devices[1])
    assert ran[0].code == 0
    assert ran[0].err == "Lost the controller; looking for it again.\n"
    assert ran[0].out.splitlines()[-1] == "restart: success, 2/2 successful."
    assert len(set(ran[0].out.splitlines())) == len(ran[0].out.splitlines())


def environment(served: Served) -> dict[str, str]:
    return os.environ | {"WAINWRIGHT_CONTROLLER": served.url, "TERM": "xterm", "COLUMNS": "100", "LINES": "30"}


def test_ctrl_c_stops_the_watching_and_leaves_the_deployment_running(served: Served) -> None:
    made, _ = deploy(served, "interrupted", 1)
    with subprocess.Popen(
        [*COMMAND, "deployment", "watch", "interrupted"],
        env=environment(served),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        listening(served)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 130
    assert "the deployment itself was not touched" in err
    assert served.get(f"deployments/{made['id']}")["status"] == "pending"


def on_terminal(served: Served, *words: str, typed: str = "") -> tuple[int, str]:
    """Run a command on a terminal of its own; `typed` is typed when it asks something."""
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *words], env=environment(served), stdin=follower, stdout=follower, stderr=follower
    )
    os.close(follower)
    shown = b""
    while True:
        try:
            piece = os.read(leader, 65536)
        except OSError:  # the other end is closed: Linux says so with an error
            break
        shown += piece
        if typed and b"Type " in shown:
            os.write(leader, typed.encode())
            typed = ""
    os.close(leader)
    return process.wait(PATIENCE_S), shown.decode()


def test_on_a_terminal_there_are_bars_for_each_phase(served: Served) -> None:
    made, devices = deploy(served, "barred", 3, phases=[{"count": 1}, {"opens": "approval"}])
    served.carry_out(made["id"], devices[0])
    shown: list[tuple[int, str]] = []
    thread = threading.Thread(target=lambda: shown.append(on_terminal(served, "deployment", "watch", "barred")))
    thread.start()
    listening(served)
    served.post(f"deployments/{made['id']}/promote")
    served.carry_out(made["id"], *devices[1:])
    thread.join(PATIENCE_S)
    code, screen = shown[0]
    assert code == 0
    for expected in ("phase 1", "phase 2", "1/1", "2/2", "━", "when promoted", "Ctrl+C"):
        assert expected in screen
    assert screen.rstrip().endswith("barred: success, 3/3 successful.")


def test_on_a_terminal_a_list_fits_and_words_stay_whole(served: Served) -> None:
    name = "a name of a deployment that is a good deal longer than any terminal would like to have it"
    made, _ = deploy(served, "wide", 1)
    served.post(f"deployments/{made['id']}/abort")
    made = served.deploy("panel-2", "wide-1", name=name)
    served.post(
        f"deployments/{made['id']}/pause", {"reason": "it waits for a spare part that will come tomorrow or later"}
    )
    for words in (["deployment", "list"], ["deployment", "show", made["id"]], ["why", "wide-1"], ["why", "nobody"]):
        _, screen = on_terminal(served, *words)
        assert all(len(line) <= 80 for line in screen.splitlines()), screen
    _, listed = on_terminal(served, "deployment", "list")
    (row,) = [line for line in listed.splitlines() if line.startswith(made["id"][:8])]
    assert "a name of a dep" in row
    assert "…" in row
    assert row.rstrip().endswith("0/1 successful")
    _, shown = on_terminal(served, "deployment", "show", made["id"])
    assert name in " ".join(shown.split())


@pytest.mark.parametrize("typed", ["SHORT\n", "NAME\n"])
def test_a_name_of_several_words_need_not_be_typed(served: Served, typed: str) -> None:
    served.accept("long-1")
    made = served.deploy("panel-2", "long-1", name=f"to be typed {len(typed)}")
    typed = typed.replace("SHORT", made["id"][:8]).replace("NAME", made["name"])
    code, screen = on_terminal(served, "deployment", "abort", made["id"], typed=typed)
    assert (code, f"Type {made['id'][:8]} to abort it" in screen) == (0, True), screen


@pytest.mark.parametrize(("typed", "code", "outcome"), [("asked\n", 0, "aborted"), ("no\n", 4, None), ("\n", 4, None)])
def test_what_cannot_be_undone_wants_the_name_to_be_typed(
    served: Served, typed: str, code: int, outcome: str | None
) -> None:
    made, _ = deploy(served, "asked", 1)
    came_to, screen = on_terminal(served, "deployment", "abort", made["id"], typed=typed)
    assert (came_to, "It cannot be resumed." in " ".join(screen.split())) == (code, True), screen
    assert served.get(f"deployments/{made['id']}").get("outcome") == outcome
    if outcome is None:
        assert "nothing was changed" in screen
