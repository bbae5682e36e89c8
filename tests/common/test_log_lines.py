"""Whatever others write into an event: it is one line of the log, and its trace cannot look like another."""

from __future__ import annotations

import io
import logging

import pytest

from wainwright_common.log_lines import INDENT, LineFormatter

FORGED = "2026-01-01 00:00:00,000 INFO wainwright: all is well"
NASTY = [
    f"x\n{FORGED}",
    f"x\r{FORGED}",
    f"x\r\n\r\n{FORGED}",
    f"x\x0b{FORGED}",
    f"x\x85{FORGED}",
    f"x\u2028{FORGED}\u2029",
    f"x\x1b[2J\x1b[H{FORGED}",
    f"x\x9b2J{FORGED}",
    f"x\u202e{FORGED[::-1]}",
    f"x\x00\x07\x08\x7f{FORGED}",
    f"x\udc80{FORGED}",
]


def logged(text: str, *, trace: bool) -> str:
    """Return what a log has of one event with a text of somebody in it, and in an error."""
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.setFormatter(LineFormatter("%(levelname)s %(name)s: %(message)s"))
    logger = logging.Logger("test")  # noqa: LOG001  of this test alone
    logger.addHandler(handler)
    if trace:
        try:
            int(text)
        except ValueError:
            logger.exception("it failed: %s", text, stack_info=True)
    else:
        logger.warning("it said %s", text)
    return out.getvalue()


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_an_event_is_one_line(text: str) -> None:
    said = logged(text, trace=False)
    assert said.endswith("\n")
    assert said[:-1].isprintable()


@pytest.mark.parametrize("text", NASTY, ids=ascii)
def test_the_lines_of_a_trace_are_indented(text: str) -> None:
    first, *rest, last = logged(text, trace=True).split("\n")
    assert (first.startswith("ERROR test: it failed: x"), last) == (True, "")
    assert len(rest) > 5
    assert [line for line in rest if not line.startswith(INDENT)] == []
    assert all(line.isprintable() for line in (first, *rest))


def test_what_is_printable_stays_as_it_is() -> None:
    assert logged("Grüße, 日本, ½ — 100 %", trace=False) == "WARNING test: it said Grüße, 日本, ½ — 100 %\n"
