"""What reaches a terminal: whatever a device said, never a control sequence, never a line of its own."""

from __future__ import annotations

import csv
import json
from typing import Any

import pytest

from wainwright_controller.cli.output import FORMULA, as_json, fields, printable, put_csv, put_object, table
from wainwright_controller.cli.settings import Settings

HOSTILE = "a\x1b]0;owned\x07b\x9b2Jc\nforged: line\u202etxt"


def controls(text: str) -> list[str]:
    return [c for c in text if (ord(c) < 32 and c != "\n") or 127 <= ord(c) < 160]


def test_a_hostile_text_is_printed_on_one_line_without_controls() -> None:
    assert controls(printable(HOSTILE)) == []
    assert "\n" not in printable(HOSTILE)
    assert printable("Prägewerk 7, 京都") == "Prägewerk 7, 京都"


@pytest.mark.parametrize("indent", [None, 2])
def test_json_on_a_terminal_has_no_controls_and_means_the_same(indent: int | None) -> None:
    value = {"text": HOSTILE, "wide": "\U000e0001 京都 \U0001f600"}
    text = as_json(value, indent=indent)

    assert all(one.isprintable() or one == "\n" for one in text)
    assert "京都" in text
    assert json.loads(text) == value


def test_names_and_values_are_printable_in_every_form(capsys: pytest.CaptureFixture[str]) -> None:
    lines = [*fields([(HOSTILE, HOSTILE)]), *table([{"x": HOSTILE}], {"X": lambda row: row["x"]})]
    put_object(Settings(), {"x": HOSTILE}, [f"why: {HOSTILE}"])
    printed = capsys.readouterr().out

    assert controls("".join(lines) + printed) == []
    assert len(printed.splitlines()) == 1


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", *(f"{sign}1" for sign in FORMULA), "=cmd|' /C calc'!A0"])
def test_no_cell_of_a_csv_is_a_formula(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """Nor is one that a line end, a tab or a separator within a cell would make."""
    items: list[dict[str, Any]] = [
        {"a": text},
        {"a": f"x\r\n{text}"},
        {"a": f"\t{text}"},
        {"a": f'x",{text}'},
        {"a": [text, text]},
        {"a": f"x;{text}"},
        {"a": f'x;"{text}"'},
        {"a": f'x"; {text}, y'},
    ]
    put_csv(items, {"name": lambda item: item["a"], "after": lambda _: 1})
    lines = capsys.readouterr().out.split("\r\n")
    assert len(lines) == 1 + len(items) + 1
    for row in csv.reader(lines[1:-1]):
        assert len(row) == 2
        assert not row[0].startswith(FORMULA)
        assert row[0].isprintable()
    # As spreadsheets take it apart in half of Europe.
    cells = [cell.strip(" \"'") for row in csv.reader(lines, delimiter=";") for cell in row if not cell.startswith("'")]
    assert [cell for cell in cells if cell.startswith(FORMULA)] == []
