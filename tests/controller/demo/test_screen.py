"""What the demo says about two looks at a deployment."""

from __future__ import annotations

import io
import os
import pty
import termios
from typing import Any

import pytest

from wainwright_controller.demo.screen import Log, Look, Terminal, bars, folded, sentences, size_of


def look(first: str, second: str = "pending", **phase: str) -> Look:
    """Return a look at a deployment of two devices in one phase."""
    parts: dict[str, Any] = {
        "press-01": {"status": first, "phase": 1},
        "press-02": {"status": second, "phase": 1, "error": {"code": "install-failed", "text": "It does not start."}},
    }
    phases = [{"number": 1, "size": 2, **phase}]
    return Look({"name": "next", "artifact_name": "hello", "summary": "0/2 successful", "phases": phases}, parts)


def test_the_first_look_says_what_is_not_pending_any_more() -> None:
    said = list(sentences(None, look("downloading", opened_at="T")))
    assert said == ["Phase 1 of 1 opens: 2 devices may take hello.", "press-01 downloads hello."]


def test_a_change_is_said_once() -> None:
    before, now = look("downloading", opened_at="T"), look("installing", "failure", opened_at="T", done_at="T")
    assert list(sentences(before, now)) == [
        "press-01 installs hello.",
        "press-02 could not be updated (install-failed): It does not start.",
        "Phase 1 of 1 is done.",
    ]
    assert list(sentences(now, now)) == []


def test_bars_show_how_far_each_download_is() -> None:
    now = look("downloading", "success")
    now.parts["press-01"]["progress"] = {"done": 50, "total": 100}
    summary, first, second = bars(now, {})
    assert summary == "next: 0/2 successful"
    assert " 45%  downloading" in first
    assert "100%  success" in second


def test_a_log_has_no_control_characters_and_a_terminal_is_drawn_again_in_place() -> None:
    log, terminal = io.StringIO(), io.StringIO()
    for screen in (Log(log), Terminal(terminal)):
        screen.show(look("downloading"))
        screen.show(look("success"))
        screen.rest()
        screen.say("Done.")
    assert "\x1b" not in log.getvalue()
    assert terminal.getvalue().count("\x1b[3F\x1b[J") == 1
    assert terminal.getvalue().endswith("Done.\n")


def test_the_bar_of_a_failed_device_stops_where_it_was() -> None:
    terminal = io.StringIO()
    screen = Terminal(terminal)
    screen.show(look("success", "installing"))
    screen.show(look("success", "failure"))
    last = terminal.getvalue().splitlines()[-2]
    assert " 90%  failure  install-failed" in last


def test_failures_are_shown_before_what_is_well_where_there_is_no_room_for_all() -> None:
    parts = {f"press-{n:02}": {"status": "success", "phase": 1} for n in range(30)}
    parts["press-29"] = {"status": "failure", "phase": 1}
    now = Look(look("success").deployment, parts)
    lines = list(bars(now, {}, rows=20))
    assert len(lines) == 20
    assert any("press-29" in line for line in lines)
    assert lines[-1] == "  and 12 more"


def test_sentences_are_folded_at_words_and_commands_are_not() -> None:
    assert folded("12 devices are accepted.", 20) == ["12 devices are", "accepted."]
    command = "  wainwright deployment create hello-2.0 --watch"
    assert folded(command, 20) == [command]


def test_the_size_is_that_of_the_terminal_and_not_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    leader, follower = pty.openpty()
    with os.fdopen(leader), os.fdopen(follower, "w") as out:
        assert size_of(out) == (80, 24)  # a new one does not say
        termios.tcsetwinsize(follower, (30, 100))
        assert size_of(out) == (100, 30)
