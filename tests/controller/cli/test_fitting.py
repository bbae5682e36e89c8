"""What people read is broken at spaces, and only on a terminal."""

from __future__ import annotations

import io

from wainwright_controller.cli.fitting import columns, fitted, pieces

SENTENCE = "No such deployment: spring. `wainwright deployment list --limit 5` shows all of them."


def test_without_a_terminal_nothing_is_broken() -> None:
    assert columns(io.StringIO()) is None
    assert fitted(SENTENCE * 9, None) == SENTENCE * 9


def test_lines_are_broken_at_spaces_and_hang() -> None:
    assert fitted("error: the controller went away", 20, hanging=7) == "error: the\n       controller\n       went away"


def test_a_command_in_backticks_can_be_copied_as_it_is() -> None:
    lines = fitted(SENTENCE, 44).splitlines()
    assert lines == ["No such deployment: spring.", "`wainwright deployment list --limit 5` shows", "all of them."]
    assert "\N{NO-BREAK SPACE}" not in "".join(lines)


def test_what_is_laid_out_stays_as_it_is() -> None:
    drawn = "The filter cannot be read at column 8:\n  site = north and hall = 7\n         ^"
    assert fitted(drawn, 20).splitlines()[-2:] == drawn.splitlines()[-2:]


def test_pieces_fit_also_where_a_word_does_not() -> None:
    assert pieces("rootfs-image.version os-4", 10) == ["rootfs-ima", "ge.version", "os-4"]
    assert pieces("", 10) == [""]
